"""A file that the user names to start from must exist.

Symptom: a mistyped ``--restore-file`` is logged ("No existing checkpoint found") and
training starts from random weights; several "cannot reproduce" threads end there (the
same code is metaseq#602).  ``--finetune-from-model`` with a folder does the same.

Why this mends it: the check stands where every rank decides which file to load, before
training starts.  The default ``checkpoint_last.pt`` may be absent as ever, and once it
is there ``--finetune-from-model`` is not looked at, so that form still resumes.  A
``--restore-file`` always wins over it, which starts a repeated command over again: that
is fairseq's way and stays, but is said.
"""

import logging
import os
from typing import Any, Callable, Optional

from fairseq import checkpoint_utils
from fairseq.file_io import PathManager

from rxf.errors import UserError
from rxf.fairseq_fixes import Fix
from rxf.fairseq_fixes.patching import wrap

logger = logging.getLogger(__name__)
_DEFAULT = "checkpoint_last.pt"


def _apply() -> None:
    wrap(checkpoint_utils, "load_checkpoint", _load_checkpoint)


def _load_checkpoint(original: Callable, cfg: Any, trainer: Any, **kwargs: Any) -> Any:
    missing = _missing(cfg, trainer.checkpoint_suffix)
    if missing:
        raise UserError(
            f"{missing} does not exist or is not a file: correct the path, or leave the "
            "flag out to start from random weights"
        )
    last = _ignored_last(cfg, trainer.checkpoint_suffix)
    if last:
        logger.warning(
            f"--restore-file is loaded, so {last} is not resumed and will be overwritten; "
            "the form that resumes is --finetune-from-model without --restore-file and --reset-*"
        )
    return original(cfg, trainer, **kwargs)


def _missing(cfg: Any, suffix: str) -> Optional[str]:
    """Flag and value of the file that would be loaded, where it cannot be."""
    flag, path = _named_file(cfg, suffix)
    return f"{flag} {path}" if path and not PathManager.isfile(path) else None


def _ignored_last(cfg: Any, suffix: str) -> Optional[str]:
    """An earlier run's checkpoint that this run passes over, if there is one."""
    last = os.path.join(cfg.save_dir, f"checkpoint_last{suffix}.pt")
    passed_over = cfg.restore_file not in (_DEFAULT, last) and PathManager.exists(last)
    return last if passed_over and not cfg.no_last_checkpoints else None


def _named_file(cfg: Any, suffix: str) -> tuple[str, Optional[str]]:
    """What fairseq is going to load and the flag that says so, in fairseq's own order."""
    if cfg.restore_file != _DEFAULT:
        return "--restore-file", cfg.restore_file.replace(".pt", f"{suffix}.pt")
    last = os.path.join(cfg.save_dir, f"checkpoint_last{suffix}.pt")
    if PathManager.exists(last):
        return "", None
    if getattr(cfg, "continue_once", None) is not None:
        return "--continue-once", cfg.continue_once
    return "--finetune-from-model", cfg.finetune_from_model


FIX = Fix(
    name="restore-file",
    symptom="a --restore-file that does not exist is ignored and training starts from scratch",
    reference="metaseq#602 (the same code)",
    apply=_apply,
)
