"""``--store-ema`` works with a restore file, and for tasks that use the EMA model.

Symptom: where the restore file holds no EMA, as no pre-trained file does, loading ends
in ``KeyError: 'model'``: the trainer reads the weights from a dict out of which it has
just deleted them.  And a task with ``uses_ema`` is handed an ``ema_model`` that
``FairseqTask.train_step`` and ``valid_step`` do not take.  (Measured.)

Why this mends it: fairseq means to start the EMA from the restored model, and an EMA
is built as a copy of the trainer's model, which by then is the restored one.  So it is
built there, and nothing is read into it.  (A file named by ``--ema-seed-model`` still
wins.)  The base class takes the argument and leaves it to a task that wants it.
"""

import logging
from typing import Any, Callable

from fairseq.models.ema.ema import EMA
from fairseq.tasks import FairseqTask
from fairseq.trainer import Trainer

from rxf.fairseq_fixes import Fix
from rxf.fairseq_fixes.patching import wrap, wrap_trainer_reading

logger = logging.getLogger(__name__)
_ABSENT = "absent"


def _apply() -> None:
    wrap_trainer_reading(_mark)
    wrap(Trainer, "load_checkpoint", _load_checkpoint)
    wrap(EMA, "restore", _restore)
    for name in ("train_step", "valid_step"):
        wrap(FairseqTask, name, _step)


def _mark(trainer: Trainer, state: dict[str, Any]) -> None:
    if trainer.cfg.ema.store_ema and "ema" not in state["extra_state"]:
        state["extra_state"]["ema"] = _ABSENT


def _load_checkpoint(original: Callable, self: Trainer, *args: Any, **kwargs: Any) -> Any:
    self._ema = None  # built again on demand, from the model that is about to be loaded
    extra_state = original(self, *args, **kwargs)
    if extra_state and extra_state.get("ema") == _ABSENT:
        del extra_state["ema"]
        logger.info("the restore file holds no EMA: it starts from the restored model")
    return extra_state


def _restore(original: Callable, self: EMA, state_dict: Any, *args: Any, **kwargs: Any) -> None:
    if state_dict != _ABSENT:
        original(self, state_dict, *args, **kwargs)


def _step(
    original: Callable, self: FairseqTask, *args: Any, ema_model: Any = None, **kwargs: Any
) -> Any:
    return original(self, *args, **kwargs)


FIX = Fix(
    name="ema-restore",
    symptom="--store-ema with a restore file stops with KeyError: 'model'",
    reference="measured on fairseq 0.12.2",
    apply=_apply,
)
