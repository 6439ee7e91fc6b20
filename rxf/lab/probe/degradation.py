"""``rxf probe degradation``: what a chain of other fine-tunings leaves of the first task.

The paper's figure 4: fine-tune on a source task, then on others in turn, each from the best
checkpoint before it; after every step a linear layer for the source is trained on the frozen
encoder.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rxf.lab.probe.chains import Chains, Probed, Step, add_chain_arguments
from rxf.lab.probe.probing import locked
from rxf.lab.probe.results import mean_table, write_results
from rxf.lab.probe.task_data import read_tasks

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source", type=Path, required=True, metavar="DIR", help="the task that is probed"
    )
    parser.add_argument(
        "--chain",
        nargs="+",
        type=Path,
        required=True,
        metavar="DIR",
        help="the tasks that follow, in this order",
    )
    add_chain_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run and probe the chains; the exit status, 1 where a run failed.

    Raises:
        UserError: bad input, before any run.
    """
    (source,) = read_tasks([args.source], "--source")
    _, *others = read_tasks([args.source, *args.chain], "--chain")
    steps = [Step(task, source) for task in [source, *others]]
    chains = Chains("degradation", args, steps)
    with locked(chains.out):
        found = chains.run()
        rows = [_row(probed, steps) for probed in found]
        settings = {"source": source.name, "chain": [task.name for task in others]}
        written = write_results(chains.out, "degradation", {**settings, **chains.settings()}, rows)
    print(
        f"{source.name} ({source.metric}, chance {source.baseline:.1f}) after each step, mean (n)"
    )
    print(_table(found, steps, list(chains.methods)))
    print(f"\n{written}")
    return 1 if chains.failed else 0


def _row(probed: Probed, steps: Sequence[Step]) -> dict[str, Any]:
    trained_on, source = steps[probed.step]
    return {
        "method": probed.method,
        "seed": probed.seed,
        "step": probed.step,
        "trained_on": trained_on.name,
        "probed": source.name,
        "metric": source.metric,
        "value": probed.value,
        "baseline": round(source.baseline, 4),
    }


def _table(found: Sequence[Probed], steps: Sequence[Step], methods: Sequence[str]) -> str:
    names = [f"{number} {step.trained_on.name}" for number, step in enumerate(steps)]
    columns: dict[str, dict[str, list[float]]] = {method: {} for method in methods}
    for probed in found:
        columns[probed.method].setdefault(names[probed.step], []).append(probed.value)
    return mean_table("step", columns, names)
