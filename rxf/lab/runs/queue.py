"""Many runs, some at a time, with one progress bar; what is finished is not run again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Optional

from tqdm import tqdm

from rxf.lab.runs.log import updates_so_far
from rxf.lab.runs.process import Run, prepare, start
from rxf.lab.runs.record import Usage, finish, record_of

__all__ = ["processors", "progress_bar", "run_all", "sigterm_is_ctrl_c", "updates_done"]

_POLL_SECONDS = 0.2
_PATIENCE_SECONDS = 10


def processors() -> int:
    """The cores that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Started:
    """A process that is running."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.since = time.monotonic()
        self.process: subprocess.Popen = start(run)

    def ended(self) -> Optional[Usage]:
        """What it took, once it has ended."""
        number, status, used = os.wait4(self.process.pid, os.WNOHANG)
        if number == 0:
            return None
        self.process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - self.since
        # Linux counts memory in KiB, macOS in bytes.
        unit = 1024 if sys.platform != "darwin" else 1024**2
        return Usage(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / unit)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def run_all(
    runs: Sequence[Run],
    jobs: int,
    title: str,
    retry_failed: bool = False,
    show_bar: bool = True,
) -> list[dict[str, Any]]:
    """Run what has no record yet; returns every record, in the order of ``runs``.

    A run that fails is recorded and the others go on.  Ctrl-C and SIGTERM stop the
    processes and then raise ``KeyboardInterrupt``; another call goes on from there.
    """
    waiting = [run for run in runs if not _is_done(run, retry_failed)]
    if waiting:
        _work(waiting, jobs, title, show_bar)
    records = [record_of(run) for run in runs]
    return [record for record in records if record is not None]


def _is_done(run: Run, retry_failed: bool) -> bool:
    record = record_of(run)
    if record is None:
        return False
    return record["status"] == "finished" or not retry_failed


def _work(waiting: list[Run], jobs: int, title: str, show_bar: bool) -> None:
    for run in waiting:
        # Of another command, or of a failure that is tried again.
        run.record.unlink(missing_ok=True)
        prepare(run)
    running: list[Started] = []
    queue = list(waiting)
    with progress_bar(waiting, title, show_bar) as bar, sigterm_is_ctrl_c():
        try:
            while queue or running:
                while queue and len(running) < jobs:
                    running.append(Started(queue.pop(0)))
                time.sleep(_POLL_SECONDS)
                running = [started for started in running if not _has_ended(started)]
                _show(bar, waiting, len(queue) + len(running))
        finally:
            for started in running:
                started.stop()


def _has_ended(started: Started) -> bool:
    usage = started.ended()
    if usage is None:
        return False
    record = finish(started.run, started.process.returncode, usage)
    if record["status"] == "failed":
        tqdm.write(f"failed: {started.run.folder}: {record['error']}")
    return True


def progress_bar(runs: Sequence[Run], title: str, show: bool = True) -> Any:
    """A bar over the updates of ``runs``; what is done by now is left out of its estimate."""
    # Written to a file, a bar that moves ten times a second is only noise.
    pause = 0.2 if os.isatty(2) else 15.0
    return tqdm(
        total=sum(run.updates for run in runs),
        initial=updates_done(runs),
        desc=title,
        unit="upd",
        mininterval=pause,
        maxinterval=pause,
        disable=not show,
    )


def updates_done(runs: Sequence[Run]) -> int:
    """A run that failed counts as run to its end, or an estimate would never come down."""
    return sum(r.updates if r.record.is_file() else updates_so_far(r.log) for r in runs)


def _show(bar: Any, runs: list[Run], left: int) -> None:
    bar.set_postfix_str(f"{len(runs) - left} of {len(runs)} runs", refresh=False)
    bar.update(updates_done(runs) - bar.n)


@contextmanager
def sigterm_is_ctrl_c() -> Iterator[None]:
    """SIGTERM raises ``KeyboardInterrupt`` meanwhile; for the main thread alone."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
