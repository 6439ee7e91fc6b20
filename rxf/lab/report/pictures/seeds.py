"""Every run as a point, a row a method, so that the spread is seen and not only the median."""

from collections.abc import Sequence
from typing import cast

from matplotlib.artist import Artist
from matplotlib.axes import Axes

from rxf.lab.report.pictures.style import FAILED, INK, MUTED, Look, Picture, frame, new, picture
from rxf.lab.report.scores import Score, Scores
from rxf.lab.report.summary import Summary

__all__ = ["MANY", "axis_label", "described", "seeds"]

# From so many runs on their density is drawn as well.
MANY = 10
SPREAD = 0.2
BAR = 0.32


def seeds(
    scores: Scores, summaries: Sequence[Summary], look: dict[str, Look], value: str
) -> Picture:
    """Points by method, the median as a bar, failed runs as crosses."""
    figure, axes = new(1.3 + 0.46 * len(scores.methods))
    places = {method: place for place, method in enumerate(scores.methods)}
    for summary in summaries:
        runs = [run for run in scores.methods[summary.method] if run.value is not None]
        place, its_look = places[summary.method], look[summary.method]
        if len(runs) >= MANY:
            _violin(axes, place, runs, its_look)
        _points(axes, place, runs, its_look, _offsets(scores))
        _median(axes, place, summary)
    _baseline(axes, scores)
    axes.set_yticks(range(len(places)), [f"{m} (n={len(r)})" for m, r in scores.methods.items()])
    axes.set_ylim(len(places) - 0.45, -0.55)
    axes.set_xlabel(axis_label(scores, value))
    frame(axes, "A point a run; the bar is the median; a cross failed", "x")
    name = f"seeds-{scores.kind}-{scores.item}"
    title = f"{scores.item}: {scores.metric} over seeds"
    return picture(figure, name, title, described(scores, summaries))


def axis_label(scores: Scores, value: str) -> str:
    """The metric, and that a run's best validation is a maximum."""
    label = scores.metric + (f", {scores.unit}" if scores.unit else "")
    if scores.kind != "fine-tuning":
        return label
    return f"{label} ({value} validation of each run)"


def described(scores: Scores, summaries: Sequence[Summary]) -> str:
    """The picture in words."""
    medians = "; ".join(
        f"{s.method}: {s.n} runs, "
        + (f"median {s.median:.4g}" if s.median is not None else "no score")
        + (f", {s.failed} failed" if s.failed else "")
        for s in summaries
    )
    return f"{scores.metric} on {scores.item}, a point a run. {medians}."


def _offsets(scores: Scores) -> dict[object, float]:
    """The same seed at the same offset in every method."""
    seen = list(dict.fromkeys(run.seed for runs in scores.methods.values() for run in runs))
    return {
        seed: SPREAD * (2 * (index + 0.5) / len(seen) - 1) if len(seen) > 1 else 0.0
        for index, seed in enumerate(seen)
    }


def _points(
    axes: Axes, place: int, runs: list[Score], look: Look, offsets: dict[object, float]
) -> None:
    for run in runs:
        value = cast(float, run.value)
        axes.scatter(
            value,
            place + offsets[run.seed],
            s=70 if run.failed else 34,
            marker="X" if run.failed else "o",
            color=FAILED if run.failed else look.colour,
            edgecolor="white",
            linewidth=0.7,
            zorder=3,
        )


def _violin(axes: Axes, place: int, runs: list[Score], look: Look) -> None:
    values = [run.value for run in runs if run.value is not None]
    # Equal values have no density.
    if len(set(values)) < 2:
        return
    drawn = axes.violinplot(
        values, [place], orientation="horizontal", widths=0.85, showextrema=False
    )
    for body in cast(list[Artist], drawn["bodies"]):
        body.set(facecolor=look.colour, alpha=0.22, edgecolor=look.colour)


def _median(axes: Axes, place: int, summary: Summary) -> None:
    if summary.median is None:
        return
    axes.vlines(summary.median, place - BAR, place + BAR, color=INK, linewidth=2.2, zorder=4)
    digits = 1 if summary.scores.unit == "%" else 3
    axes.annotate(
        f"{summary.median:.{digits}f}",
        (1.0, place),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
        color=INK,
    )


def _baseline(axes: Axes, scores: Scores) -> None:
    if scores.baseline is None or scores.unit != "%":
        return
    axes.axvline(scores.baseline, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.annotate(
        f"majority {scores.baseline:.1f}",
        (scores.baseline, 0.0),
        xycoords=("data", "axes fraction"),
        xytext=(3, 3),
        textcoords="offset points",
        fontsize=8,
        color=MUTED,
    )
