"""What the command has found, as a page of Markdown."""

from collections import Counter
from pathlib import Path
from typing import Any

__all__ = ["write_table"]

HEAD = """# Kills

`python -m tests.faults` trains every method of the registry on tiny data (40 updates, a save every
third one and at the end of each epoch, dropout and noise on) from fault to fault, each time started
again by the same command, and compares all checkpoints at the end, bit by bit, with those of a run
that nothing happened to: the parameters that the forward pass uses, the state of criterion,
optimizer and scheduler, the best score, the place in the data. What is to happen with each fault
stands in `tests/faults/chains.py`, what happened in `kills.json` beside this page: the update, the
moment, the exit status, what was said, where the next start went on. The processes are forked from
one that has imported fairseq, which makes a start quick. The training that ran out of
memory is compared with one that left out the same batch.
"""


def write_table(found: dict[str, Any], path: Path) -> None:
    """A row a training, and a row a fault."""
    records = found["records"]
    everything = [record for of_one in records.values() for record in of_one]
    killed = sum(record["status"] < 0 for record in everything)
    equal = sum(record["equal"] and not record["problems"] for record in everything)
    facts = ", ".join(f"{name} {value}" for name, value in found.get("made_with", {}).items())
    lines = [
        HEAD,
        f"{killed} kills among {len(everything)} faults; {equal} of them as they are to be and in "
        f"a run equal to its twin. Seed {found['seed']}; {facts}.",
        "",
        *_by_training(records),
        "",
        *_by_fault(everything),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _by_training(records: dict[str, Any]) -> list[str]:
    rows = [
        "| training | kills | other faults | resumed at update | equal |",
        "|---|---|---|---|---|",
    ]
    for name, of_one in records.items():
        killed = sum(record["status"] < 0 for record in of_one)
        resumed = ", ".join(str(record["resumed_at"]) for record in of_one)
        equal = "yes" if all(r["equal"] and not r["problems"] for r in of_one) else "NO"
        rows.append(f"| {name} | {killed} | {len(of_one) - killed} | {resumed} | {equal} |")
    return rows


def _by_fault(records: list[Any]) -> list[str]:
    total = Counter(record["fault"] for record in records)
    good = Counter(r["fault"] for r in records if r["equal"] and not r["problems"])
    rows = ["| fault | times | equal |", "|---|---|---|"]
    return rows + [f"| {name} | {count} | {good[name]} |" for name, count in total.items()]
