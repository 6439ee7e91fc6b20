"""What a pre-trained file holds of a model's parameters, by name and in fp32.

Neither the model nor the raw keys of the file tell: fairseq renames keys while it
"upgrades" a file, and for heads that the file lacks it puts the model's own tensors
among the upgraded ones.  So the file is upgraded by the model once more, and an entry
counts as the file's unless it is the model's own storage.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rxf.errors import UserError
from rxf.parameters.ledger import Entry

__all__ = ["PretrainedWeights", "read_pretrained"]


@dataclass(frozen=True)
class PretrainedWeights:
    """The parameters that a file holds.

    Attributes:
        path: of the file.
        tensors: name in the model -> tensor of the parameter's shape, fp32, on the CPU.
        fingerprint: changes when any name or any bit of these tensors does.
    """

    path: str
    tensors: dict[str, Tensor]
    fingerprint: str


def read_pretrained(
    path: str, flag: str, model: nn.Module, entries: Iterable[Entry], model_cfg: Any = None
) -> PretrainedWeights:
    """Read the weights in ``path`` of those ``entries`` that are the model's.

    Args:
        path: a fairseq checkpoint.
        flag: what names it, for errors.
        model: out of its wrappers; it is not changed.
        entries: the parameters that are wanted.
        model_cfg: fairseq's configuration of the model, for ``layers_to_keep``.

    Raises:
        UserError: no checkpoint can be read there, it holds none of the parameters, or one
            in another shape.
    """
    from fairseq.checkpoint_utils import load_checkpoint_to_cpu, prune_state_dict

    held = load_checkpoint_to_cpu(path, load_on_all_ranks=True)["model"]
    model.upgrade_state_dict(held)  # type: ignore[operator]
    held = prune_state_dict(held, model_cfg)
    own = _storages(model.state_dict().values())
    tensors = {}
    for entry in entries:
        tensor = held.get(entry.name)
        if entry.owner == "model" and tensor is not None and tensor.data_ptr() not in own:
            _check_shape(entry, tensor, f"{flag} {path}")
            tensors[entry.name] = tensor.detach().to(torch.float32).contiguous()
    if not tensors:
        raise UserError(
            f"{flag} {path}: holds no parameter of this model; name the file that the model "
            "was pre-trained to"
        )
    return PretrainedWeights(path, tensors, _fingerprint(tensors))


def _storages(values: Iterable[Any]) -> set[int]:
    # Empty tensors all have the address 0.
    return {value.data_ptr() for value in values if torch.is_tensor(value)} - {0}


def _check_shape(entry: Entry, tensor: Tensor, source: str) -> None:
    if tensor.shape != entry.parameter.shape:
        raise UserError(
            f"{source}: holds {entry.name} as {tuple(tensor.shape)}, the model has it as "
            f"{tuple(entry.parameter.shape)}; take the file of this architecture"
        )


def _fingerprint(tensors: dict[str, Tensor]) -> str:
    check = 0
    for name in sorted(tensors):
        check = zlib.crc32(name.encode(), check)
        check = zlib.crc32(tensors[name].flatten().view(torch.uint8).numpy().data, check)
    return f"{check:08x}"
