"""What is measured of a model: its encoder's layers and weights, and its masked-LM head."""

from collections.abc import Sequence
from typing import Any, Optional

from torch import Tensor, nn

from rxf.errors import UserError
from rxf.forward.adapters import ADAPTERS, unwrapped
from rxf.parameters.components import component

__all__ = ["encoder", "encoder_components", "masked_lm_head", "named_below", "token_states"]


def encoder(model: nn.Module) -> Any:
    """The text encoder, a ``TransformerEncoder``.

    Raises:
        UserError: this model has none.
    """
    inner = unwrapped(model)
    for adapter in ADAPTERS:
        found = adapter.encoder(inner)
        if found is not None and hasattr(found, "embed_tokens"):
            return found
    families = "; ".join(adapter.family for adapter in ADAPTERS)
    raise UserError(
        f"{type(inner).__name__} has no text encoder whose layers could be measured: take a "
        f"model of one of these families: {families}"
    )


def masked_lm_head(model: nn.Module) -> Optional[nn.Module]:
    """The head that maps features (M, d) to logits (M, V), its output table in it.

    None where the model has none: BART is pre-trained by generating, not by this loss.
    """
    return getattr(getattr(unwrapped(model), "encoder", None), "lm_head", None)


def token_states(model: nn.Module, tokens: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Run the encoder; whoever calls sees to evaluation mode and gradients.

    Args:
        model: in its wrappers or not.
        tokens: shape (B, T), int64, on the model's device.

    Returns:
        The last output, shape (B, T, d); and of each layer the vectors of the N tokens that
        are no padding, row by row, shape (N, d): first the sum of the embeddings, last the
        last output.
    """
    module = encoder(model)
    lengths = tokens.ne(module.padding_idx).sum(1)
    found = module(tokens, src_lengths=lengths, return_all_hiddens=True)
    last = found["encoder_out"][0]
    # With --encoder-normalize-before the last state is not yet normalised.
    layers: Sequence[Tensor] = [*found["encoder_states"][:-1], last]
    kept = tokens.ne(module.padding_idx)
    # T x B x d -> B x T x d
    return last.transpose(0, 1), [layer.transpose(0, 1)[kept] for layer in layers]


def named_below(model: nn.Module, root: nn.Module) -> dict[str, nn.Parameter]:
    """Name in the model, out of its wrappers -> parameter, of all that ``root`` holds or shares."""
    held = {id(parameter) for parameter in root.parameters()}
    named = unwrapped(model).named_parameters()
    return {name: parameter for name, parameter in named if id(parameter) in held}


def encoder_components(model: nn.Module) -> dict[str, str]:
    """Name of each of the encoder's parameters -> its component.

    Components are those of :func:`rxf.parameters.components.component`.
    """
    modules = dict(unwrapped(model).named_modules())
    names = named_below(model, encoder(model))
    return {name: component(name, modules[name.rpartition(".")[0]]) for name in names}
