"""A criterion may have parameters, buffers and other state.

Symptom: fine-tuning with a criterion that has parameters ends in "Cannot load model
parameters from checkpoint", because the pre-trained file has none.  Buffers and
counters of a criterion without parameters are not saved, so a resume loses them, and
on several GPUs they stay on the CPU.  A criterion with frozen parameters only is
refused by DDP.  ``--fp16`` and ``--bf16`` halve all of it.  (Measured.)

What a criterion must define, all of it torch's own interface but the last:

* parameters, as ``nn.Parameter``: trained along with the model;
* tensors to keep, by ``register_buffer`` (``persistent=False`` leaves one out);
* anything else (numbers, lists, dicts) by ``get_extra_state`` and ``set_extra_state``;
* ``keep_in_fp32 = True`` on the class, if none of it may be cast to half precision.

Why this mends it: whatever ``criterion.state_dict()`` holds is saved and restored.
What the file lacks, or another criterion saved, keeps its initial value, and one line
of the log says so.  Stock fairseq ignores the extra entry of such a file.
"""

import contextlib
import logging
from collections.abc import Iterator
from itertools import chain
from typing import Any, Callable

from fairseq import models, utils
from fairseq.trainer import Trainer
from torch import Tensor, nn

from rxf.fairseq_fixes import Fix
from rxf.fairseq_fixes.patching import wrap, wrap_trainer_reading

logger = logging.getLogger(__name__)
# True while the trainer asks whether there is something to save or to restore.
_any_state_counts = False


def _apply() -> None:
    wrap(utils, "has_parameters", _has_parameters)
    wrap(models, "DistributedFairseqModel", _distributed_model)
    wrap(Trainer, "__init__", _trainer_init)
    for name in ("load_checkpoint", "state_dict"):
        wrap(Trainer, name, _with_all_state)
    wrap_trainer_reading(_fill_in)


# --------------------------------------------------------------- save and restore


def _has_parameters(original: Callable, module: nn.Module) -> bool:
    return original(module) or (_any_state_counts and bool(module.state_dict()))


def _with_all_state(original: Callable, self: Trainer, *args: Any, **kwargs: Any) -> Any:
    # Now, because whether it is wrapped for DDP is a question of parameters alone.
    _ = self.criterion
    with _counting_any_state():
        return original(self, *args, **kwargs)


@contextlib.contextmanager
def _counting_any_state() -> Iterator[None]:
    global _any_state_counts
    before, _any_state_counts = _any_state_counts, True
    try:
        yield
    finally:
        _any_state_counts = before


def _fill_in(trainer: Trainer, state: dict[str, Any]) -> None:
    """Initial values for what the file does not hold of this criterion."""
    criterion = trainer.get_criterion()
    initial = utils.move_to_cpu(criterion.state_dict())
    if not initial:
        return
    name = type(criterion).__name__
    last = (state.get("optimizer_history") or [{}])[-1]
    saved = state.get("criterion") if last.get("criterion_name") == name else None
    state["criterion"] = {**initial, **(saved or {})}
    missing = [key for key in initial if key not in (saved or {})]
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        logger.info(f"the checkpoint holds no {shown} of {name}: the initial values are kept")


# ------------------------------------------------------------ device and precision


def _distributed_model(
    original: Callable, args: Any, model: nn.Module, process_group: Any, device: Any
) -> nn.Module:
    if any(parameter.requires_grad for parameter in model.parameters()):
        return original(args, model, process_group, device)
    return model.to(device)


def _trainer_init(
    original: Callable,
    self: Trainer,
    cfg: Any,
    task: Any,
    model: nn.Module,
    criterion: nn.Module,
    *args: Any,
    **kwargs: Any,
) -> None:
    keep = getattr(criterion, "keep_in_fp32", False)
    exact = {name: tensor.detach().clone() for name, tensor in _tensors(criterion)} if keep else {}
    original(self, cfg, task, model, criterion, *args, **kwargs)
    for name, tensor in _tensors(self._criterion):
        if name in exact:
            tensor.data = exact[name].to(tensor.device)
    # fairseq leaves that to the DDP wrapper, which a criterion without parameters never gets.
    if self.use_distributed_wrapper and not utils.has_parameters(self._criterion):
        self._criterion.to(device=self.device)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return chain(module.named_parameters(), module.named_buffers())


FIX = Fix(
    name="criterion-state",
    symptom="a criterion with parameters cannot be fine-tuned with; buffers are lost on resume",
    reference="measured on fairseq 0.12.2",
    apply=_apply,
)
