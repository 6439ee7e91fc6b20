"""A run that has had all its updates does nothing when it is started again.

Symptom: fairseq looks at ``--max-update`` behind an update and not before it.  Whoever gives
the command of a finished run once more, or whose job was killed after the last save and before
the process had ended, gets one more update on top, saved over ``checkpoint_last.pt``, and with
a better score over ``checkpoint_best.pt``.

Why this mends it: the number is looked at before an epoch is begun, too, and the run ends as it
does behind its last update.  ``--max-epoch`` and ``--stop-min-lr`` are looked at there already.
"""

import logging
import sys
from types import ModuleType
from typing import Any, Callable, Optional

from fairseq import checkpoint_utils

from rxf.fairseq_fixes import Fix
from rxf.fairseq_fixes.patching import wrap

logger = logging.getLogger(__name__)
_COMMAND = "fairseq_cli.train"
_GUARDED = "_rxf_finished_run"


def _apply() -> None:
    wrap(checkpoint_utils, "load_checkpoint", _load_checkpoint)


def _load_checkpoint(original: Callable, *args: Any, **kwargs: Any) -> Any:
    # Not before: importing the command for this would cost what no run has used, and whoever
    # trains in another way has a loop of his own.
    command = _command()
    if command is not None and not hasattr(command, _GUARDED):
        wrap(command, "train", _train)
        setattr(command, _GUARDED, True)
    return original(*args, **kwargs)


def _command() -> Optional[ModuleType]:
    """The module of fairseq-train, which ``python -m`` knows by another name."""
    main = sys.modules.get("__main__")
    if getattr(getattr(main, "__spec__", None), "name", None) == _COMMAND:
        return main
    return sys.modules.get(_COMMAND)


def _train(original: Callable, cfg: Any, trainer: Any, task: Any, epoch_itr: Any) -> Any:
    done, wanted = trainer.get_num_updates(), cfg.optimization.max_update
    if wanted and done >= wanted:
        logger.info(f"nothing to do: the run has had {done} of {wanted} updates (--max-update)")
        return [None], True
    return original(cfg, trainer, task, epoch_itr)


FIX = Fix(
    name="finished-run",
    symptom="a finished run that is started again trains one update more and saves it",
    reference="measured on fairseq 0.12.2",
    apply=_apply,
)
