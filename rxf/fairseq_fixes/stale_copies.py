"""Encoder layers lose eight parameters that no training ever uses.

Symptom: every Transformer encoder layer of fairseq 0.12.2 has, beside its weights,
``in_proj_*``, ``out_proj_*``, ``fc1_*`` and ``fc2_*``: copies for torch's inference fast
path.  They are zero at build, refilled from the true weights when a checkpoint is
loaded, trainable, without gradient, and saved.  So two checkpoints of one training
differ in them after a resume; DDP always sees unused parameters; ``--fp16`` gives them
zero gradients and thereby weight decay; they dilute a distance in weight space; and a
deep copy of a ReLU model in eval mode computes with whatever they last held.
(Measured on fairseq 0.12.2; they came with its "BT" support.)

Why this mends it: the copies are no longer parameters, so they are neither trained nor
saved, and the fast path that alone reads them is off; the layer computes from its true
weights as it does in training.  (Empty tensors remain under the names, so that
TorchScript still finds them.)  Files that hold the copies load as before, strictly
too; files without them load in a stock fairseq, which refills the copies from q/k/v/fc.

An optimizer's state is a list without names in the order of the parameters.  One saved
by a stock fairseq counts the copies, so their places are taken out of it here.  The
other way does not work: stock fairseq cannot resume the optimizer of a file saved here
(``--reset-optimizer`` there).
"""

from collections.abc import Iterator
from itertools import chain
from typing import Any, Callable, Optional

import torch
from fairseq.modules.transformer_layer import TransformerEncoderLayerBase
from fairseq.trainer import Trainer
from torch import nn

from rxf.fairseq_fixes import Fix
from rxf.fairseq_fixes.patching import wrap

# In the order in which fairseq registers them.
_PARTS = ("in_proj", "out_proj", "fc1", "fc2")
NAMES = tuple(f"{part}_{kind}" for part in _PARTS for kind in ("weight", "bias"))


def _apply() -> None:
    wrap(TransformerEncoderLayerBase, "__init__", _init_layer)
    wrap(Trainer, "_build_optimizer", _build_optimizer)
    if "_load_from_state_dict" in vars(TransformerEncoderLayerBase):
        TransformerEncoderLayerBase._load_from_state_dict = _load_layer


# ------------------------------------------------------------------------- layer


def _init_layer(original: Callable, self: Any, *args: Any, **kwargs: Any) -> None:
    original(self, *args, **kwargs)
    for name in NAMES:
        if self._parameters.pop(name, None) is not None:
            setattr(self, name, torch.empty(0))
    self.can_use_fastpath = False


def _load_layer(
    self: nn.Module, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
) -> None:
    # In place of fairseq's, which fills the copies in and is there for nothing else.
    for name in NAMES:
        state_dict.pop(prefix + name, None)
    nn.Module._load_from_state_dict(self, state_dict, prefix, *args, **kwargs)


# --------------------------------------------------------------------- optimizer


def _build_optimizer(original: Callable, self: Trainer) -> None:
    original(self)
    optimizer = self._optimizer
    load = optimizer.load_state_dict

    def load_without_copies(state: Any, overrides: Optional[dict] = None) -> None:
        slots = list(_stock_slots(self.get_model(), self.get_criterion()))
        load(without_copies(state, slots), overrides)

    optimizer.load_state_dict = load_without_copies


def _stock_slots(*modules: nn.Module) -> Iterator[tuple[int, bool]]:
    """Size of each trainable tensor as stock fairseq orders them, and whether it is a copy."""
    seen = set()
    for module in chain.from_iterable(root.modules() for root in modules):
        if isinstance(module, TransformerEncoderLayerBase) and _trainable(module):
            yield from ((size, True) for size in _copy_sizes(module))
        for parameter in module.parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                yield parameter.numel(), False


def _trainable(layer: nn.Module) -> bool:
    # Who froze a layer froze its copies with it.
    return any(parameter.requires_grad for parameter in layer.parameters())


def _copy_sizes(layer: Any) -> list[int]:
    attention = layer.self_attn
    sources = [attention.q_proj, attention.out_proj, layer.fc1, layer.fc2]
    times = [3, 1, 1, 1]
    return [
        count * tensor.numel()
        for count, source in zip(times, sources, strict=True)
        for tensor in (source.weight, source.bias)
    ]


def without_copies(state: dict[str, Any], slots: list[tuple[int, bool]]) -> dict[str, Any]:
    """An optimizer's state without the places of the copies.

    Args:
        state: as the optimizer's ``state_dict`` gave it.
        slots: of each tensor that a stock fairseq optimises, its size and whether it
            is a copy.

    Returns:
        ``state`` itself where it does not count the copies, else a reduced copy of it.
    """
    groups = state.get("param_groups") if isinstance(state, dict) else None
    # Several groups have an order of their own, and stock fairseq makes one.
    if not groups or len(groups) != 1 or not any(copy for _, copy in slots):
        return state
    ids = groups[0]["params"]
    if len(ids) == len(slots):
        copies = {number for number, (_, copy) in zip(ids, slots, strict=True) if copy}
        return _without_ids(state, copies)
    if len(ids) == 1:
        return _without_parts(state, slots)
    return state


def _without_ids(state: dict[str, Any], copies: set) -> dict[str, Any]:
    """One entry a tensor (fp32, memory-efficient fp16, --fp16-no-flatten-grads)."""
    group = state["param_groups"][0]
    kept = [number for number in group["params"] if number not in copies]
    entries = {number: entry for number, entry in state["state"].items() if number not in copies}
    return {**state, "param_groups": [{**group, "params": kept}], "state": entries}


def _without_parts(state: dict[str, Any], slots: list[tuple[int, bool]]) -> dict[str, Any]:
    """All tensors flattened into one (``--fp16``)."""
    total = sum(size for size, _ in slots)
    kept = torch.cat([torch.full((size,), not copy) for size, copy in slots])

    def reduce(value: Any) -> Any:
        fits = torch.is_tensor(value) and value.dim() == 1 and value.numel() == total
        return value[kept.to(value.device)] if fits else value

    entries = {
        number: {key: reduce(value) for key, value in entry.items()}
        for number, entry in state["state"].items()
    }
    return {**state, "state": entries}


FIX = Fix(
    name="stale-copies",
    symptom="encoder layers hold 8 trainable parameters that nothing uses, out of step with q/k/v",
    reference="measured on fairseq 0.12.2",
    apply=_apply,
)
