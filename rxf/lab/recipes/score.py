"""``python -m rxf.lab.recipes.score EVALUATED OUT``: GLUE's metric in one line, and as JSON.

The last stage of a GLUE recipe: it puts beside the scores what they are of, above all
whether training started from a model that had been fine-tuned on MNLI.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from rxf.errors import UserError, install_excepthook
from rxf.lab.prepare.glue_tasks import GlueTask, find_task

__all__ = ["line", "main", "metrics_of"]

# The parts of a metric that GLUE reports as a mean of two.
PARTS = {
    "acc_and_f1": ("accuracy", "f1"),
    "pearson_and_spearman": ("pearson", "spearman"),
}
MNLI_SPLITS = {"valid": "matched", "valid1": "mismatched"}

Scores = Mapping[str, Mapping[str, Any]]


def metrics_of(task: GlueTask) -> tuple[str, ...]:
    """The names under which ``rxf evaluate`` has what GLUE reports for a task."""
    return PARTS.get(task.best_metric, (task.best_metric,))


def line(facts: Mapping[str, Any], task: GlueTask) -> str:
    """The score line of a run.

    Args:
        facts: what :func:`main` writes.
        task: the run's.

    Raises:
        UserError: a labelled split lacks the task's metric.
    """
    parts = [_of_split(name, scores, task) for name, scores in facts["splits"].items()]
    start = ", from an MNLI model" if facts["started_from_mnli"] else ""
    told = f"{facts['model']}, settings of {facts['settings_of']}"
    return f"{task.name} {facts['method']}{start}: {'; '.join(parts)} ({told})"


def _of_split(name: str, scores: Mapping[str, Any], task: GlueTask) -> str:
    missing = [metric for metric in metrics_of(task) if metric not in scores]
    if missing:
        raise UserError(f"EVALUATED: split {name} has no {missing[0]}: run `rxf evaluate` again")
    values = ", ".join(f"{metric} {scores[metric]:.2f}" for metric in metrics_of(task))
    shown = MNLI_SPLITS.get(name, name) if task.name == "MNLI" else name
    return f"{shown} {values} of {scores['rows']} rows"


def main(argv: Optional[list[str]] = None) -> int:
    """Print the line and write OUT; returns the exit status.

    Raises:
        UserError: EVALUATED is not what ``rxf evaluate`` writes for the task.
    """
    args = _parser().parse_args(argv)
    task = find_task(args.task)
    facts = {
        "task": task.name,
        "method": args.method,
        "started_from_mnli": args.from_mnli,
        "start": args.start,
        "model": args.model,
        "settings_of": args.settings_of,
        "splits": _labelled(args.evaluated),
    }
    print(line(facts, task))
    partial = args.out.with_name(f".{args.out.name}.partial")
    partial.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    partial.replace(args.out)
    submission = args.evaluated.parent / "submission"
    if submission.is_dir():
        print(f"predictions of the test set, in GLUE's format: {submission}")
    return 0


def _labelled(path: Path) -> Scores:
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))["splits"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"EVALUATED {path}: cannot be read: run `rxf evaluate` again") from None
    labelled = {name: scores for name, scores in splits.items() if not name.startswith("test")}
    if not labelled:
        raise UserError(f"EVALUATED {path}: has no split with labels")
    return labelled


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rxf.lab.recipes.score")
    parser.add_argument("evaluated", metavar="EVALUATED", type=Path, help="of rxf evaluate")
    parser.add_argument("out", metavar="OUT", type=Path, help="JSON file to write")
    parser.add_argument("--task", required=True, help="of GLUE")
    parser.add_argument("--method", required=True)
    parser.add_argument("--settings-of", required=True, help="the model that they were found for")
    parser.add_argument("--model", required=True, help="the model that was trained")
    parser.add_argument("--start", required=True, help="the file that training started from")
    parser.add_argument("--from-mnli", action="store_true", help="it is fine-tuned on MNLI")
    return parser


if __name__ == "__main__":
    install_excepthook()
    sys.exit(main())
