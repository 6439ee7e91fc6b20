"""A checkpoint appears whole or not at all, and a full disk is said in one line.

Symptom: fairseq writes the first file of a save to ``NAME.tmp`` and renames it, and copies it
to the other names in place.  A kill or a full disk during the copy leaves a truncated
``checkpoint_last.pt`` where a whole one was, and the next run cannot start.  A full disk during
the first file ends in three tracebacks and leaves the ``.tmp``, which keeps the disk full; where
room comes free between its three tries, the last one is appended to what the others have left,
and that file, which nobody can read, takes the name.

Why this mends it: every file is written to a temporary name in the same folder, once, is
flushed to the disk, and takes the final name in one step.  What cannot be written is taken
away again, and so are the temporary files of processes of this machine that were killed.
"""

import contextlib
import errno
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional

import torch
from fairseq import checkpoint_utils
from fairseq.file_io import PathManager

from rxf.errors import UserError
from rxf.fairseq_fixes import Fix
from rxf.fairseq_fixes.patching import wrap


def _apply() -> None:
    original = PathManager.copy

    def copy(src_path: str, dst_path: str, overwrite: bool = False) -> Any:
        return _copy(original, src_path, dst_path, overwrite)

    PathManager.copy = staticmethod(copy)
    wrap(checkpoint_utils, "torch_persistent_save", _save)


def _copy(original: Callable, src_path: str, dst_path: str, overwrite: bool) -> Any:
    remote = any(PathManager.path_requires_pathmanager(p) for p in (src_path, dst_path))
    if remote or not overwrite:
        return original(src_path, dst_path, overwrite)
    with _written(dst_path) as temporary:
        shutil.copyfile(src_path, temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
    return dst_path


def _save(original: Callable, obj: Any, filename: str, async_write: bool = False) -> None:
    if async_write or PathManager.path_requires_pathmanager(filename):
        return original(obj, filename, async_write)
    with _written(filename) as temporary, open(temporary, "wb") as file:
        torch.save(obj, file)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _written(path: str) -> Iterator[str]:
    """A name to write to, which takes the place of ``path`` at the end.

    Raises:
        UserError: the file could not be written; nothing of it is left.
    """
    _remove_left_over(Path(path).parent)
    # The process keeps two trainings that share a folder apart, its machine those of a cluster.
    temporary = f"{path}.{_machine()}-{os.getpid()}.tmp"
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
        reason = _reason(error)
        if reason is None:
            raise
        raise UserError(
            f"{path} cannot be written ({reason}): make room, then give the same command again, "
            "which goes on from the last whole checkpoint"
        ) from error


def _reason(error: BaseException) -> Optional[str]:
    """Why the system refused; None where it was not the system.

    torch's writer goes on after the error that the file has raised and raises its own.
    """
    seen: Optional[BaseException] = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        seen = seen.__cause__ or seen.__context__
    return None


def _remove_left_over(folder: Path) -> None:
    """Before anything is written, as it takes room; of another machine nobody can tell here."""
    for left in folder.glob("*.pt.*.tmp"):
        machine, _, number = left.name.removesuffix(".tmp").rsplit(".", 1)[1].rpartition("-")
        if machine == _machine() and number.isdigit() and not _runs(int(number)):
            with contextlib.suppress(OSError):
                left.unlink()


def _machine() -> str:
    return platform.node().replace(".", "_")


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError as error:
        # Another user's may not be sent a signal, but is there.
        return error.errno != errno.ESRCH
    return True


FIX = Fix(
    name="atomic-checkpoints",
    symptom="a kill or a full disk while a checkpoint is written leaves a broken one",
    reference="measured on fairseq 0.12.2",
    apply=_apply,
)
