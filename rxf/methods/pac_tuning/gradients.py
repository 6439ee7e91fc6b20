"""Gradients of the variances, summed over an update's micro-batches."""

from functools import partial
from typing import Optional

import torch
from torch import Tensor

__all__ = ["VarianceGradients"]


class VarianceGradients:
    """What a backward pass gives p and b, without the scale that the loss was given.

    The optimizers of fairseq multiply the loss on its way (``--fp16``, ``--amp``), or with 0
    where a batch is not to count; each in its own way, so it is read from what reaches the
    penalty itself.

    Attributes:
        totals: sums over the sentences since :meth:`clear`, shaped as p and b; None before
            the first.
        sentences: how many there were, a float32 scalar on the device.
    """

    def __init__(self) -> None:
        self.totals: Optional[list[Tensor]] = None
        self.sentences: Tensor = torch.zeros(())

    def clear(self) -> None:
        self.totals = None

    def collect(self, leaves: tuple[Tensor, ...], penalty: Tensor, sentences: int) -> None:
        """Wait for the backward pass.

        Args:
            leaves: p and b of this graph.
            penalty: what was added to the loss, as a sum over the sentences.
            sentences: how many the batch has.
        """
        if not penalty.requires_grad:
            return
        if self.totals is None:
            self.totals = [torch.zeros_like(leaf) for leaf in leaves]
            self.sentences = torch.zeros((), device=penalty.device)
        scales: list[Tensor] = []
        penalty.register_hook(partial(self._count, scales, sentences))
        for total, leaf in zip(self.totals, leaves, strict=True):
            leaf.register_post_accumulate_grad_hook(partial(_add, total, scales))

    def _count(self, scales: list[Tensor], sentences: int, scale: Tensor) -> None:
        self.sentences += sentences * (scale != 0)
        scales.append(torch.where(scale == 0, 1.0, scale))


def _add(total: Tensor, scales: list[Tensor], leaf: Tensor) -> None:
    assert leaf.grad is not None
    total += leaf.grad / scales[-1]
    leaf.grad = None
