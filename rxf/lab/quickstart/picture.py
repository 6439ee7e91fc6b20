"""The seeds of each method as points, so that the spread is seen and not only the median."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from rxf.lab.quickstart.report import Summary, has_failed

__all__ = ["draw"]

# Okabe and Ito's colours, which colour-blind readers tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
SPREAD = 0.24
BAR = 0.3


def draw(
    path: Path,
    records: Sequence[dict[str, Any]],
    summaries: Sequence[Summary],
    baseline: float,
    title: str,
    metric: str,
) -> None:
    """Write the PNG: the metric over seeds on the left, the cost on the right."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 4.6), width_ratios=(2.4, 1), layout="constrained"
    )
    for place, summary in enumerate(summaries):
        mine = [record for record in records if record["method"] == summary.method]
        _strip(left, place, mine, summary, baseline)
    _baseline(left, baseline, len(summaries))
    left.set_ylabel(f"{metric}, % (best validation of a run)")
    left.set_title(
        "One point a seed; the bar is the median; a cross is a failed run",
        fontsize=10,
        color="#444444",
    )
    _cost(right, summaries)
    for axes in (left, right):
        _plain_frame(axes, [summary.method for summary in summaries])
    figure.suptitle(title, fontsize=12)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _strip(
    axes: Axes, place: int, records: list[dict[str, Any]], summary: Summary, baseline: float
) -> None:
    """Points spread by seed, the same seed at the same offset in every method."""
    colour = COLOURS[place % len(COLOURS)]
    seeds = len(records)
    for index, record in enumerate(records):
        if record["best"] is None:
            continue
        offset = SPREAD * (2 * (index + 0.5) / seeds - 1) if seeds > 1 else 0.0
        failed = has_failed(record, baseline)
        axes.scatter(
            place + offset,
            record["best"],
            s=90 if failed else 46,
            marker="X" if failed else "o",
            color="#D55E00" if failed else colour,
            edgecolor="white",
            linewidth=0.8,
            zorder=3,
        )
    if summary.median is not None:
        axes.hlines(summary.median, place - BAR, place + BAR, color=colour, linewidth=2.5, zorder=2)
        axes.annotate(
            f"{summary.median:.1f}",
            (place + BAR, summary.median),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=colour,
        )


def _baseline(axes: Axes, baseline: float, methods: int) -> None:
    axes.axhline(baseline, color="#777777", linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.annotate(
        f"majority baseline {baseline:.1f}",
        (methods - 0.25, baseline),
        xytext=(0, 4),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color="#555555",
    )
    axes.set_xlim(-0.6, methods - 0.25)


def _cost(axes: Axes, summaries: Sequence[Summary]) -> None:
    milliseconds = [1000 * (summary.seconds_per_update or 0.0) for summary in summaries]
    colours = [COLOURS[place % len(COLOURS)] for place in range(len(summaries))]
    bars = axes.bar(range(len(summaries)), milliseconds, width=0.6, color=colours)
    axes.bar_label(bars, fmt="%.0f", fontsize=9, padding=2)
    axes.margins(y=0.15)
    axes.set_ylabel("milliseconds an update (median)")
    axes.set_title("Cost", fontsize=10, color="#444444")


def _plain_frame(axes: Axes, methods: list[str]) -> None:
    axes.set_xticks(range(len(methods)), methods)
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
