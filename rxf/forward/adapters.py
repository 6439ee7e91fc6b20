"""Where each model family turns tokens into embeddings, and how to hand it changed ones.

fairseq's text encoders are all the same ``TransformerEncoder`` underneath, whose forward
takes ``token_embeddings``; what differs is where a model keeps it, and that the wrappers
around it lose the argument (``RobertaEncoder.forward`` drops it in ``**unused``, plain
``TransformerModel.forward`` does not have it).  So the embeddings are not passed from the
top but put in at that encoder, by a hook on its call: the model is called as ever, through
DDP or not.

The token embeddings are changed before the encoder multiplies them by its ``embed_scale``
and adds positions: a perturbation is in the units of the embedding table.
"""

import contextlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Callable, Optional

import torch
from torch import Tensor, nn

from rxf.errors import UserError

__all__ = [
    "ADAPTERS",
    "EmbeddingAdapter",
    "Perturbation",
    "has_quant_noise",
    "perturbed_embeddings",
    "require_two_branches",
    "text_encoder",
    "unwrapped",
]

# (token embeddings B x T x d, padding mask B x T, True at padding) -> B x T x d
Perturbation = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class EmbeddingAdapter:
    """One model family: how to find its text encoder.

    Attributes:
        family: what error messages call it.
        encoder: model -> the module with ``embed_tokens`` whose forward takes
            ``token_embeddings``, or None where the model is of another family.
    """

    family: str
    encoder: Callable[[nn.Module], Optional[nn.Module]]


def _roberta_encoder(model: nn.Module) -> Optional[nn.Module]:
    return getattr(getattr(model, "encoder", None), "sentence_encoder", None)


def _transformer_encoder(model: nn.Module) -> Optional[nn.Module]:
    return getattr(model, "encoder", None)


ADAPTERS = (
    EmbeddingAdapter("RoBERTa, XLM-R", _roberta_encoder),
    EmbeddingAdapter("BART, mBART, transformer", _transformer_encoder),
)


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, out of DDP's and fairseq's wrappers."""
    while isinstance(getattr(model, "module", None), nn.Module):
        model = model.module  # type: ignore[assignment]
    return model


def text_encoder(model: nn.Module) -> nn.Module:
    """The encoder of this model that can be given token embeddings.

    Raises:
        UserError: it has none.
    """
    model = unwrapped(model)
    for adapter in ADAPTERS:
        encoder = adapter.encoder(model)
        if encoder is not None and _takes_embeddings(encoder):
            return encoder
    families = "; ".join(adapter.family for adapter in ADAPTERS)
    raise UserError(
        f"--arch: the encoder of {type(model).__name__} takes no token embeddings, so there is "
        f"nothing to add noise to; use a model of one of these families: {families}"
    )


def require_two_branches(model: nn.Module, one_pass: bool = True) -> None:
    """Check once, before training, that two branches of this model can be compared.

    Args:
        model: out of its wrappers.
        one_pass: both branches go through the model together.

    Raises:
        UserError: no encoder of this model takes token embeddings; it has quantisation
            noise, which makes two passes of one update differ; or base layers.
    """
    encoder = text_encoder(model)
    if not one_pass and has_quant_noise(encoder):
        raise UserError(
            "--quant-noise-pq and --quant-noise-scalar change the weights from pass to pass, "
            "which would enter the divergence as noise: use --r3f-passes packed, without "
            "--r3f-share-dropout and --r3f-grad clean"
        )
    from fairseq.modules import BaseLayer

    if any(isinstance(module, BaseLayer) for module in model.modules()):
        raise UserError(
            "--base-layers route tokens by the whole batch, so that clean and noised rows "
            "would change each other's path: leave it at 0 with this criterion"
        )


def _takes_embeddings(encoder: nn.Module) -> bool:
    takes = "token_embeddings" in inspect.signature(encoder.forward).parameters
    return takes and hasattr(encoder, "embed_tokens")


def has_quant_noise(encoder: nn.Module) -> bool:
    """Whether quantisation noise gives every forward pass of this encoder other weights."""
    if getattr(encoder, "quant_noise", None) is not None:
        return True
    names = ("IntLinear", "IntEmbedding", "ActivationQuantizer")
    return any(type(module).__name__ in names for module in encoder.modules())


@contextlib.contextmanager
def perturbed_embeddings(
    model: nn.Module, perturb: Perturbation, packed: bool = False
) -> Iterator[None]:
    """Within this context the model's text encoder runs on perturbed token embeddings.

    Args:
        model: the model, wrapped or not.
        perturb: see :data:`Perturbation`; it may keep or cut the gradient.
        packed: the batch holds every row twice, clean rows first; only the second half
            is perturbed, and the table is looked up once.

    Raises:
        UserError: see :func:`text_encoder`.
    """

    def put_in(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tokens = args[0] if args else kwargs["src_tokens"]
        embeddings = _perturb(module, tokens, perturb, packed)
        return args, {**kwargs, "token_embeddings": embeddings}

    handle = text_encoder(model).register_forward_pre_hook(put_in, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _perturb(encoder: Any, tokens: Tensor, perturb: Perturbation, packed: bool) -> Tensor:
    if packed:
        tokens = tokens[: tokens.size(0) // 2]
    clean = encoder.embed_tokens(tokens)
    noised = perturb(clean, tokens.eq(encoder.padding_idx))
    return torch.cat([clean, noised]) if packed else noised
