"""One start of a training: begun in a process of its own, watched, killed, and read."""

import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from tests.support import begin_fairseq

__all__ = ["Start"]

_UPDATES = re.compile(r'"num_updates": "(\d+)"')
_LOADED = re.compile(r"Loaded checkpoint \S+ \(epoch \d+ @ (\d+) updates\)")
_SAVED = re.compile(r"Saved checkpoint \S+ \(epoch \d+ @ (\d+) updates")
_FAULT = re.compile(r"^fault: (.+) at update (\d+)$", re.MULTILINE)
_PATIENCE = 300.0


class Start:
    """A start of ``fairseq-train``; what is read of its log is that of the moment.

    Args:
        flags: its command line.
        folder: gets ``out`` and ``err``, what it prints.
        fault: for the faulty plugin; empty for none.
        fixes: value of ``RXF_FIXES``.
    """

    def __init__(
        self,
        flags: list[str],
        folder: Path,
        fault: Optional[Mapping[str, Any]] = None,
        fixes: str = "",
    ) -> None:
        self.out, self.err = folder / "out", folder / "err"
        folder.mkdir(parents=True)
        self.out.touch()
        env = {"RXF_FAULT": json.dumps(fault or {}), "RXF_FIXES": fixes}
        self.begun = time.monotonic()
        self.process = begin_fairseq(["fairseq-train", *flags], self.out, self.err, env=env)

    def wait(self) -> int:
        """Until it ends; returns its exit status, which is -N after signal N.

        Raises:
            TimeoutError: it does not end.
        """
        self.process.join(_PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            raise TimeoutError(f"a training has not ended in {_PATIENCE:.0f} s: {self.out}")
        return int(self.process.exitcode)

    def signal(self, number: int, update: int, seconds: float) -> int:
        """Send a signal some time after an update is in the log; returns the exit status.

        Args:
            number: of the signal.
            update: 0 for the time since the start.
            seconds: to let pass from there on; a process that ends before is left alone.
        """
        since = self.begun
        while update and self.process.is_alive() and self.updates < update:
            time.sleep(0.002)
            since = time.monotonic()
        time.sleep(max(0.0, since + seconds - time.monotonic()))
        if self.process.is_alive():
            os.kill(self.process.pid, number)
        return self.wait()

    @property
    def log(self) -> str:
        """What it has printed."""
        return self.out.read_text(errors="replace")

    @property
    def errors(self) -> str:
        """What it has printed as errors."""
        return self.err.read_text(errors="replace") if self.err.exists() else ""

    @property
    def updates(self) -> int:
        """The last update that is in its log, 0 before the first."""
        return _last(_UPDATES, self.log)

    @property
    def resumed_at(self) -> Optional[int]:
        """The updates that it began with; 0 in a run that began anew; None before any."""
        log = self.log
        return _last(_LOADED, log) if _LOADED.search(log) else None

    @property
    def saved_at(self) -> int:
        """The updates of its last save that has ended; 0 where there was none."""
        return _last(_SAVED, self.log)

    @property
    def fault(self) -> Optional[tuple[str, int]]:
        """What the plugin has brought about, and at which update."""
        found = _FAULT.findall(self.log)
        return (found[-1][0], int(found[-1][1])) if found else None


def _last(pattern: "re.Pattern[str]", text: str) -> int:
    found = pattern.findall(text)
    return int(found[-1]) if found else 0
