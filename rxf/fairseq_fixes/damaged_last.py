"""A run whose ``checkpoint_last.pt`` is damaged goes on from the newest whole checkpoint.

Symptom: a disk that lost the end of ``checkpoint_last.pt`` (a crash of the machine, a quota, a
copy that was cut off) stops every later start of the run, though whole checkpoints lie beside
it.  Whoever deletes the file starts again at update 0: fairseq looks at no other name.

Why this mends it: where the trainer is about to resume and the file cannot be read, the other
checkpoints of the folder are tried, the newest first, and a warning says which one it is.
Since an update depends on nothing but the state and its number, the run comes to the same end.
Without a whole one it ends, and says so.  A file that was named by ``--restore-file`` stays an
error, as does one that holds what no checkpoint may, and one of several shards.
"""

import contextlib
import logging
import os
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional

from fairseq import checkpoint_utils, trainer

from rxf.errors import UserError
from rxf.fairseq_fixes import Fix
from rxf.fairseq_fixes.patching import wrap

logger = logging.getLogger(__name__)
_LAST = "checkpoint_last"
_OTHERS = r"checkpoint(\d+|_\d+_\d+|_best|\.best_.+)"
# The file that a trainer resumes from now, and the end of the names of its like.
_resuming: Optional[tuple[str, str]] = None


def _apply() -> None:
    # Applied before "checkpoint-loading", so that this is within what turns errors into lines.
    wrap(checkpoint_utils, "load_checkpoint_to_cpu", _load_checkpoint_to_cpu)
    wrap(trainer.Trainer, "load_checkpoint", _trainer_load_checkpoint)


def _trainer_load_checkpoint(
    original: Callable, self: Any, filename: str, *args: Any, **kwargs: Any
) -> Any:
    global _resuming
    cfg, suffix = self.cfg.checkpoint, self.checkpoint_suffix
    last = os.path.join(cfg.save_dir, f"{_LAST}{suffix}.pt")
    is_last = filename == last and cfg.restore_file == f"{_LAST}.pt"
    _resuming = (filename, suffix) if is_last else None
    try:
        return original(self, filename, *args, **kwargs)
    finally:
        _resuming = None


def _load_checkpoint_to_cpu(
    original: Callable, path: str, arg_overrides: Any = None, load_on_all_ranks: bool = False
) -> Any:
    try:
        return original(path, arg_overrides, load_on_all_ranks)
    except Exception as error:
        if _resuming is None or path != _resuming[0] or load_on_all_ranks or not _damage(error):
            raise
        reason = _damage(error)
    for other in _newest_first(Path(path), _resuming[1]):
        with contextlib.suppress(Exception):
            state = original(str(other), arg_overrides, load_on_all_ranks)
            logger.warning(
                f"{path} cannot be read ({reason}): going on from {other}, "
                f"{state['optimizer_history'][-1]['num_updates']} updates"
            )
            return state
    raise UserError(
        f"{path} cannot be read ({reason}), and no other checkpoint in its folder can: "
        "bring back a whole one, or delete it to start again"
    )


def _damage(error: Exception) -> str:
    """What is wrong with a file that is cut short or overwritten; empty for all else."""
    text = " ".join(str(error).split())
    if not isinstance(error, (pickle.UnpicklingError, EOFError, OSError, RuntimeError)):
        return ""
    return "" if text.startswith("it names") else text[:200] or type(error).__name__


def _newest_first(last: Path, suffix: str) -> Iterator[Path]:
    pattern = re.compile(_OTHERS + re.escape(suffix) + r"\.pt")
    found = [path for path in last.parent.iterdir() if pattern.fullmatch(path.name)]
    yield from sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


FIX = Fix(
    name="damaged-last",
    symptom="a truncated checkpoint_last.pt stops a run for good, whatever else was saved",
    reference="fairseq 0.12.2, checkpoint_utils.load_checkpoint",
    apply=_apply,
)
