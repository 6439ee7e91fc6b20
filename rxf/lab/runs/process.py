"""One run: a ``fairseq-train`` process of its own in a folder of its own.

A process a run, since fairseq's best score leaks from run to run within one process.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, ContextManager, NamedTuple, TextIO

from rxf.lab.files import held

__all__ = ["Run", "prepare", "start"]


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


def _locked(run: Run) -> ContextManager[TextIO]:
    return held(
        run.folder.with_suffix(".lock"),
        f"{run.folder}: another command, or what is left of a killed one, is at work here: "
        "let it end, or name another output folder",
    )
