"""The parent's side of the workers: starts them, asks them in turn, ends them."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Optional

from benchmarks.training_step.peers import Peer
from benchmarks.training_step.setting import Setting
from rxf.errors import UserError

__all__ = ["Worker", "crew"]

ROOT = Path(__file__).resolve().parents[2]
MODULE = "benchmarks.training_step.worker"


class Worker:
    """A peer in a process of its own.

    Args:
        peer: who.
        setting: what it trains.
        warm_up: turns before it is ready.
        environment: of its process, beside the parent's.
        folder: for its files.

    Attributes:
        facts: of the trainer, when :meth:`ready` has returned.
    """

    def __init__(
        self,
        peer: Peer,
        setting: Setting,
        warm_up: int,
        environment: Mapping[str, str],
        folder: Path,
    ) -> None:
        self.peer = peer
        self.facts: dict[str, Any] = {}
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", MODULE],
            env={**_environment(), **environment, **peer.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        told = {**asdict(peer), "needs_file": peer.needs_file}
        order = {"setting": setting.as_dict(), "peer": told, "warm_up": warm_up}
        self._write({**order, "folder": str(folder)})

    def ready(self) -> None:
        """Wait until it has set up and warmed up.

        Raises:
            UserError: it has ended instead, or a stock peer has come by rxf.
        """
        self.facts = self._read()
        if self.facts["imports_rxf"] != self.peer.plugin:
            raise UserError(f"{self.peer.title}: its process should not hold rxf, but does")

    def ask(self, what: str) -> dict[str, Any]:
        """What it answers.

        Raises:
            UserError: it has ended, with the reason in one line.
        """
        self._write(what)
        return self._read()

    def _write(self, what: Any) -> None:
        assert self._process.stdin is not None
        # Who has ended is found out by reading.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        told: dict[str, Any] = json.loads(line) if line else {"error": self._last_words()}
        if "error" in told:
            raise UserError(f"{self.peer.title}: {told['error']}{_hint(told['error'])}")
        return told

    def _last_words(self) -> str:
        status = self._process.wait()
        self._log.seek(0)
        lines = [line.strip() for line in self._log if line.strip()]
        ended = f"killed by signal {-status}" if status < 0 else f"ended with {status}"
        return f"{ended}: {lines[-1]}" if lines else ended

    def close(self) -> None:
        """End the process; one that is at work is stopped."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


def _environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    # Threads that wait for work would take processor from the peer whose turn it is.
    return {**os.environ, "PYTHONPATH": path, "OMP_WAIT_POLICY": "PASSIVE"}


def _hint(error: str) -> str:
    memory = "out of memory" in error.lower() or "signal 9" in error
    return " (try a smaller --at-once, so that fewer peers hold memory together)" if memory else ""


@contextlib.contextmanager
def crew(
    peers: Sequence[Peer],
    setting: Setting,
    warm_up: int,
    environment: Optional[Mapping[str, str]] = None,
) -> Iterator[list[Worker]]:
    """A worker for each peer, all of them ready; they are ended on the way out.

    Raises:
        UserError: one of them could not set up.
    """
    with contextlib.ExitStack() as stack:
        # Of the parent, so that it goes too when a worker is killed.
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workers = []
        for number, peer in enumerate(peers):
            folder = root / str(number)
            worker = Worker(peer, setting, warm_up, environment or {}, folder)
            stack.callback(worker.close)
            workers.append(worker)
        for worker in workers:
            worker.ready()
        yield workers
