"""Scores over steps, cycles or layers, a line a method."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes

from rxf.lab.report.pictures.style import Look, Picture, frame, new, picture
from rxf.lab.report.scores import Scores

__all__ = ["Scale", "lines"]


class Scale(NamedTuple):
    """Where each of the scores stands, and what stands below it."""

    label: str
    places: list[float]
    ticks: list[str]


def lines(
    scores: Sequence[Scores], scale: Scale, look: dict[str, Look], name: str, title: str
) -> Picture:
    """The median over seeds at each place; the band is from the least to the greatest.

    Args:
        scores: of one metric, one a place, in the order of the line.
        scale: places, as many as ``scores``.
        look: of every method.
        name: of the picture.
        title: likewise.
    """
    methods = list(dict.fromkeys(method for group in scores for method in group.methods))
    figure, axes = new(3.3 + 0.2 * ((len(methods) + 2) // 3))
    told = []
    for method in methods:
        line = _line(scores, scale, method)
        _draw(axes, line, look[method], method)
        told += [f"{method}: " + ", ".join(f"{m:.4g}" for _, m, _, _ in line)] if line else []
    axes.set_xticks(scale.places, scale.ticks)
    axes.set_xlabel(scale.label)
    unit = scores[0].unit
    axes.set_ylabel(scores[0].metric + (f", {unit}" if unit else ""))
    frame(axes, "Line: median over seeds; band: least to greatest", "y")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    at = f"Medians at {', '.join(scale.ticks)}. "
    return picture(figure, name, title, f"{title}. {at}{'; '.join(told)}.")


def _line(
    scores: Sequence[Scores], scale: Scale, method: str
) -> list[tuple[float, float, float, float]]:
    """Place, median, least and greatest, where the method has a value."""
    found = []
    for place, group in zip(scale.places, scores, strict=True):
        values = [run.value for run in group.methods.get(method, []) if run.value is not None]
        if values:
            found.append((place, statistics.median(values), min(values), max(values)))
    return found


def _draw(axes: Axes, line: list[tuple[float, float, float, float]], look: Look, name: str) -> None:
    if not line:
        return
    places, medians, least, most = zip(*line, strict=True)
    axes.plot(
        places,
        medians,
        color=look.colour,
        marker=look.marker,
        linestyle=look.dashes,
        markersize=6,
        markeredgecolor="white",
        label=name,
    )
    axes.fill_between(places, least, most, color=look.colour, alpha=0.13, linewidth=0)
