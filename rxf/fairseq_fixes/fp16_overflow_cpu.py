"""An fp16 overflow does not need CUDA.

Symptom: training with ``--fp16 --memory-efficient-fp16`` on CPU dies at the first
overflow, because the trainer builds a zero with ``torch.tensor(0.0).cuda()``; the
loss scaler starts so high that there is one early on.  ``--fp16`` alone does not get
that far: it flattens onto ``torch.cuda.current_device()``.  (Measured.)

Why this mends it: where there is no CUDA, the trainer's zero stays on the CPU, and
fp16's flat tensor lies on the device of the parameters.  With CUDA nothing changes.
"""

from typing import Any

import torch
from fairseq import trainer
from fairseq.optim import fp16_optimizer

from rxf.fairseq_fixes import Fix
from rxf.fairseq_fixes.patching import StandIn


class _StaysHere(torch.Tensor):
    """A tensor that does not go to a GPU that is not there."""

    def cuda(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)


def _tensor(*args: Any, **kwargs: Any) -> torch.Tensor:
    made = torch.tensor(*args, **kwargs)
    return made if torch.cuda.is_available() else made.as_subclass(_StaysHere)


def _current_device() -> Any:
    # None is the index of the CPU, under which fairseq looks its parameters up.
    return torch.cuda.current_device() if torch.cuda.is_available() else None


def _apply() -> None:
    trainer.torch = StandIn(torch, tensor=_tensor)
    cuda = StandIn(torch.cuda, current_device=_current_device)
    fp16_optimizer.torch = StandIn(torch, cuda=cuda)


FIX = Fix(
    name="fp16-overflow-cpu",
    symptom="--fp16 without CUDA stops at the first overflow, or before the first update",
    reference="measured on fairseq 0.12.2",
    apply=_apply,
)
