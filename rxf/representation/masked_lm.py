"""What a model still knows of language: masked-LM loss in bits, row by row."""

import math
from collections.abc import Sequence
from typing import Callable, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Forgotten", "MaskedBits", "forgotten", "masked_bits"]


class MaskedBits(NamedTuple):
    """The loss of each row of a text, so that two models can be compared row by row.

    Attributes:
        bits: sum over the row's masked tokens.
        masked: how many these are.
    """

    bits: list[float]
    masked: list[int]

    @property
    def per_token(self) -> float:
        """Bits per masked token; NaN where none is masked."""
        count = sum(self.masked)
        return math.fsum(self.bits) / count if count else math.nan


class Forgotten(NamedTuple):
    """How many more bits a masked token takes, and the standard error of that over rows."""

    bits: float
    error: float


def masked_bits(
    head: Callable[[Tensor], Tensor], features: Tensor, targets: Tensor, padding: int
) -> MaskedBits:
    """The loss of a batch.

    Args:
        head: features (M, d) -> logits (M, V).
        features: the encoder's last output on masked text, shape (B, T, d).
        targets: the original token where one is masked, ``padding`` elsewhere; (B, T), int64.
        padding: index of the padding token.

    Returns:
        B rows; the softmax is taken in float32, sums in float64.
    """
    chosen = targets.ne(padding)
    losses = F.cross_entropy(head(features[chosen]).float(), targets[chosen], reduction="none")
    masked = chosen.sum(1)
    rows = torch.arange(len(targets), device=targets.device).repeat_interleave(masked)
    sums = losses.new_zeros(len(targets), dtype=torch.float64)
    sums.index_add_(0, rows, losses.double() / math.log(2))
    return MaskedBits(sums.tolist(), masked.tolist())


def forgotten(before: MaskedBits, after: MaskedBits) -> Forgotten:
    """Bits per masked token that a model takes more than before, on the same masks.

    The error is that of a ratio of sums over rows, which are the independent draws; tokens of
    one row are not.

    Args:
        before: of the pre-trained model.
        after: of the same rows.

    Returns:
        The error is NaN for a single row, and both are where nothing is masked.
    """
    if list(before.masked) != list(after.masked):
        raise ValueError("the two losses are not of the same masks")
    differences = [b - a for a, b in zip(before.bits, after.bits, strict=True)]
    count, rows = sum(after.masked), len(differences)
    if not count:
        return Forgotten(math.nan, math.nan)
    mean = math.fsum(differences) / count
    return Forgotten(mean, _ratio_error(differences, after.masked, mean) if rows > 1 else math.nan)


def _ratio_error(sums: Sequence[float], counts: Sequence[int], ratio: float) -> float:
    n = len(sums)
    residues = math.fsum((s - ratio * c) ** 2 for s, c in zip(sums, counts, strict=True))
    return math.sqrt(residues * n / (n - 1)) / sum(counts)
