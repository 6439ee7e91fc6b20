"""Colours, frames, and a figure as PNG."""

import io
import re
from collections.abc import Iterable
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rxf.lab.report.scores import PRETRAINED

__all__ = ["FAILED", "INK", "MUTED", "Look", "Picture", "frame", "looks", "new", "picture"]

# Okabe and Ito's colours, which colour-blind readers tell apart; without yellow, which is too
# pale on white, and without vermilion, which is for failed runs alone.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
FAILED = "#D55E00"
MARKERS = ("o", "s", "^", "D", "v", "P", "<")
DASHES = ("solid", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
INK, MUTED, GRID = "#222222", "#595959", "#E5E5E5"
# Narrow, so that the letters are still to be read where a phone shows the picture.
WIDTH = 5.6
DPI = 160


class Look(NamedTuple):
    """How a method is drawn, everywhere the same; no two methods have all three alike."""

    colour: str
    marker: str
    dashes: object


class Picture(NamedTuple):
    """A picture.

    Attributes:
        name: of its file, without ``.png``.
        title: above it.
        alt: what it shows, for who cannot see it.
        png: the file's content.
    """

    name: str
    title: str
    alt: str
    png: bytes


def looks(methods: Iterable[str]) -> dict[str, Look]:
    """A look for every method, in their order; the pre-trained model is grey."""
    found = {PRETRAINED: Look("#7F7F7F", "X", (0, (1, 1.5)))}
    for place, method in enumerate(name for name in methods if name != PRETRAINED):
        found[method] = Look(
            COLOURS[place % len(COLOURS)],
            MARKERS[place % len(MARKERS)],
            DASHES[place // len(COLOURS) % len(DASHES)],
        )
    return found


def new(height: float) -> tuple[Figure, Axes]:
    """A figure of the width that all have, ``height`` in inches."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.add_subplot()


def frame(axes: Axes, title: str, grid: str) -> None:
    """The title, a grid along one axis, and no box around."""
    axes.set_title(title, fontsize=10, color=MUTED, loc="left")
    axes.grid(axis=grid, color=GRID, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def picture(figure: Figure, name: str, title: str, alt: str) -> Picture:
    """The figure as PNG; ``name`` may hold anything and becomes a file's name."""
    # A dollar sign in a name is no formula.
    for text in figure.findobj(match=lambda artist: hasattr(artist, "set_parse_math")):
        text.set_parse_math(False)  # type: ignore[attr-defined]
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, facecolor="white")
    safe = re.sub(r"[^\w.-]+", "-", name).strip("-.").lower()
    return Picture(safe or "picture", title, alt, file.getvalue())
