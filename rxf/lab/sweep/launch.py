"""Hydra's multirun in a process of its own, and one progress bar over all its runs."""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ContextManager

from tqdm import tqdm

from rxf.errors import UserError
from rxf.lab.files import held
from rxf.lab.runs import (
    Run,
    last_error,
    prepare,
    progress_bar,
    record_of,
    sigterm_is_ctrl_c,
    updates_done,
)
from rxf.lab.sweep.app import PARENT

__all__ = ["LAUNCHERS", "launch", "launcher_words", "locked", "multirun", "reserve"]

# The Hydra plugin that each needs, and what it calls the number of runs at a time.
LAUNCHERS = {
    "basic": (None, None),
    "joblib": ("hydra_joblib_launcher", "n_jobs"),
    "submitit_local": ("hydra_submitit_launcher", None),
    "submitit_slurm": ("hydra_submitit_launcher", "array_parallelism"),
}
_POLL_SECONDS = 0.5
_PATIENCE_SECONDS = 20


def launcher_words(launcher: str, jobs: int) -> list[str]:
    """Hydra overrides that choose a launcher.

    Raises:
        UserError: its plugin is not installed, or it cannot limit the runs at a time.
    """
    plugin, limit = LAUNCHERS[launcher]
    if plugin and importlib.util.find_spec(f"hydra_plugins.{plugin}") is None:
        raise UserError(f"--launcher {launcher}: needs {plugin}: pip install 'rxf[sweep]'")
    if jobs > 1 and limit is None:
        raise UserError(f"--jobs {jobs}: the {launcher} launcher has no such limit: leave it out")
    words = [f"hydra/launcher={launcher}"] + ([f"hydra.launcher.{limit}={jobs}"] if limit else [])
    # Left to itself joblib hands out several runs at once, as runs that are skipped are quick.
    return words + (["hydra.launcher.batch_size=1"] if launcher == "joblib" else [])


def multirun(folder: Path, words: Sequence[str]) -> list[str]:
    """The command of the Hydra app over the configs in ``folder``."""
    return [
        *(sys.executable, "-m", "rxf.lab.sweep", "--config-dir", str(folder)),
        *("--multirun", *words),
    ]


def locked(out: Path) -> ContextManager[Any]:
    """Hold a sweep's folder.

    Raises:
        UserError: another sweep holds it, as the context is entered.
    """
    busy = f"{out}: another sweep is at work here: let it end, or name another folder"
    return held(out / "sweep.lock", busy)


def reserve(runs: Sequence[Run]) -> None:
    """Make the folders of ``runs`` ready; waits a little for what a killed sweep has left.

    Raises:
        UserError: another process is at work on one.
    """
    until = time.monotonic() + _PATIENCE_SECONDS
    for run in runs:
        while True:
            try:
                prepare(run)
                break
            except UserError:
                if time.monotonic() > until:
                    raise
                time.sleep(_POLL_SECONDS)


def launch(command: Sequence[str], runs: Sequence[Run], log: Path) -> None:
    """Start Hydra and wait, showing how far ``runs`` are.

    Raises:
        UserError: Hydra ended before it had come to every run.
        KeyboardInterrupt: on Ctrl-C and SIGTERM, once all processes have ended.
    """
    environment = {**os.environ, PARENT: str(os.getpid()), "HYDRA_FULL_ERROR": "1"}
    with log.open("ab") as output:
        # In a session of its own: a terminal's Ctrl-C would reach the runs, too, and they
        # would be recorded as failed.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        with sigterm_is_ctrl_c():
            _follow(process, runs)
    finally:
        _end(process)
    if any(record_of(run) is None for run in runs):
        raise UserError(f"Hydra stopped early: {last_error(log, process.returncode)}; see {log}")


def _follow(process: subprocess.Popen, runs: Sequence[Run]) -> None:
    told = {run.folder for run in runs if _failed(run)}
    with progress_bar(runs, f"{len(runs)} runs") as bar:
        running = True
        while running:
            running = process.poll() is None
            _show(bar, runs)
            _tell(runs, told)
            time.sleep(_POLL_SECONDS if running else 0)


def _show(bar: Any, runs: Sequence[Run]) -> None:
    ended = sum(run.record.is_file() for run in runs)
    bar.set_postfix_str(f"{ended} of {len(runs)} runs", refresh=False)
    bar.update(updates_done(runs) - bar.n)


def _tell(runs: Sequence[Run], told: set[Path]) -> None:
    for run in runs:
        if run.folder not in told and run.record.is_file() and _failed(run):
            told.add(run.folder)
            tqdm.write(f"failed: {run.folder}: {record_of(run)['error']}")  # type: ignore[index]


def _failed(run: Run) -> bool:
    record = record_of(run)
    return record is not None and record["status"] == "failed"


def _end(process: subprocess.Popen) -> None:
    """Let Hydra end its runs; then end what is left of its session."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE_SECONDS)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
