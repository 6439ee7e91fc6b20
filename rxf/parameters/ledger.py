"""Which slice of which optimised tensor is which named parameter.

A fairseq optimizer gets a bare list of tensors, and what these are depends on the
precision: the parameters themselves (fp32, ``--amp``, the memory-efficient modes), one
fp32 copy of each (``--fp16-no-flatten-grads``, ``--bf16``), or all of them copied one
after another into a single fp32 tensor (``--fp16``).  The order is the same in all:
the model's trainable parameters, then the criterion's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from rxf.errors import UserError

__all__ = ["Entry", "Ledger"]


@dataclass(frozen=True, eq=False)
class Entry:
    """One named parameter, and where the optimizer keeps it.

    Attributes:
        name: as in the state dict of its owner, without any wrapper's prefix.
        owner: "model" or "criterion".
        module: the module that directly holds it.
        parameter: as the module holds it; its ``grad`` is None where an update gave none.
        tensor: which of the optimised tensors holds it, counted from 0.
        start: its first element there, counted in the flattened tensor.
    """

    name: str
    owner: str
    module: nn.Module
    parameter: nn.Parameter
    tensor: int
    start: int

    @property
    def numel(self) -> int:
        return self.parameter.numel()

    def view(self, whole: Tensor) -> Tensor:
        """This parameter's part of ``whole``, in the parameter's shape.

        Args:
            whole: the optimised tensor itself, or one laid out like it: its gradient, an
                Adam moment.
        """
        if whole.shape == self.parameter.shape:
            return whole
        return whole[self.start : self.start + self.numel].view(self.parameter.shape)


class Ledger:
    """The entries of all optimised tensors, in the order in which they lie there.

    Attributes:
        model: out of its wrappers.
        entries: one for each trainable parameter.
        by_tensor: the same, a list for each optimised tensor.
    """

    def __init__(self, model: nn.Module, entries: Sequence[Entry]) -> None:
        self.model = model
        self.entries = list(entries)
        self.by_tensor: list[list[Entry]] = [
            [] for _ in range(max((entry.tensor for entry in entries), default=-1) + 1)
        ]
        for entry in self.entries:
            self.by_tensor[entry.tensor].append(entry)

    @classmethod
    def match(cls, tensors: Iterable[Tensor], model: nn.Module, *criterion: nn.Module) -> "Ledger":
        """Find the named parameters of ``model`` and ``criterion`` in what is optimised.

        Args:
            tensors: what the optimizer got, in its order.
            model: out of its wrappers.
            criterion: likewise, if it has one.

        Raises:
            UserError: the tensors are not these parameters in any of the known layouts.
        """
        tensors = list(tensors)
        named = _trainable("model", model)
        for module in criterion:
            named += _trainable("criterion", module)
        parameters = [parameter for *_, parameter in named]
        if _one_each(tensors, parameters):
            places = [(number, 0) for number in range(len(parameters))]
        elif _flattened(tensors, parameters):
            places = [(0, start) for start in _starts(parameters)]
        else:
            raise UserError(
                f"--optimizer: {len(tensors)} optimised tensors do not match the model's "
                f"{len(parameters)} trainable parameters, so that none can be told by its name; "
                "use --optimizer adam with this set-up"
            )
        return cls(
            model,
            [Entry(*facts, *place) for facts, place in zip(named, places, strict=True)],
        )


def _trainable(owner: str, root: nn.Module) -> list[tuple[str, str, nn.Module, nn.Parameter]]:
    """Name, owner, holder and tensor of each parameter, in the order of ``parameters()``."""
    holders = dict(root.named_modules())
    return [
        (name, owner, holders[name.rpartition(".")[0]], parameter)
        for name, parameter in root.named_parameters()
        if parameter.requires_grad
    ]


def _one_each(tensors: Sequence[Tensor], parameters: Sequence[Tensor]) -> bool:
    if len(tensors) != len(parameters):
        return False
    return all(one.shape == other.shape for one, other in zip(tensors, parameters, strict=True))


def _flattened(tensors: Sequence[Tensor], parameters: Sequence[Tensor]) -> bool:
    total = sum(parameter.numel() for parameter in parameters)
    return len(tensors) == 1 and tensors[0].dim() == 1 and tensors[0].numel() == total


def _starts(parameters: Sequence[Tensor]) -> list[int]:
    starts, position = [], 0
    for parameter in parameters:
        starts.append(position)
        position += parameter.numel()
    return starts
