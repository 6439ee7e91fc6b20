"""The plugin, in a process with the one fault that ``RXF_FAULT`` asks for, as JSON.

``{"fault": "signal", "at": "write" or "copy", "signal": N, "update": U, "bytes": B}``
    the first file of the first save from update U on, or the first copy of it to another name:
    signal N, sent to itself when B bytes of it are there.
``{"fault": "full", "update": U, "bytes": B, "ballast": NAME}``
    a disk with room for B more bytes from that save on, which the file NAME fills.
``{"fault": "nan", "update": U}``
    the model's first layer gives NaN, once, in the update that follows update U.
``{"fault": "oom", "update": U, "call": C, "at": "forward" or "backward"}``
    out of memory in or behind the C-th call of the model's first layer from there on, once.
``{"fault": "skip", "update": U, "computed": false or true}``
    the update that follows update U is left out, for another's twin: not begun, or out of memory
    behind its last operation.

Without ``RXF_FAULT`` nothing is wrong.  What came about is printed, with the update.
"""

import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fairseq.tasks.fairseq_task import FairseqTask
from fairseq.trainer import Trainer

import rxf  # noqa: F401
from rxf.fairseq_fixes.patching import wrap

FAULT: dict[str, Any] = json.loads(os.environ.get("RXF_FAULT") or "{}")
_done = False


def _due(trainer: Trainer) -> bool:
    return not _done and trainer.get_num_updates() >= FAULT["update"]


def _came_about(trainer: Trainer, what: str) -> None:
    global _done
    _done = True
    print(f"fault: {what} at update {trainer.get_num_updates()}", flush=True)


def _out_of_memory(*ignored: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. (It is not: this is a test.)")


# ------------------------------------------------------------------- of the disk


class _Ending:
    """A file that ends its process when there are ``limit`` bytes in it."""

    def __init__(self, file: Any, limit: int) -> None:
        self._file, self._limit, self._written = file, limit, 0

    def write(self, data: Any) -> int:
        raw = memoryview(data).cast("B")
        if self._written + len(raw) >= self._limit:
            self._file.write(raw[: self._limit - self._written])
            self._file.flush()
            os.kill(os.getpid(), FAULT["signal"])
        self._written += len(raw)
        return self._file.write(raw)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _kill_in_write(original: Callable, self: Trainer, filename: str, *args: Any) -> None:
    if _due(self):
        _came_about(self, f"a kill in the write of {Path(filename).name}")
        save = torch.save
        torch.save = lambda state, file: save(state, _Ending(file, FAULT["bytes"]))
    original(self, filename, *args)


def _kill_in_copy(original: Callable, self: Trainer, filename: str, *args: Any) -> None:
    original(self, filename, *args)
    if _due(self):
        shutil.copyfile = lambda source, target: _half_a_copy(self, source, target)


def _half_a_copy(trainer: Trainer, source: str, target: str) -> None:
    name = Path(target).name.split(".pt")[0]
    _came_about(trainer, f"a kill in the copy to {name}.pt")
    with open(source, "rb") as read, open(target, "wb") as written:
        shutil.copyfileobj(read, _Ending(written, FAULT["bytes"]))  # type: ignore[misc]
    os.kill(os.getpid(), FAULT["signal"])


def _fill_disk(original: Callable, self: Trainer, filename: str, *args: Any) -> None:
    if _due(self):
        folder = Path(filename).parent
        _came_about(self, "a disk that is full" if folder.is_mount() else "a limit on files")
        _leave(folder, FAULT["bytes"])
    original(self, filename, *args)


def _leave(folder: Path, room: int) -> None:
    """Of a disk of its own so much room, else no larger file than that."""
    if not folder.is_mount():
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        return
    disk = os.statvfs(folder)
    with open(folder / FAULT["ballast"], "wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, max(1, disk.f_bavail * disk.f_frsize - room))


# -------------------------------------------------------------- of the computation


def _layer(trainer: Trainer) -> torch.nn.Module:
    named = trainer.get_model().named_modules()
    return next(module for name, module in named if name.endswith("layers.0"))


def _in_first_layer(original: Callable, self: Trainer, *args: Any, **kwargs: Any) -> Any:
    if not _due(self):
        return original(self, *args, **kwargs)
    handle = _layer(self).register_forward_hook(lambda _, inputs, out: _hit(self, out))
    try:
        return original(self, *args, **kwargs)
    finally:
        handle.remove()


def _hit(trainer: Trainer, output: Any) -> Any:
    FAULT["call"] = FAULT.get("call", 1) - 1
    if _done or FAULT["call"] > 0:
        return output
    _came_about(trainer, FAULT["fault"])
    if FAULT["fault"] == "nan":
        return output * float("nan")
    if FAULT["at"] == "backward" and output.requires_grad:
        output.register_hook(_out_of_memory)
        return output
    return _out_of_memory()


def _skip(original: Callable, self: Trainer, *args: Any, **kwargs: Any) -> Any:
    if not _due(self):
        return original(self, *args, **kwargs)
    if not FAULT["computed"]:
        _came_about(self, "skipped")
        return None
    _updating.append(self)
    try:
        return original(self, *args, **kwargs)
    finally:
        _updating.pop()


_updating: list[Trainer] = []


def _throw_away(original: Callable, self: FairseqTask, *args: Any, **kwargs: Any) -> Any:
    result = original(self, *args, **kwargs)
    if _updating:
        _came_about(_updating[-1], "thrown away")
        _out_of_memory()
    return result


def _install() -> None:
    fault, at = FAULT.get("fault"), FAULT.get("at")
    if fault == "signal":
        wrap(Trainer, "save_checkpoint", {"write": _kill_in_write, "copy": _kill_in_copy}[str(at)])
    elif fault == "full":
        wrap(Trainer, "save_checkpoint", _fill_disk)
    elif fault in ("nan", "oom"):
        wrap(Trainer, "train_step", _in_first_layer)
    elif fault == "skip":
        wrap(Trainer, "train_step", _skip)
        wrap(FairseqTask, "train_step", _throw_away)


_install()
