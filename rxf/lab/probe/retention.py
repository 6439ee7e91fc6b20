"""``rxf probe retention``: what cycles of fine-tunings leave for the task that is next.

The paper's figure 5, with tasks A, B, C: train on A, probe B; train that model on B, probe
C; train on C, probe A; and so on for several cycles.  So every task is probed once in every
cycle, just before its turn to be trained on; the first one at the end of the cycle.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rxf.errors import UserError, check_number
from rxf.lab.probe.chains import Chains, Probed, Step, add_chain_arguments
from rxf.lab.probe.probing import locked
from rxf.lab.probe.results import mean_table, write_results
from rxf.lab.probe.task_data import read_tasks

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tasks",
        nargs="+",
        type=Path,
        required=True,
        metavar="DIR",
        help="the tasks of a cycle, two or more, in this order",
    )
    parser.add_argument("--cycles", type=int, default=3, help="how many (%(default)s)")
    add_chain_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run and probe the cycles; the exit status, 1 where a run failed.

    Raises:
        UserError: bad input, before any run.
    """
    check_number("--cycles", args.cycles, args.cycles > 0, "above 0")
    tasks = read_tasks(args.tasks, "--tasks")
    if len({task.name for task in tasks}) < max(2, len(tasks)):
        raise UserError("--tasks: name two or more different tasks, each once")
    cycle = [Step(*pair) for pair in zip(tasks, [*tasks[1:], tasks[0]], strict=True)]
    chains = Chains("retention", args, cycle * args.cycles)
    with locked(chains.out):
        found = chains.run()
        rows = [_row(probed, cycle) for probed in found]
        settings = {"tasks": [task.name for task in tasks], "cycles": args.cycles}
        written = write_results(chains.out, "retention", {**settings, **chains.settings()}, rows)
    print("each task just before its turn, mean (n)")
    print(_table(rows, cycle, args.cycles, list(chains.methods)))
    print(f"\n{written}")
    return 1 if chains.failed else 0


def _row(probed: Probed, cycle: Sequence[Step]) -> dict[str, Any]:
    number, step = divmod(probed.step, len(cycle))
    trained_on, task = cycle[step]
    return {
        "method": probed.method,
        "seed": probed.seed,
        "cycle": number + 1,
        "step": step + 1,
        "trained_on": trained_on.name,
        "probed": task.name,
        "metric": task.metric,
        "value": probed.value,
        "baseline": round(task.baseline, 4),
    }


def _table(
    rows: Sequence[dict[str, Any]], cycle: Sequence[Step], cycles: int, methods: Sequence[str]
) -> str:
    columns: dict[str, dict[str, list[float]]] = {method: {} for method in methods}
    for row in rows:
        name = f"{row['probed']}, cycle {row['cycle']}"
        columns[row["method"]].setdefault(name, []).append(row["value"])
    numbers = range(1, cycles + 1)
    return mean_table(
        "task", columns, [f"{step.probed.name}, cycle {n}" for step in cycle for n in numbers]
    )
