"""What fairseq's JSON log says of a run."""

import contextlib
import json
import re
import statistics
from pathlib import Path
from typing import Any, NamedTuple, Optional

__all__ = ["Log", "last_error", "read_log", "updates_so_far"]

_EVENT = re.compile(r"\| INFO \| (train_inner|valid) \| (\{.*\})$")
_ERROR = re.compile(r"^(?:rxf: error: |[\w.]*(?:Error|Exception|Refused|Interrupt)\b).*")
_TAIL = 8192


class Log(NamedTuple):
    """``values`` are the validation results of the metric, by update."""

    values: dict[int, float]
    updates: int
    seconds_per_update: Optional[float]


def read_log(path: Path, metric: str) -> Log:
    """Read fairseq's JSON log; a run that was stopped and went on has one log.

    The pace is the median over the log's intervals, as a single interval may hold a
    validation or another program's burst.  It is taken as words an update over words a
    second: the log rounds updates a second to two digits, which is nothing where an
    update takes seconds.
    """
    values: dict[int, float] = {}
    pace: list[float] = []
    updates = 0
    for kind, event in _events(path):
        # Where a process was killed, or another one wrote, a line may be of two.
        with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):
            if kind == "train_inner":
                updates = max(updates, int(event["num_updates"]))
                pace += _pace(event)
            elif f"valid_{metric}" in event:
                values[int(event["valid_num_updates"])] = float(event[f"valid_{metric}"])
    seconds = round(statistics.median(pace), 5) if pace else None
    return Log(values, max([updates, *values]), seconds)


def _pace(event: dict[str, Any]) -> list[float]:
    speed = float(event.get("wps", 0))
    return [float(event["wpb"]) / speed] if speed > 0 else []


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
