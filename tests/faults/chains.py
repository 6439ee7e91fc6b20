"""A training from fault to fault, each time started again by the same command, to its end.

What is to happen:

* a signal, at any moment: the next start goes on from the last save that had ended, or from a
  later one; before the first save it begins anew;
* a full disk: the run ends with one line that names the file; what was whole stays, and of
  what could not be written nothing is left;
* NaN in fp32: fairseq ends the run with FloatingPointError and a traceback that helps to find
  where; the next start goes on from the last save;
* ``checkpoint_last.pt`` cut off: the next start says so and goes on from the newest whole one;
* ``checkpoint_best.pt`` cut off: a start does not read it; it is written again with the next
  better score, and refused by whoever reads it until then;
* out of memory in a batch: fairseq leaves that batch out and goes on;

and at the end, the same files with the same content as in a run that nothing happened to, or,
with a batch that ran out of memory, in one that left out that batch.
"""

import contextlib
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.equality import differences, updates_of
from tests.faults.plans import BEST, FAULTS, KILL, LAST, ROOM, Fault, Moment, moment
from tests.faults.starts import Start
from tests.faults.subjects import MAX_UPDATE, Subject

__all__ = ["Chain", "Record", "disk", "out_of_memory"]

Record = dict[str, Any]
DISK = "16m"
# What fills it, in the folder of the checkpoints.
BALLAST = "ballast"


