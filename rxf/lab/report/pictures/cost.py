"""What an update costs against what it brings."""

from collections.abc import Sequence
from typing import Optional

from rxf.lab.report.pictures.style import Look, Picture, frame, new, picture
from rxf.lab.report.scores import Scores
from rxf.lab.report.summary import Summary

__all__ = ["cost"]


def cost(
    scores: Scores, summaries: Sequence[Summary], look: dict[str, Look], value: str
) -> Picture:
    """Median score over milliseconds an update; bars are the interval of the median."""
    shown = [s for s in summaries if s.median is not None and s.seconds is not None]
    figure, axes = new(3.4 + 0.2 * ((len(shown) + 2) // 3))
    for summary in shown:
        its_look = look[summary.method]
        axes.errorbar(
            1000 * (summary.seconds or 0.0),
            summary.median or 0.0,
            yerr=_bars(summary),
            fmt=its_look.marker,
            color=its_look.colour,
            markersize=8,
            markeredgecolor="white",
            capsize=3,
            label=_named(summary),
        )
    axes.set_xlim(left=0)
    axes.margins(x=0.12, y=0.12)
    axes.set_xlabel("milliseconds an update (median)")
    unit = f", {scores.unit}" if scores.unit else ""
    axes.set_ylabel(f"{scores.metric}{unit} (median over seeds)")
    better = "Up" if scores.direction > 0 else "Down"
    frame(axes, f"{better} and to the left is better; bars: 95 % of the median", "both")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    alt = "; ".join(
        f"{s.method}: median {s.median:.4g} at {1000 * (s.seconds or 0):.4g} ms" for s in shown
    )
    title = f"{scores.item}: cost against quality ({value} validation of each run)"
    return picture(
        figure, f"cost-{scores.item}", title, f"{scores.metric} over time an update. {alt}."
    )


def _bars(summary: Summary) -> Optional[list[list[float]]]:
    if summary.median_interval is None or summary.median is None:
        return None
    low, high = summary.median_interval
    return [[summary.median - low], [high - summary.median]]


def _named(summary: Summary) -> str:
    ratio = summary.seconds_ratio
    return summary.method + (f" ({ratio:.1f}x)" if ratio is not None else "")
