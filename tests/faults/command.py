"""All trainings and all faults, one by one, into a file that a later call goes on with."""

import argparse
import platform
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import torch

from rxf.lab.files import read_json, write_json
from tests.faults.chains import Chain, Record, out_of_memory
from tests.faults.plans import faults_of
from tests.faults.starts import Start
from tests.faults.subjects import Subject, subjects
from tests.faults.table import write_table

__all__ = ["kills", "main", "run_subject"]

RESULTS = Path(__file__).parent / "results" / "kills.json"


def main(words: Optional[Sequence[str]] = None) -> int:
    """Returns 0 where every run came to the same end as its twin, else 1."""
    args = _parsed(words)
    found = read_json(args.out) or {"seed": args.seed, "records": {}}
    if found["seed"] != args.seed:
        print(f"{args.out}: holds the results of --seed {found['seed']}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="rxf_faults_") as folder:
        known = subjects(Path(folder, "data"))
        for name in args.only or known:
            if name not in found["records"]:
                begun = time.monotonic()
                records = run_subject(known[name], Path(folder, name), args.seed)
                found["records"][name] = records
                found["made_with"] = _made_with()
                write_json(args.out, found)
                print(_line(name, records, time.monotonic() - begun), flush=True)
    write_table(found, args.out.with_suffix(".md"))
    everything = [record for records in found["records"].values() for record in records]
    bad = sum(bool(record["problems"]) or not record["equal"] for record in everything)
    print(f"{kills(everything)} kills among {len(everything)} faults, {bad} not as they are to be")
    return min(bad, 1)


def run_subject(
    subject: Subject,
    folder: Path,
    seed: int,
    faults: Optional[list[str]] = None,
    memory: bool = True,
) -> list[Record]:
    """The twin, the chain of faults, and the chain of a batch that runs out of memory.

    Args:
        subject: what is trained.
        folder: for all of it.
        seed: the same one gives the same faults and moments, but for how far a process comes in
            the time until a signal.
        faults: names, for others than all of the kind's, in this order.
        memory: False leaves out the second chain.

    Raises:
        RuntimeError: the twin does not end well.
    """
    source = random.Random(f"{seed} {subject.name}")
    twin = folder / "twin"
    start = Start(subject.flags(twin), folder / "twin_log")
    while not start.updates and start.process.is_alive():
        time.sleep(0.002)
    start_up = time.monotonic() - start.begun
    if start.wait() != 0:
        raise RuntimeError(f"{subject.name} does not train: {start.errors[-1000:]}")
    chosen = faults if faults is not None else faults_of(subject.kind, source)
    records = Chain(subject, folder / "chain", source).run(chosen, twin, start_up)
    if memory:
        records += out_of_memory(subject, folder / "memory", source)
    return records


def kills(records: Sequence[Record]) -> int:
    """How many of the faults were signals that ended a process."""
    return sum(record["status"] < 0 for record in records)


def _parsed(words: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of faults and moments (1)")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FILE", help="JSON, and .md")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="trainings, as r3f-sentences")
    return parser.parse_args(words)


def _line(name: str, records: list[Record], seconds: float) -> str:
    faults = Counter(record["fault"] for record in records)
    bad = [problem for record in records for problem in record["problems"]]
    verdict = "equal" if all(record["equal"] for record in records) and not bad else f"NOT: {bad}"
    return f"{name}: {kills(records)} kills, {faults.total()} faults, {seconds:.0f} s: {verdict}"


def _made_with() -> dict[str, Any]:
    return {"python": platform.python_version(), "torch": torch.__version__, "device": "cpu"}