@contextlib.contextmanager
def disk(folder: Path) -> Iterator[Path]:
    """A small disk of its own at ``folder``, where this process may mount one."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    if shutil.which("mount"):
        subprocess.run(mount, capture_output=True, check=False)
    try:
        yield folder
    finally:
        if folder.is_mount():
            subprocess.run(["umount", "-l", str(folder)], check=True)


class Chain:
    """One training and its faults.

    Args:
        subject: what is trained.
        folder: for its checkpoints in ``save`` and its logs.
        source: of what is random.
        fixes: value of ``RXF_FIXES``.

    Attributes:
        records: one a fault, in their order; "problems" tells what was not as it is to be.
    """

    def __init__(
        self, subject: Subject, folder: Path, source: random.Random, fixes: str = ""
    ) -> None:
        self.subject, self.folder, self.source, self.fixes = subject, folder, source, fixes
        self.save = folder / "save"
        self.records: list[Record] = []
        self._starts = 0
        # The records whose fault no start has yet gone on from.
        self._open: list[Record] = []
        self._cut: set[str] = set()

    def run(self, faults: list[str], twin: Path, start_up: float) -> list[Record]:
        """All faults, the rest of the training, and the comparison.

        Args:
            faults: names of ``plans.FAULTS``.
            twin: the checkpoints of the uninterrupted run.
            start_up: seconds from a start to its first update.
        """
        with disk(self.save):
            size = (twin / LAST).stat().st_size
            for number, name in enumerate(faults):
                at = max(0, self._whole())
                if at >= MAX_UPDATE:
                    break
                when = moment(self.source, at, MAX_UPDATE, len(faults) - number - 1)
                self._suffer(name, when, size, start_up)
            self.finish()
            damaged = BEST if BEST in self._cut else ""
            self.judge(differences(self.save, twin, damaged))
        return self.records

    # ------------------------------------------------------------------- a fault

    def _suffer(self, name: str, when: Moment, size: int, start_up: float) -> None:
        fault = FAULTS[name]
        whole = self._whole()
        start = self.begin(self._words(fault, when, size) if fault.does == "inside" else {})
        if fault.does == "signal":
            status = start.signal(fault.number, max(1, when.update), when.seconds)
        elif fault.does == "start":
            status = start.signal(fault.number, 0, when.share * start_up)
        else:
            status = start.wait()
        self._gone_on(start, whole)
        record = self._record(name, start, status)
        record["problems"] += _unexpected(fault, start, status, self.save)
        self._damage(fault, record)
        (self.save / BALLAST).unlink(missing_ok=True)
        self.records.append(record)
        self._open.append(record)

    def begin(self, inside: dict[str, Any]) -> Start:
        """The next start of the training, by the same command each time."""
        self._starts += 1
        logs = self.folder / f"start_{self._starts}"
        return Start(self.subject.flags(self.save), logs, inside, self.fixes)

    def _words(self, fault: Fault, when: Moment, size: int) -> dict[str, Any]:
        room = ROOM[self.save.is_mount()] if fault.inside["fault"] == "full" else 0.95
        return {
            **fault.inside,
            "update": when.update,
            "bytes": int(size * room * when.share),
            "signal": fault.number,
            "ballast": BALLAST,
        }

    def _record(self, name: str, start: Start, status: int) -> Record:
        inside = start.fault
        told = start.errors.strip().splitlines()
        return {
            "fault": name,
            "moment": inside[0] if inside else "as it came",
            "update": inside[1] if inside else start.updates,
            "status": status,
            "told": self._said(told[-1]) if told and status > 0 else None,
            "saved": start.saved_at or max(0, start.resumed_at or 0),
            "resumed_at": None,
            "problems": [],
        }

    def _said(self, line: str) -> str:
        """A line that names no folder of this machine."""
        return line.rsplit(" | ", 1)[-1].replace(f"{self.save}/", "")[:300]

    def _damage(self, fault: Fault, record: Record) -> None:
        path = self.save / fault.damages
        if not fault.damages or not path.is_file():
            return
        size = path.stat().st_size
        kept = self.source.randrange(size)
        with path.open("rb+") as file:
            file.truncate(kept)
        self._cut.add(fault.damages)
        record["moment"] = f"{fault.damages} cut to {kept} of {size} bytes"
        record["cut"] = fault.damages

    def after_out_of_memory(self, start: Start, status: int) -> None:
        """Record a batch that ran out of memory and the kill behind it, and end the training."""
        record = self._record("out of memory once, SIGKILL", start, status)
        if "attempting to recover from OOM" not in start.log or start.fault is None:
            record["problems"].append("no batch ran out of memory")
        elif start.saved_at <= start.fault[1] < start.updates - 4:
            record["problems"].append("nothing was saved behind it")
        self.records.append(record)
        self._open.append(record)
        self.finish()

    # --------------------------------------------------------------- what follows

    def _whole(self) -> int:
        """Updates of the checkpoint that the next start is to go on from; -1 for none.

        None, where the first save of all was cut short: there is no checkpoint_last.pt yet.
        """
        last = updates_of(self.save / LAST)
        if last >= 0 or not (self.save / LAST).exists():
            return last
        return max(map(updates_of, self.save.glob("checkpoint_*.pt")), default=-1)

    def _gone_on(self, start: Start, whole: int) -> None:
        """Settle the faults before this start, if it came far enough to load anything."""
        if start.resumed_at is None:
            return
        for record in self._open:
            record["resumed_at"] = start.resumed_at
            record["problems"] += _lost(record, start, whole)
            if record.get("cut") == LAST:
                said = [line for line in start.log.splitlines() if "going on from" in line]
                record["told"] = self._said(said[-1]) if said else None
        if LAST in self._cut and self._open:
            self._cut.remove(LAST)
        self._open = []

    def finish(self) -> None:
        """The rest of the training, without a fault."""
        whole = self._whole()
        start = self.begin({})
        status = start.wait()
        self._gone_on(start, whole)
        if status != 0:
            told = start.errors.strip().splitlines()[-1:]
            self.judge([f"the last start ended with {status}: {told}"])

    def judge(self, found: list[str]) -> None:
        """Note what differs from the twin: whichever fault it was, the chain is not equal."""
        for record in self.records:
            record["equal"] = record.get("equal", True) and not found
        if found and self.records:
            self.records[-1]["problems"] += found


def _unexpected(fault: Fault, start: Start, status: int, save: Path) -> list[str]:
    """What the process itself did not do as it is to."""
    if fault.number:
        if status in (-fault.number, 0):
            return []
        return [f"ended with {status}, not by the signal: {start.errors.strip()[-300:]}"]
    if status != 1:
        return [f"ended with {status}, and 1 is due"]
    lines = start.errors.strip().splitlines()
    if fault.inside["fault"] == "nan":
        due = "FloatingPointError: gradients are Nan/Inf"
        return [] if lines[-1:] == [due] else [f"the last line is not {due!r}: {lines[-1:]}"]
    found = [f"{path.name} is left over" for path in save.glob("*.tmp")]
    if "Traceback" in start.errors:
        found.append("a traceback")
    if not (lines and lines[-1].startswith("rxf: error: ") and "cannot be written" in lines[-1]):
        found.append(f"no line that names the file: {lines[-1:]}")
    return found


def _lost(record: Record, start: Start, whole: int) -> list[str]:
    """What the start after a fault did not do as it is to."""
    found = []
    if start.resumed_at != max(0, whole):
        found.append(f"resumed at {start.resumed_at}, where {whole} was whole")
    if record.get("cut") == LAST:
        told = "going on from" in start.log
        return found if told else [*found, "the damaged file was not told of"]
    if start.resumed_at is not None and start.resumed_at < record["saved"]:
        found.append(f"resumed at {start.resumed_at}, where {record['saved']} was saved")
    return found


# ------------------------------------------------------------------ out of memory


def out_of_memory(
    subject: Subject, folder: Path, source: random.Random, fixes: str = ""
) -> list[Record]:
    """A batch that runs out of memory, and a kill some saves later.

    The twin leaves out the same batch: it does not begin it or, of a method that draws noise in
    each update, throws away what it came to, whichever is equal: memory may run out before the
    draw or behind it, and a second draw in the same update is another one.
    """
    chain = Chain(subject, folder, source, fixes)
    chain.save.mkdir(parents=True)
    update = source.randint(0, MAX_UPDATE // 2)
    fault = {"fault": "oom", "update": update, "call": source.randint(1, 2)}
    start = chain.begin({**fault, "at": source.choice(["forward", "backward"])})
    # By then there was a save after it, also where it came an update later.
    status = start.signal(KILL, update + 6 + source.randint(0, 6), source.uniform(0.0, 0.06))
    chain.after_out_of_memory(start, status)
    if start.fault is None:
        return chain.records
    chain.judge(_without_the_batch(chain, subject, folder, start.fault[1]))
    return chain.records


def _without_the_batch(chain: Chain, subject: Subject, folder: Path, update: int) -> list[str]:
    found: list[str] = []
    for computed in (False, True) if subject.draws else (False,):
        twin = folder / f"twin_{computed}"
        left_out = {"fault": "skip", "update": update, "computed": computed}
        Start(subject.flags(twin), folder / f"{twin.name}_log", left_out).wait()
        found = differences(chain.save, twin)
        if not found:
            return []
    return found
