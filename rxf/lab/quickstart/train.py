"""One run: a ``fairseq-train`` process of its own, its log, and what came of it.

A process a run, since fairseq's best score leaks from run to run within one process.
``run.json`` beside the checkpoints is written once, when the run has ended, well or not.
"""

import contextlib
import fcntl
import json
import math
import os
import platform
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, Optional, TextIO

from rxf.errors import UserError

__all__ = ["Run", "finish", "prepare", "read_log", "record_of", "start"]

_EVENT = re.compile(r"\| INFO \| (train_inner|valid) \| (\{.*\})$")
_ERROR = re.compile(r"^(?:rxf: error: |[\w.]*(?:Error|Exception|Refused|Interrupt)\b).*")
_TAIL = 8192


class Run(NamedTuple):
    """What is to be run; ``settings`` goes into the record as it is."""

    folder: Path
    command: list[str]
    updates: int
    threads: int
    settings: dict[str, Any]

    @property
    def log(self) -> Path:
        return self.folder / "train.log"

    @property
    def record(self) -> Path:
        return self.folder / "run.json"


class Log(NamedTuple):
    """``values`` are the validation results of the metric, by update."""

    values: dict[int, float]
    updates: int
    seconds_per_update: Optional[float]


def prepare(run: Run) -> None:
    """Empty a folder that another command has filled: its checkpoint would be resumed.

    Raises:
        UserError: another process is at work on this run.
    """
    with _locked(run):
        stamp = run.folder / "command.json"
        command = json.dumps(run.command, indent=1)
        if not stamp.is_file() or stamp.read_text() != command:
            shutil.rmtree(run.folder, ignore_errors=True)
            run.folder.mkdir()
            stamp.write_text(command)


def start(run: Run) -> subprocess.Popen:
    """Start a run that :func:`prepare` has seen, or let it go on where it was stopped.

    The process inherits the lock, and so holds it even where this one is killed.

    Raises:
        UserError: another process is at work on this run.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(run.threads), "PYTHONUNBUFFERED": "1"}
    with _locked(run) as lock, run.log.open("ab") as log:
        return subprocess.Popen(
            run.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=[lock.fileno()],
        )


@contextlib.contextmanager
def _locked(run: Run) -> Iterator[TextIO]:
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    with run.folder.with_suffix(".lock").open("w") as lock:
        _take(lock, run.folder)
        yield lock


def _take(lock: TextIO, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"{folder}: another quickstart, or what is left of a killed one, is at work here: "
            "let it end, or name another folder with --out"
        ) from None


def record_of(run: Run) -> Optional[dict[str, Any]]:
    """The record of an earlier run of this very command, or None."""
    try:
        record = json.loads(run.record.read_text())
    except (OSError, ValueError):
        return None
    return record if record.get("command") == run.command else None


def finish(run: Run, status: int, wall_seconds: float) -> dict[str, Any]:
    """Write and return the record of a run that has ended with ``status``."""
    log = read_log(run.log, run.settings["metric"])
    complete = status == 0 and bool(log.values)
    record = {
        **run.settings,
        "status": "finished" if complete else "failed",
        "error": None if complete else last_error(run.log, status),
        "best": _best(log.values, run.settings["maximize"]),
        "last": log.values[max(log.values)] if log.values else None,
        "values": {str(update): value for update, value in log.values.items()},
        "updates": log.updates,
        "seconds_per_update": log.seconds_per_update,
        "wall_seconds": round(wall_seconds, 2),
        "ended": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "versions": versions(),
        "command": run.command,
    }
    _tidy(run.folder)
    aside = run.record.with_suffix(".tmp")
    aside.write_text(json.dumps(record, indent=1))
    os.replace(aside, run.record)
    return record


def _best(values: dict[int, float], maximize: bool) -> Optional[float]:
    finite = [value for value in values.values() if math.isfinite(value)]
    if not finite:
        return None
    return max(finite) if maximize else min(finite)


def _tidy(folder: Path) -> None:
    """Of a run that has ended only the best checkpoint is of further use."""
    for path in folder.glob("checkpoint_*.pt"):
        if path.name != "checkpoint_best.pt":
            path.unlink()


def read_log(path: Path, metric: str) -> Log:
    """Read fairseq's JSON log; a run that was stopped and went on has one log.

    The pace is the median over the log's intervals, as a single interval may hold a
    validation or another program's burst.  It is taken as words an update over words a
    second: the log rounds updates a second to two digits, which is nothing where an
    update takes seconds.
    """
    values, pace, updates = {}, [], 0
    for kind, event in _events(path):
        if kind == "train_inner":
            updates = max(updates, int(event["num_updates"]))
            speed = float(event.get("wps", 0))
            pace += [float(event["wpb"]) / speed] if speed > 0 else []
        elif f"valid_{metric}" in event:
            values[int(event["valid_num_updates"])] = float(event[f"valid_{metric}"])
    seconds = round(statistics.median(pace), 5) if pace else None
    return Log(values, max([updates, *values]), seconds)


def _events(path: Path) -> list[tuple[str, dict[str, Any]]]:
    events = []
    for line in _lines(path.read_bytes()):
        match = _EVENT.search(line)
        if match:
            with contextlib.suppress(ValueError):
                events.append((match[1], json.loads(match[2])))
    return events


def _lines(raw: bytes) -> list[str]:
    return raw.decode("utf-8", "replace").splitlines()


def updates_so_far(path: Path) -> int:
    """Cheap, for a progress bar: only the log's end is read."""
    with contextlib.suppress(OSError), path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - _TAIL))
        found = re.findall(rb'num_updates": "(\d+)"', log.read())
        return int(found[-1]) if found else 0
    return 0


def last_error(path: Path, status: int) -> str:
    """The last line of the log that names an error, or else its last line."""
    lines = [line.strip() for line in _lines(path.read_bytes()) if line.strip()]
    errors = [line for line in lines if _ERROR.match(line)]
    if status == 0:
        return "the run ended without any validation result"
    told = (errors or lines or ["the log is empty"])[-1]
    return f"{told[:300]} (exit status {status})"


def versions() -> dict[str, str]:
    """Versions of what decides a figure."""
    packages = {name: _version(name) for name in ("rxf", "fairseq", "torch", "numpy")}
    return {"python": platform.python_version(), **packages}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
