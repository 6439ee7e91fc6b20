"""The plugin, with noise that goes by the position in a sentence alone.

So all rows, ranks and micro-batches have the same noise, and what differs between two ways of
splitting an update is not the noise.
"""

import torch
from torch import Tensor

import rxf  # noqa: F401
from rxf.forward import NoiseStream

LONGEST, WIDEST = 128, 512


def draw(self: NoiseStream, like: Tensor, noise_type: str, eps: float) -> Tensor:
    """In place of :meth:`NoiseStream.draw`: the same numbers at each (position, coordinate)."""
    source = torch.Generator().manual_seed(5)
    if like.dim() < 2:
        # All weights of a model, which have no sentences.
        return (torch.rand(like.numel(), generator=source) * 2 - 1).view_as(like) * eps
    table = torch.rand(LONGEST, WIDEST, generator=source) * 2 - 1
    rows, width = like.shape[-2:]
    assert rows <= LONGEST and width <= WIDEST
    return (table[:rows, :width] * eps).expand(like.shape).clone()


if __name__ == "noise_by_position":
    # As fairseq imports a --user-dir; a test that only wants ``draw`` changes no other test.
    NoiseStream.draw = draw  # type: ignore[method-assign]
