"""``--optimizer adam`` steps in one kernel without apex.

Symptom: where apex is not installed, and it is on no package index, fairseq's Adam walks the
parameters in Python, a dozen kernels for each, and says nothing of it.

Why this mends it: torch has AdamW as one kernel for many tensors.  It computes fairseq's
update where it is given the eps that comes to the same (see :mod:`rxf.optim.adam_step`), so
the same flags lead to the same weights, within rounding.  State and its file are fairseq's own,
read and written by either.

Left alone: apex's, which fairseq prefers; ``--use-old-adam``, which asks for fairseq's;
TPUs, and whatever else torch has no such kernel for.  One line of the log says which it is.
"""

import functools
import logging
from collections.abc import Sequence
from typing import Any, Callable, NamedTuple, Optional

import torch
from fairseq.optim.adam import Adam, FairseqAdam
from torch import Tensor

from rxf.fairseq_fixes import Fix
from rxf.fairseq_fixes.patching import wrap
from rxf.optim.adam_step import FUSED_DEVICES, adam
from rxf.optim.batches import alike

__all__ = ["TorchFusedAdam"]

logger = logging.getLogger(__name__)
# Dtype of a parameter -> dtype of its update and of its moments.
_UPDATED_IN = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float32: torch.float32,
    torch.float64: torch.float64,
}


def _apply() -> None:
    wrap(FairseqAdam, "__init__", _init)


def _init(original: Callable, self: FairseqAdam, *args: Any, **kwargs: Any) -> None:
    original(self, *args, **kwargs)
    # Of another class it is apex's, and fairseq has said so.
    if type(self._optimizer) is not Adam:
        return
    reason = _reason_to_leave(self)
    if reason is None:
        self._optimizer = TorchFusedAdam(self._optimizer.param_groups, **self.optimizer_config)
        _say("--optimizer adam: torch's fused AdamW kernel (--use-old-adam: fairseq's in Python)")
    else:
        _say(f"--optimizer adam: fairseq's in Python, tensor by tensor, because of {reason}")


def _reason_to_leave(optimizer: FairseqAdam) -> Optional[str]:
    for name in ("use_old_adam", "tpu"):
        if getattr(optimizer.cfg, name, False):
            return "--" + name.replace("_", "-")
    for parameter in optimizer.params:
        device = parameter.device.type
        if device not in FUSED_DEVICES or parameter.dtype not in _UPDATED_IN:
            return f"parameters in {parameter.dtype} on {device}"
    return None


@functools.cache
def _say(line: str) -> None:
    logger.info(line)


class _Row(NamedTuple):
    """What one update needs of one parameter."""

    weight: Tensor
    gradient: Tensor
    first_moment: Tensor
    second_moment: Tensor
    step: int


class TorchFusedAdam(Adam):
    """fairseq's Adam with another way through its update.

    Parameters in half precision are updated in fp32 and rounded back, under fp32 moments, as
    fairseq does it; where there is no gradient, a parameter is left as it is.
    """

    def step(self, closure: Optional[Callable[[], Any]] = None) -> Optional[Any]:
        """One update.

        Args:
            closure: computes the loss anew, as torch's optimizers take it.

        Raises:
            RuntimeError: fairseq's, for a sparse gradient.
        """
        loss = None if closure is None else closure()
        if any(map(_is_fairseqs, self.param_groups)):
            super().step()
            return loss
        for group in self.param_groups:
            rows = [self._row(p) for p in group["params"] if p.grad is not None]
            for batch in alike(rows, _treatment, _copied_elements):
                _update(batch, group)
        return loss

    def _row(self, parameter: Tensor) -> _Row:
        # .data, as fairseq has it: to autograd the parameter has not changed.
        weight = parameter.data
        dtype = _UPDATED_IN[weight.dtype]
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(weight, dtype=dtype)
            state["exp_avg_sq"] = torch.zeros_like(weight, dtype=dtype)
        else:
            # Loaded, they may be in half precision, or still on the CPU.
            state["exp_avg"] = state["exp_avg"].to(weight.device, dtype)
            state["exp_avg_sq"] = state["exp_avg_sq"].to(weight.device, dtype)
        state["step"] += 1
        assert parameter.grad is not None
        gradient = parameter.grad.data
        return _Row(weight, gradient, state["exp_avg"], state["exp_avg_sq"], state["step"])


def _is_fairseqs(group: dict[str, Any]) -> bool:
    """Whether the step is one that only fairseq's code can do, or refuse."""
    gradients = (parameter.grad for parameter in group["params"])
    return group.get("amsgrad", False) or any(
        gradient is not None and gradient.layout is not torch.strided for gradient in gradients
    )


def _treatment(row: _Row) -> tuple[torch.dtype, torch.device, int]:
    return row.weight.dtype, row.weight.device, row.step


def _copied_elements(row: _Row) -> int:
    # What is updated where it lies needs no bound.
    return 0 if _can_be_worked_on(row.weight) else row.weight.numel()


def _update(rows: Sequence[_Row], group: dict[str, Any]) -> None:
    """One update of rows that are treated alike."""
    weights, gradients, first_moments, second_moments, steps = map(list, zip(*rows, strict=True))
    changed = [*weights, *first_moments, *second_moments]
    worked_on = _to_work_on(changed)
    count = len(rows)
    adam(
        worked_on[:count],
        _to_work_on(gradients),
        worked_on[count : 2 * count],
        worked_on[2 * count :],
        step=steps[0],
        lr=group["lr"],
        betas=group["betas"],
        eps=group["eps"],
        decay=group["lr"] * group["weight_decay"],
    )
    _copy_others(changed, worked_on)


def _to_work_on(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Each tensor itself where it is fp32 or fp64 and contiguous, else such a copy.

    torch's kernel goes through memory as it lies, without a look at the strides.
    """
    found = [tensor if _can_be_worked_on(tensor) else _room_for(tensor) for tensor in tensors]
    _copy_others(found, tensors)
    return found


def _can_be_worked_on(tensor: Tensor) -> bool:
    return _UPDATED_IN[tensor.dtype] is tensor.dtype and tensor.is_contiguous()


def _room_for(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=_UPDATED_IN[tensor.dtype], device=tensor.device)


def _copy_others(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Fill each target from its source, where they are not one tensor, in one go."""
    pairs = [(to, of) for to, of in zip(targets, sources, strict=True) if to is not of]
    if pairs:
        torch._foreach_copy_([to for to, _ in pairs], [of for _, of in pairs])


FIX = Fix(
    name="fused-adam",
    symptom="without apex, --optimizer adam steps tensor by tensor in Python, and does not say so",
    reference="measured on fairseq 0.12.2",
    apply=_apply,
)
