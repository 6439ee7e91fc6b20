"""How far weights have moved."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor

__all__ = ["Distance", "weight_distance", "weight_distances"]


class Distance(NamedTuple):
    """Between weights and where they started.

    Attributes:
        euclidean: norm of the difference.
        start: norm of the weights at the start.
    """

    euclidean: float
    start: float

    @property
    def relative(self) -> float:
        """``euclidean / start``; NaN where the weights started at 0."""
        return self.euclidean / self.start if self.start else math.nan


def weight_distance(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], names: Iterable[str]
) -> Distance:
    """The distance over the named tensors, taken as one vector.

    Args:
        before: name -> tensor at the start, of any dtype, on any device.
        after: name -> tensor of the same shape.
        names: which of them count.

    Returns:
        Norms, summed in float64.
    """
    moved = start = 0.0
    for name in names:
        one = before[name].detach().double()
        other = after[name].detach().to(one.device).double()
        moved += float((other - one).square().sum())
        start += float(one.square().sum())
    return Distance(math.sqrt(moved), math.sqrt(start))


def weight_distances(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], groups: Mapping[str, str]
) -> dict[str, Distance]:
    """The distance of each component.

    Args:
        before: see :func:`weight_distance`.
        after: likewise.
        groups: name of a tensor -> the component it is part of.

    Returns:
        Component -> distance, in the order in which ``groups`` names them.
    """
    members: dict[str, list[str]] = {}
    for name, group in groups.items():
        members.setdefault(group, []).append(name)
    return {group: weight_distance(before, after, names) for group, names in members.items()}
