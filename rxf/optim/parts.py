"""Named parameters as an update works on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rxf.optim.settings import ComponentAdamConfig
from rxf.parameters.components import component, is_norm_or_bias, layer_depths
from rxf.parameters.ledger import Entry, Ledger

__all__ = ["MOMENTS", "Part", "Workspace", "elements", "gradients_of", "parts_of"]

# What Adam keeps of an optimised tensor, laid out like it.
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, eq=False)
class Part:
    """What does not change about one entry of the ledger.

    Attributes:
        number: of the entry in the ledger.
        entry: itself.
        place: of the entry among those of its tensor.
        lr_scale: what the learning rate is multiplied by.
        weight_decay: decoupled.
        component: parts with the same one are clipped together.
    """

    number: int
    entry: Entry
    place: int
    lr_scale: float
    weight_decay: float
    component: str


def parts_of(ledger: Ledger, cfg: ComponentAdamConfig) -> list[Part]:
    """A part for each entry, under the flags' groups and rates."""
    # Of frozen ones too, since the highest layer counts. A criterion lies on top of all.
    depths = layer_depths([name for name, _ in ledger.model.named_parameters()])
    by_module = str(cfg.component_clip_group) == "module"

    def part(number: int, entry: Entry, place: int) -> Part:
        spared = cfg.no_decay_norms_and_biases and is_norm_or_bias(entry.name, entry.module)
        depth = depths[entry.name] if entry.owner == "model" else 0
        shared = by_module and entry.owner == "model"
        return Part(
            number=number,
            entry=entry,
            place=place,
            lr_scale=cfg.layer_lr_decay**depth,
            weight_decay=0.0 if spared else cfg.weight_decay,
            component=component(entry.name, entry.module) if shared else str(number),
        )

    placed = [(entry, place) for entries in ledger.by_tensor for place, entry in enumerate(entries)]
    return [part(number, entry, place) for number, (entry, place) in enumerate(placed)]


def elements(part: Part) -> int:
    """How many a part has."""
    return part.entry.numel


def _to_work_on(tensor: Tensor) -> Tensor:
    """``tensor`` itself where it is fp32 or fp64 and contiguous, else such a copy."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32)).contiguous()


class Workspace:
    """The tensors of some parts, to be updated in place.

    Args:
        parts: of any tensors.
        tensors: the optimised ones.
        states: number of the tensor -> its :data:`MOMENTS`.

    Attributes:
        weights, gradients, first_moments, second_moments: one tensor a part.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        tensors: Sequence[Tensor],
        states: Mapping[int, dict[str, Tensor]],
    ) -> None:
        entries = [part.entry for part in parts]
        self._stored = [entry.view(tensors[entry.tensor].detach()) for entry in entries]
        self.weights = [_to_work_on(tensor) for tensor in self._stored]
        self.gradients = gradients_of(parts, tensors)
        self.first_moments, self.second_moments = (
            [entry.view(states[entry.tensor][name]) for entry in entries] for name in MOMENTS
        )

    def write_back(self) -> None:
        """Round the weights to where they are stored, if they were worked on elsewhere."""
        for stored, weight in zip(self._stored, self.weights, strict=True):
            if stored is not weight:
                stored.copy_(weight)


def gradients_of(parts: Sequence[Part], tensors: Sequence[Tensor]) -> list[Tensor]:
    """The stored gradients of some parts, as they are worked on: fp32 or fp64, contiguous."""
    gradients = []
    for part in parts:
        whole = tensors[part.entry.tensor].grad
        assert whole is not None
        gradients.append(_to_work_on(part.entry.view(whole)))
    return gradients
