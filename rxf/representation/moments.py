"""Sums over tokens, taken batch by batch, from which the measures of a representation follow.

All of them are d x d at most, however long the text is, and in float64 whatever the
representation is in: what is wanted is a small difference of large sums.
"""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Cosines", "CrossMoments", "Directions"]


class CrossMoments:
    """Moments of two representations of the same tokens, or of one with itself.

    Representations are counted from the first token's vectors, which changes none of the
    measures and keeps a common offset out of the sums.

    Attributes:
        count: n, the tokens so far.
        sum_x: sum of x_i, shape (p,).
        sum_y: sum of y_i, shape (q,).
        product: sum of x_i y_i^T, shape (p, q).
        squares_x: sum of |x_i|^2.
        squares_y: sum of |y_i|^2.
        squares_xy: sum of |x_i|^2 |y_i|^2.
        weighted_x: sum of |y_i|^2 x_i, shape (p,).
        weighted_y: sum of |x_i|^2 y_i, shape (q,).
    """

    def __init__(self) -> None:
        self.count = 0
        self._origins: Optional[tuple[Tensor, Tensor]] = None

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add a batch.

        Args:
            x: shape (n, p), of any floating dtype; n may be 0.
            y: shape (n, q), of the same tokens.
        """
        if not len(x):
            return
        x, y = x.double(), y.double()
        if self._origins is None:
            self._start(x[0].clone(), y[0].clone())
        assert self._origins is not None
        x, y = x - self._origins[0], y - self._origins[1]
        lengths_x, lengths_y = x.square().sum(1), y.square().sum(1)
        self.count += len(x)
        self.sum_x += x.sum(0)
        self.sum_y += y.sum(0)
        self.product += x.T @ y
        self.squares_x += lengths_x.sum()
        self.squares_y += lengths_y.sum()
        self.squares_xy += (lengths_x * lengths_y).sum()
        self.weighted_x += lengths_y @ x
        self.weighted_y += lengths_x @ y

    def _start(self, x: Tensor, y: Tensor) -> None:
        self._origins = (x, y)
        self.sum_x, self.sum_y = torch.zeros_like(x), torch.zeros_like(y)
        self.weighted_x, self.weighted_y = torch.zeros_like(x), torch.zeros_like(y)
        self.product = x.new_zeros(len(x), len(y))
        self.squares_x, self.squares_y, self.squares_xy = x.new_zeros(3).unbind()


class Directions:
    """Sums of unit vectors; a vector of length 0 has none and counts as orthogonal to all.

    Attributes:
        count: n, the tokens so far.
        total: sum of x_i / |x_i|, shape (d,).
        nonzero: how many of the x_i have a direction.
    """

    def __init__(self) -> None:
        self.count = 0
        self.nonzero = 0
        self.total: Optional[Tensor] = None

    def add(self, x: Tensor) -> None:
        """Add a batch of shape (n, d)."""
        if not len(x):
            return
        units = _units(x)
        self.count += len(x)
        self.nonzero += int(units.any(1).sum())
        total = units.sum(0)
        self.total = total if self.total is None else self.total + total


class Cosines:
    """The mean cosine of pairs of vectors; 0 where one of them is 0.

    Attributes:
        count: n, the pairs so far.
        total: sum of their cosines.
    """

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add a batch of pairs, both of shape (n, d)."""
        self.count += len(x)
        self.total += float((_units(x) * _units(y)).sum())

    def mean(self) -> float:
        """NaN where there was no pair."""
        return self.total / self.count if self.count else float("nan")


def _units(x: Tensor) -> Tensor:
    return F.normalize(x.double(), dim=1, eps=torch.finfo(torch.float64).tiny)
