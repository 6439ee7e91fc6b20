"""The slow copy of the model that the Bregman proximal term compares with."""

import math
from typing import Any

import torch
from fairseq.trainer import Trainer
from torch import Tensor, nn

from rxf.errors import UserError
from rxf.fairseq_fixes.criterion_hooks import require_hooks
from rxf.forward import evaluating, replaced_weights, unwrapped
from rxf.forward.branches import Call
from rxf.methods.smart.settings import SmartConfig

__all__ = ["KeepsTeacher", "MeanTeacher"]


class MeanTeacher:
    """An average of a model's trainable parameters over its updates, in fp32.

    ``teacher <- beta teacher + (1 - beta) model`` after each update, from the weights that
    training starts with.

    Attributes:
        tensors: name of the parameter -> its average, float32 on the model's device.

    Source: Jiang et al. 2019 (arXiv 1911.03437), the momentum Bregman proximal point.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}

    @torch.no_grad()
    def start_at(self, model: nn.Module) -> None:
        """Forget all averages and take the model as it is."""
        self.tensors = {
            name: parameter.detach().to(torch.float32, copy=True)
            for name, parameter in _averaged(model)
        }

    @torch.no_grad()
    def follow(self, model: nn.Module, beta: float) -> None:
        """One update of the averages."""
        now = {name: parameter.detach().float() for name, parameter in _averaged(model)}
        # What a checkpoint has brought may still lie on the CPU.
        self.tensors = {name: self.tensors[name].to(new.device) for name, new in now.items()}
        torch._foreach_lerp_(list(self.tensors.values()), list(now.values()), 1.0 - beta)

    def outputs(self, model: nn.Module, net_input: dict[str, Any], call: Call) -> Tensor:
        """What ``call`` makes of the batch with the averages as weights: no gradient, no dropout.

        Args:
            model: the model that is averaged, wrapped or not; it is left as it is.
            net_input: the batch.
            call: runs a model on a batch.
        """
        inner = unwrapped(model)
        weights = {
            name: self.tensors[name].to(parameter.device, parameter.dtype)
            for name, parameter in _averaged(inner)
        }
        with torch.no_grad(), evaluating(inner), replaced_weights(inner, weights):
            return call(inner, net_input)


def _averaged(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    named = unwrapped(model).named_parameters()
    return [(name, parameter) for name, parameter in named if parameter.requires_grad]


class KeepsTeacher(nn.Module):
    """The part of a criterion that keeps a :class:`MeanTeacher` over a training.

    The hooks are those of ``fairseq_fixes/criterion_hooks.py``.  The averages are part of
    the criterion's state, so that a resumed run goes on with them.
    """

    smart: SmartConfig
    teacher: MeanTeacher
    # The last update at which --smart-beta holds; set by before_epoch.
    _switch_at: float = math.inf

    def keep_teacher(self, cfg: SmartConfig, criterion: str) -> None:
        """To be called at construction.

        Raises:
            UserError: nothing would let the copy of ``--criterion criterion`` follow.
        """
        if cfg.smart_mu:
            require_hooks(criterion)
        self.smart = cfg
        self.teacher = MeanTeacher()

    def teacher_of(self, model: nn.Module) -> MeanTeacher:
        """The teacher; where no trainer has started it, it starts at the model as it is."""
        if not self.teacher.tensors:
            self.teacher.start_at(model)
        return self.teacher

    def before_epoch(self, trainer: Trainer, epoch: int) -> None:
        """Start from the weights that training starts with.

        Raises:
            UserError: the schedule of beta needs the number of updates, and no flag says it.
        """
        if self.smart.smart_mu == 0:
            return
        self._switch_at = _last_early_update(self.smart, trainer.cfg)
        if trainer.get_num_updates() == 0:
            # What a file brings that this run only starts from is another run's average.
            self.teacher.start_at(trainer.get_model())
        else:
            self.teacher_of(trainer.get_model())

    def after_update(self, trainer: Trainer) -> None:
        """Let the teacher follow."""
        if self.smart.smart_mu == 0:
            return
        early = trainer.get_num_updates() <= self._switch_at
        beta = self.smart.smart_beta if early else self.smart.smart_late_beta
        self.teacher_of(trainer.get_model()).follow(trainer.get_model(), beta)

    def get_extra_state(self) -> dict[str, Any]:
        """For torch's ``state_dict``."""
        return {"teacher": self.teacher.tensors}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """For torch's ``load_state_dict``; each tensor moves to the model's device when used."""
        self.teacher.tensors = {
            name: tensor.to(torch.float32, copy=True) for name, tensor in state["teacher"].items()
        }


def _last_early_update(smart: SmartConfig, cfg: Any) -> float:
    if smart.smart_early_share == 1 or smart.smart_beta == smart.smart_late_beta:
        return math.inf
    total = cfg.optimization.max_update or getattr(cfg.lr_scheduler, "total_num_update", 0)
    if not total:
        raise UserError(
            "--smart-late-beta holds behind --smart-early-share of all updates, and their number "
            "is not known: pass --max-update (or --smart-early-share 1 for --smart-beta alone)"
        )
    return smart.smart_early_share * float(total)
