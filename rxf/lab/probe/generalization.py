"""``rxf probe generalization``: what other tasks still find in a fine-tuned encoder.

The paper's figure 3: fine-tune on one task, freeze, train a linear layer on each of others.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rxf.lab.checkpoints import Checkpoint, add_checkpoint_arguments, checkpoints_of
from rxf.lab.prepared import Prepared
from rxf.lab.probe.probing import Prober, add_probe_arguments, locked
from rxf.lab.probe.results import text_table, write_results
from rxf.lab.probe.task_data import read_tasks

__all__ = ["add_arguments", "run"]

Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint_arguments(parser)
    parser.add_argument(
        "--tasks",
        nargs="+",
        type=Path,
        required=True,
        metavar="DIR",
        help="tasks to probe, prepared by `rxf prepare`",
    )
    add_probe_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Probe every checkpoint on every task; the exit status.

    Raises:
        UserError: bad input, before any work.
    """
    checkpoints = checkpoints_of(args)
    tasks = read_tasks(args.tasks, "--tasks")
    prober = Prober(args.out, args, keep_features=True)
    for checkpoint in checkpoints:
        flag = "--pretrained" if checkpoint.path == args.pretrained else "--checkpoint"
        prober.check(checkpoint.path, tasks[0], flag)
    with locked(args.out):
        rows = _rows(prober, checkpoints, tasks)
        written = write_results(args.out, "generalization", _settings(checkpoints, tasks), rows)
    print(_table(rows, tasks))
    print(
        f"\nIn percent, on the valid split; chance is always giving its commonest label.\n{written}"
    )
    return 0


def _rows(
    prober: Prober, checkpoints: Sequence[Checkpoint], tasks: Sequence[Prepared]
) -> list[Row]:
    rows = []
    with tqdm(total=len(checkpoints) * len(tasks), desc="probing", unit="probe") as bar:
        for checkpoint in checkpoints:
            cells = prober.score(checkpoint.path, tasks)
            for task, cell in zip(tasks, cells, strict=True):
                rows.append(_row(checkpoint, task, cell))
                bar.update()
    return rows


def _row(checkpoint: Checkpoint, task: Prepared, cell: Row) -> Row:
    return {
        "checkpoint": checkpoint.name,
        "method": checkpoint.method,
        "seed": checkpoint.seed,
        "source": checkpoint.source,
        "task": task.name,
        "metric": task.metric,
        "value": cell["value"],
        "baseline": round(task.baseline, 4),
        "seconds": cell["seconds"],
    }


def _settings(checkpoints: Sequence[Checkpoint], tasks: Sequence[Prepared]) -> Row:
    return {
        "checkpoints": {c.name: str(c.path.resolve()) for c in checkpoints},
        "tasks": {task.name: str(task.folder) for task in tasks},
    }


def _table(rows: Sequence[Row], tasks: Sequence[Prepared]) -> str:
    values = {(row["checkpoint"], row["task"]): f"{row['value']:.1f}" for row in rows}
    names = list(dict.fromkeys(row["checkpoint"] for row in rows))
    lines = [[name, *[values[name, task.name] for task in tasks]] for name in names]
    chance = ["chance", *[f"{task.baseline:.1f}" for task in tasks]]
    return text_table(["checkpoint", *[task.name for task in tasks]], [*lines, chance])
