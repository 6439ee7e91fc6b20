"""The record of a run: ``run.json``, written once, when the run has ended, well or not."""

import math
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, Optional

from rxf.lab.files import read_json, write_json
from rxf.lab.runs.log import last_error, read_log
from rxf.lab.runs.process import Run

__all__ = ["Usage", "finish", "record_of", "versions"]


class Usage(NamedTuple):
    """What a process took, its own children included.

    Attributes:
        wall_seconds: by the clock.
        cpu_seconds: of the processor, user and system.
        peak_mib: the largest resident set, Python and torch included.
    """

    wall_seconds: float
    cpu_seconds: float
    peak_mib: float


def record_of(run: Run) -> Optional[dict[str, Any]]:
    """The record of an earlier run of this very command, or None."""
    record = read_json(run.record)
    known = isinstance(record, dict) and record.get("command") == run.command
    return record if known else None


def finish(run: Run, status: int, usage: Usage) -> dict[str, Any]:
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
        **{name: round(value, 2) for name, value in usage._asdict().items()},
        "ended": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "versions": versions(),
        "command": run.command,
    }
    _tidy(run.folder)
    write_json(run.record, record)
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


def versions() -> dict[str, str]:
    """Versions of what decides a figure."""
    packages = {name: _version(name) for name in ("rxf", "fairseq", "torch", "numpy")}
    return {"python": platform.python_version(), **packages}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
