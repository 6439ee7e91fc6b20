"""A criterion may do more than score a batch.

Symptom: fairseq calls a criterion with a model and a batch, and that is all.  A method that
runs several backward passes a batch, has parameters of the model's shapes, or changes from
update to update or epoch to epoch, has to bring a task of its own, so that
``--task sentence_prediction`` and everything that hangs on it is lost.

A criterion may define any of these; each is looked for on the criterion itself, out of DDP:

* ``build_for(model)``: called once, before the trainer casts, moves or wraps anything: the
  place for parameters and buffers of the model's shapes.  The weights are not yet loaded.
* ``train_step(sample, model, optimizer, update_num, ignore_grad)``: runs in place of one
  forward and one backward pass; returns loss, sample size and logging output.  It must
  call ``optimizer.backward``, and no parameter of the criterion's own may take part, since
  it runs outside of the criterion's DDP wrapper.
* ``before_epoch(trainer, epoch)``: at the start of each epoch, all weights being loaded.
* ``after_update(trainer)``: after each update that was not skipped for an overflow.

The last two are also looked for on the modules that the criterion holds directly, and called
there after its own.

One that cannot do without calls :func:`require_hooks` at construction.

Why this mends it: the four are called from where fairseq's trainer does the work.
"""

from typing import Any, Callable

from fairseq.tasks.fairseq_task import FairseqTask
from fairseq.trainer import Trainer
from torch import nn

from rxf.errors import UserError
from rxf.fairseq_fixes import Fix, status
from rxf.fairseq_fixes.patching import wrap

__all__ = ["FIX", "require_hooks"]

# The trainers that are in the middle of an update.
_updating: list[Trainer] = []


def _apply() -> None:
    wrap(FairseqTask, "train_step", _task_train_step)
    wrap(Trainer, "__init__", _trainer_init)
    wrap(Trainer, "begin_epoch", _begin_epoch)
    wrap(Trainer, "train_step", _trainer_train_step)
    wrap(Trainer, "set_num_updates", _set_num_updates)


def require_hooks(criterion: str) -> None:
    """Refuse a criterion whose hooks would not be called.

    Args:
        criterion: its name, as ``--criterion`` has it.

    Raises:
        UserError: this fix is off.
    """
    if not status()[FIX.name]:
        raise UserError(
            f"--criterion {criterion} needs rxf's fix {FIX.name}: take it out of RXF_FIXES"
        )


def _hook(criterion: nn.Module, name: str) -> Any:
    return getattr(_unwrapped(criterion), name, None)


def _call_all(criterion: nn.Module, name: str, *args: Any) -> None:
    inner = _unwrapped(criterion)
    for module in (inner, *inner.children()):
        hook = getattr(module, name, None)
        if hook is not None:
            hook(*args)


def _unwrapped(criterion: nn.Module) -> nn.Module:
    while isinstance(getattr(criterion, "module", None), nn.Module):
        criterion = criterion.module  # type: ignore[assignment]
    return criterion


def _task_train_step(
    original: Callable,
    self: FairseqTask,
    sample: Any,
    model: nn.Module,
    criterion: nn.Module,
    optimizer: Any,
    update_num: int,
    ignore_grad: bool = False,
    **kwargs: Any,
) -> Any:
    own = _hook(criterion, "train_step")
    if own is None:
        return original(
            self, sample, model, criterion, optimizer, update_num, ignore_grad, **kwargs
        )
    model.train()
    model.set_num_updates(update_num)  # type: ignore[operator]
    return own(sample, model, optimizer, update_num, ignore_grad)


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
    build = _hook(criterion, "build_for")
    if build is not None:
        build(model)
    original(self, cfg, task, model, criterion, *args, **kwargs)


def _begin_epoch(original: Callable, self: Trainer, epoch: int) -> Any:
    result = original(self, epoch)
    _call_all(self.criterion, "before_epoch", self, epoch)
    return result


def _trainer_train_step(original: Callable, self: Trainer, *args: Any, **kwargs: Any) -> Any:
    _updating.append(self)
    try:
        return original(self, *args, **kwargs)
    finally:
        _updating.pop()


def _set_num_updates(original: Callable, self: Trainer, num_updates: int) -> Any:
    result = original(self, num_updates)
    # It is also called when a checkpoint is loaded.
    if _updating and _updating[-1] is self:
        _call_all(self.criterion, "after_update", self)
    return result


FIX = Fix(
    name="criterion-hooks",
    symptom="a method with several backward passes, or state of its own, needs a task of its own",
    reference="fairseq 0.12.2, FairseqTask.train_step",
    apply=_apply,
)
