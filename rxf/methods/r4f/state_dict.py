"""Keys of classification heads in checkpoints: the one place that knows both forms.

A plain layer is saved as ``weight`` and ``bias``.  A normalised one, by fairseq's own flag
or by rxf, as ``weight_orig`` and ``bias`` (fairseq's with ``weight_u`` and ``weight_v``,
which follow from the weight).  fairseq's loading code looks for ``weight`` in either case.
"""

from typing import Any

from torch import Tensor, nn

from rxf.methods.r4f.spectral_norm import SpectralNormLinear, leading_singular_vectors

__all__ = ["add_plain_keys", "plain_layers", "settle_keys"]

LAYERS = ("dense", "out_proj")

State = dict[str, Any]


def add_plain_keys(state: State, prefix: str) -> None:
    """Before fairseq looks at the heads in ``state``: give every layer both names.

    The raw weight stands under both.  For a normalised layer that the file holds in plain
    form this is its start; a plain layer that the file holds normalised is settled later.

    Args:
        state: a model's state dict, changed in place.
        prefix: where the heads are in it, ending in ``classification_heads.``.
    """
    for layer in _layers(state, prefix):
        if f"{layer}.weight_orig" in state:
            state[f"{layer}.weight"] = state[f"{layer}.weight_orig"]
        else:
            state[f"{layer}.weight_orig"] = state[f"{layer}.weight"]


def settle_keys(state: State, prefix: str, heads: nn.ModuleDict, plain: set[str]) -> None:
    """After fairseq has looked: leave each layer the names that the model's layer has.

    Args:
        state: the same state dict, changed in place.
        prefix: as above.
        heads: the model's heads, with those that loading has added.
        plain: layers that the file held in plain form, as from :func:`plain_layers`.
    """
    for layer in _layers(state, prefix):
        head, name = layer[len(prefix) :].split(".")
        module = getattr(heads[head], name, None) if head in heads else None
        # Where fairseq dropped the file's head for another of the model's own, one is gone.
        raw = state.pop(f"{layer}.weight_orig", None)
        state.pop(f"{layer}.weight_u", None)
        state.pop(f"{layer}.weight_v", None)
        if isinstance(module, SpectralNormLinear):
            state.pop(f"{layer}.weight", None)
            state[f"{layer}.weight_orig"] = raw
        elif raw is not None and layer not in plain:
            state[f"{layer}.weight"] = _normalized(raw)


def plain_layers(state: State, prefix: str) -> set[str]:
    """The layers that a file holds as a plain ``weight``; ask before adding keys."""
    return {layer for layer in _layers(state, prefix) if f"{layer}.weight_orig" not in state}


def _layers(state: State, prefix: str) -> list[str]:
    """``PREFIX.HEAD.LAYER`` of every head layer whose weight is in the state, each once."""
    found: dict[str, None] = {}
    for key in state:
        layer, _, tensor = key.rpartition(".")
        inside = layer.startswith(prefix) and layer.rpartition(".")[2] in LAYERS
        if inside and tensor in ("weight", "weight_orig"):
            found[layer] = None
    return list(found)


def _normalized(raw: Tensor) -> Tensor:
    """What the normalised layer computed with, for a model whose layer is plain."""
    u, v = leading_singular_vectors(raw)
    weight = raw.to(u.dtype)
    return (weight / (u @ (weight @ v)).clamp_min(1e-12)).to(raw.dtype)
