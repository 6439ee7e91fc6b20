"""Ratios as bars with their spread, and growth as lines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.training_step.measure import Measured
from rxf.errors import UserError

__all__ = ["Growth", "check", "draw"]

# Okabe and Ito's, which colour-blind readers tell apart.
COLOURS = ("#000000", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
MARKERS = "osD^vP*"
INCH_A_PEER, INCH_A_PANEL = 0.3, 2.6
Growth = dict[str, tuple[Sequence[int], Sequence[Measured]]]


def check(path: Path) -> None:
    """Refuse, before anything is measured, a picture that could not be drawn.

    Raises:
        UserError: matplotlib is not installed, or does not know the file's ending.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("--picture: needs matplotlib: pip install matplotlib") from None
    known = Figure().canvas.get_supported_filetypes()
    if path.suffix.removeprefix(".").lower() not in known:
        raise UserError(f"--picture {path}: is none of {', '.join(sorted(known))}")


def draw(path: Path, measured: Sequence[Measured], growth: Growth) -> None:
    """A panel of bars for each setting, and two of lines (time, memory) for each growth."""
    from matplotlib.figure import Figure

    heights = [0.9 + INCH_A_PEER * len(block.figures) for block in measured]
    heights += [INCH_A_PANEL] * len(growth)
    figure = Figure(figsize=(8, sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
    for row, block in enumerate(measured):
        _bars(figure.add_subplot(grid[row, :]), block)
    for row, (by, (values, steps)) in enumerate(growth.items(), start=len(measured)):
        for column, (key, unit) in enumerate((("seconds", "seconds"), ("peak_mib", "peak MiB"))):
            axes = figure.add_subplot(grid[row, column])
            _lines(axes, by, values, steps, key)
            axes.set_ylabel(unit)
    figure.savefig(path, dpi=150, facecolor="white")


def _bars(axes: Any, block: Measured) -> None:
    figures = list(block.figures.values())
    ratios = [own["ratio"] for own in figures]
    below = [own["ratio"] - own["ratio_least"] for own in figures]
    above = [own["ratio_most"] - own["ratio"] for own in figures]
    places = range(len(figures))
    colours = ["#999999" if own["title"].startswith("fairseq") else "#0072B2" for own in figures]
    axes.barh(places, ratios, xerr=(below, above), color=colours, ecolor="#222222", capsize=2)
    axes.set_yticks(places, [own["title"] for own in figures])
    axes.invert_yaxis()
    axes.axvline(1, color="#222222", linewidth=0.8)
    axes.set_xlabel(f"time of an update / {figures[0]['title']} (median, least to most)")
    axes.set_title(block.setting.name(), fontsize=8, loc="left")


def _lines(axes: Any, by: str, values: Sequence[int], steps: Sequence[Measured], key: str) -> None:
    for place, (peer, first) in enumerate(steps[0].figures.items()):
        heights = [step.figures[peer].get(key) for step in steps]
        if None not in heights:
            look = {
                "marker": MARKERS[place % len(MARKERS)],
                "color": COLOURS[place % len(COLOURS)],
            }
            axes.plot(values, heights, label=first["title"], **look)
    axes.set_xlabel({"size": "layers"}.get(by, by))
    axes.set_ylim(bottom=0)
    if axes.lines:
        axes.legend(fontsize=7)
