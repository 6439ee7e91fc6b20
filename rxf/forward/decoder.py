"""Decoder features of an encoder-decoder, and the projection that turns them into logits."""

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any, Optional

import torch
from fairseq.models.transformer import TransformerDecoderBase
from torch import Tensor, autograd, nn

from rxf.errors import UserError
from rxf.forward.adapters import unwrapped

__all__ = [
    "decoder_features",
    "decoder_outputs",
    "log_probabilities",
    "output_projection",
    "require_generation",
]

# What fairseq's translation task, and those like it, call a model with.
NET_INPUT = {"src_tokens", "src_lengths", "prev_output_tokens"}


def require_generation(model: nn.Module, flag: str) -> None:
    """Check once, before training, that this model makes targets from sources, word by word.

    Args:
        model: wrapped or not.
        flag: what the error message names as having asked for such a model.

    Raises:
        UserError: no decoder, a forward pass that wants more than sources and the shifted
            targets, or weights that are only there within the model's own forward pass.
    """
    if _is_sharded(model):
        raise UserError(
            f"--ddp-backend fully_sharded: {flag} reads the output projection outside the "
            "model, where it is not whole: use --ddp-backend pytorch_ddp or legacy_ddp"
        )
    inner = unwrapped(model)
    if not hasattr(inner, "decoder") or not hasattr(inner, "encoder"):
        raise UserError(
            f"{flag} needs an encoder-decoder, which {type(inner).__name__} is not: use --arch "
            "bart_large, mbart_large, transformer or one of their kind"
        )
    parameters = inspect.signature(inner.forward).parameters.values()
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = {p.name for p in parameters if p.default is p.empty and p.kind in plain}
    if not needed <= NET_INPUT:
        more = ", ".join(sorted(needed - NET_INPUT))
        raise UserError(
            f"{flag} calls the model with sources and shifted targets, but "
            f"{type(inner).__name__} also wants {more}: use an --arch that writes word by word"
        )


def _is_sharded(model: nn.Module) -> bool:
    while True:
        if type(model).__name__ == "FullyShardedDataParallel":
            return True
        if not isinstance(getattr(model, "module", None), nn.Module):
            return False
        model = model.module  # type: ignore[assignment]


def decoder_outputs(model: nn.Module, net_input: dict[str, Any]) -> Tensor:
    """What the model itself returns for a batch: logits (B, T, V) in the usual case."""
    outputs: Tensor = model(**net_input)[0]
    return outputs


def decoder_features(model: nn.Module, net_input: dict[str, Any]) -> Tensor:
    """Decoder features, shape (B, T, d), that :func:`output_projection` makes logits of.

    The model is called as ever, wrapped or not, with a projection that projects nothing:
    not every ``forward`` has a ``features_only``.
    """
    decoder: Any = unwrapped(model).decoder
    weight = decoder.output_projection.weight
    with _output_layer(decoder, lambda features: _Linked.apply(features, weight)):
        return decoder_outputs(model, net_input)


def output_projection(model: nn.Module) -> Optional[Tensor]:
    """The weight, shape (V, d), if logits are ``features @ weight.T`` and nothing else.

    None where the decoder's output layer does more: adaptive softmax, quantisation noise, a
    bias, a hook or parametrisation, or code of its own.
    """
    decoder: Any = unwrapped(model).decoder
    own_code = getattr(type(decoder), "output_layer", None)
    if own_code is not TransformerDecoderBase.output_layer:
        return None
    layer = decoder.output_projection
    # Subclasses and parametrised layers compute something else: the very class is wanted.
    if decoder.adaptive_softmax is not None or type(layer) is not nn.Linear:
        return None
    if layer.bias is not None or layer._forward_pre_hooks or layer._forward_hooks:
        return None
    return layer.weight


def log_probabilities(model: nn.Module, outputs: Tensor) -> Tensor:
    """Log-probabilities of shape (B, T, V) of what :func:`decoder_outputs` returned.

    fairseq's own for adaptive softmax overwrites what its gradient needs.
    """
    inner: Any = unwrapped(model)
    adaptive = getattr(inner.decoder, "adaptive_softmax", None)
    if adaptive is not None:
        return _adaptive_log_probabilities(adaptive, outputs)
    found: Tensor = inner.get_normalized_probs((outputs, None), log_probs=True)
    return found


def _adaptive_log_probabilities(adaptive: Any, features: Tensor) -> Tensor:
    """The head holds the frequent words and one entry for each cluster of rarer ones."""
    frequent = adaptive.cutoff[0]
    head = torch.log_softmax(adaptive.head(features), dim=-1, dtype=torch.float32)
    clusters = [
        torch.log_softmax(tail(features), dim=-1, dtype=torch.float32)
        + head[..., frequent + index, None]
        for index, tail in enumerate(adaptive.tail)
    ]
    return torch.cat([head[..., :frequent], *clusters], dim=-1)


@contextlib.contextmanager
def _output_layer(decoder: Any, replacement: Any) -> Iterator[None]:
    decoder.output_layer = replacement
    try:
        yield
    finally:
        del decoder.output_layer  # the class's method is seen again


class _Linked(autograd.Function):
    """Features as they are, in whose graph the projection's weight can be found.

    DDP looks, after the forward pass, for parameters that its outputs do not depend on, and
    takes those as unused; the weight gets its gradient only after that, from the loss.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor) -> Tensor:
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return grad, None
