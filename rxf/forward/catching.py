"""What a layer is given in a forward pass, seen from outside of the model."""

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

__all__ = ["caught_inputs"]


@contextlib.contextmanager
def caught_inputs(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Within this context, each call of ``layer`` adds its first argument to the list.

    The tensors keep their graph, so that a loss of them trains what made them.  The model may
    be called as ever, through DDP or not.
    """
    caught: list[Tensor] = []

    def catch(module: nn.Module, args: tuple[Any, ...]) -> None:
        caught.append(args[0])

    handle = layer.register_forward_pre_hook(catch)
    try:
        yield caught
    finally:
        handle.remove()
