"""``checkpoint_best.pt`` and ``checkpoint_last.pt`` appear whole or not at all.

Symptom: fairseq writes the first file of a save atomically and copies it to the other
names in place.  A kill or a full disk during the copy leaves a truncated
``checkpoint_last.pt`` where a whole one was, and the next run cannot start.

Why this mends it: a copy goes to a temporary name in the same folder, is flushed to
the disk, and takes the final name in one step.
"""

import os
import shutil
from typing import Any, Callable

from fairseq.file_io import PathManager

from rxf.fairseq_fixes import Fix


def _apply() -> None:
    original = PathManager.copy

    def copy(src_path: str, dst_path: str, overwrite: bool = False) -> Any:
        return _copy(original, src_path, dst_path, overwrite)

    PathManager.copy = staticmethod(copy)


def _copy(original: Callable, src_path: str, dst_path: str, overwrite: bool) -> Any:
    remote = any(PathManager.path_requires_pathmanager(p) for p in (src_path, dst_path))
    if remote or not overwrite:
        return original(src_path, dst_path, overwrite)
    # The process number keeps two trainings that share a folder apart.
    temporary = f"{dst_path}.{os.getpid()}.tmp"
    try:
        shutil.copyfile(src_path, temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, dst_path)
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise
    return dst_path


FIX = Fix(
    name="atomic-checkpoints",
    symptom="a kill while checkpoint_last.pt is written leaves a truncated one",
    reference="measured on fairseq 0.12.2",
    apply=_apply,
)
