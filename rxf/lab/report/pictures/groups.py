"""Scores of many tasks side by side: a block a task, in it a row a method."""

import statistics
from collections.abc import Sequence

from matplotlib.axes import Axes

from rxf.lab.report.pictures.style import MUTED, Look, Picture, frame, new, picture
from rxf.lab.report.scores import Scores

__all__ = ["groups"]

BLOCK = 0.8


def groups(
    scores: Sequence[Scores], look: dict[str, Look], labels: Sequence[str], name: str, title: str
) -> Picture:
    """Small points are seeds, large ones their median; a dashed line is the task's baseline.

    Args:
        scores: one a task.
        look: of every method.
        labels: of the tasks.
        name: of the picture.
        title: likewise.
    """
    methods = list(dict.fromkeys(method for group in scores for method in group.methods))
    figure, axes = new(1.6 + len(scores) * max(0.5, 0.17 * len(methods)))
    told = []
    for block, (group, label) in enumerate(zip(scores, labels, strict=True)):
        for place, method in enumerate(methods):
            height = block + BLOCK * ((place + 0.5) / len(methods) - 0.5)
            _row(axes, height, _values(group, method), method, look[method])
        if group.baseline is not None:
            ends = (block - BLOCK / 2, block + BLOCK / 2)
            axes.vlines(group.baseline, *ends, color=MUTED, linestyle=(0, (3, 2)), linewidth=1)
        medians = [f"{m} {statistics.median(v):.4g}" for m in methods if (v := _values(group, m))]
        told.append(f"{label}: " + ", ".join(medians))
    axes.set_yticks(range(len(scores)), labels)
    axes.set_ylim(len(scores) - 0.5, -0.5)
    axes.set_xlabel("score of the probe, % (each task's own metric)")
    frame(axes, "Large: median over seeds; dashed: majority baseline", "x")
    handles = {text: handle for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=9,
    )
    return picture(figure, name, title, f"{title}. Medians. {'; '.join(told)}.")


def _values(scores: Scores, method: str) -> list[float]:
    return [run.value for run in scores.methods.get(method, []) if run.value is not None]


def _row(axes: Axes, height: float, values: list[float], method: str, look: Look) -> None:
    if not values:
        return
    axes.scatter(
        values,
        [height] * len(values),
        s=12,
        alpha=0.5,
        linewidth=0,
        color=look.colour,
        marker=look.marker,
        zorder=3,
    )
    axes.scatter(
        statistics.median(values),
        height,
        s=55,
        edgecolor="white",
        linewidth=0.7,
        color=look.colour,
        marker=look.marker,
        label=method,
        zorder=4,
    )
