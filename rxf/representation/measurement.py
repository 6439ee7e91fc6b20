"""All that is measured of one model on one text, beside the pre-trained model's states."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Optional

import torch
from torch import Tensor, nn

from rxf.forward import evaluating
from rxf.representation.layers import LayerComparison, LayerMeasures
from rxf.representation.masked_lm import MaskedBits, masked_bits
from rxf.representation.model import encoder, token_states
from rxf.representation.text import Batch

__all__ = ["Measurement", "layer_states", "measure"]


class Measurement(NamedTuple):
    """Of one model.

    Attributes:
        layers: from the embeddings, 0, to the last layer.
        masked_lm: None without a head.
    """

    layers: list[LayerMeasures]
    masked_lm: Optional[MaskedBits]


@torch.no_grad()
def layer_states(model: nn.Module, tokens: Tensor) -> list[Tensor]:
    """The vectors of each layer, each of shape (N, d), in evaluation mode.

    Args:
        model: it is left as it was.
        tokens: see :func:`~rxf.representation.model.token_states`; on any device.
    """
    module = encoder(model)
    with evaluating(module):
        return token_states(model, tokens.to(_device(module)))[1]


@torch.no_grad()
def measure(
    model: nn.Module,
    batches: Iterable[Batch],
    references: Iterable[Sequence[Tensor]],
    head: Optional[Callable[[Tensor], Tensor]],
) -> Measurement:
    """Measure a model; one batch is in memory at a time.

    Args:
        model: in its wrappers or not; it is left as it was, random numbers too.
        batches: the text.
        references: for each batch what :func:`layer_states` says of the pre-trained model.
        head: the pre-trained masked-LM head with its own output table; None leaves the loss out.
    """
    comparisons: list[LayerComparison] = []
    bits, counts = [], []
    module = encoder(model)
    device = _device(module)
    with evaluating(module):
        for batch, before in zip(batches, references, strict=True):
            states = token_states(model, batch.tokens.to(device))[1]
            comparisons = comparisons or [LayerComparison() for _ in states]
            for comparison, one, other in zip(comparisons, before, states, strict=True):
                comparison.add(one.to(device), other)
            if head is not None:
                features = token_states(model, batch.masked.to(device))[0]
                rows = masked_bits(head, features, batch.targets.to(device), module.padding_idx)
                bits += rows.bits
                counts += rows.masked
    layers = [comparison.measures() for comparison in comparisons]
    return Measurement(layers, MaskedBits(bits, counts) if head is not None else None)


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
