"""``python -m rxf.lab.quickstart``, which ``scripts/quickstart.sh`` calls."""

import argparse
import logging
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any, Optional

import torch

from rxf.errors import UserError, install_excepthook
from rxf.lab.model_flags import model_flags, suggested_lr
from rxf.lab.prepare.glue_tasks import GLUE_TASKS
from rxf.lab.quickstart import grammar, recipe, targets
from rxf.lab.quickstart.recipe import METHODS, Recipe
from rxf.lab.quickstart.targets import Target
from rxf.lab.report import FORMATS
from rxf.lab.report.command import listed, show
from rxf.lab.report.contents import Choices, build
from rxf.lab.report.files import write
from rxf.lab.report.records import Found, checked_runs
from rxf.lab.runs import Run, processors, run_all

__all__ = ["main"]

DEFAULT_TASK = "polarity"
STOPPED = 130
EXAMPLES = """examples:
  scripts/quickstart.sh                  the built-in data, about 4 minutes on 2 cores
  scripts/quickstart.sh agreement        another built-in task
  RXF_DATA=DIR RXF_CHECKPOINT=FILE scripts/quickstart.sh RTE
                                         DIR holds glue/RTE/*.tsv and gpt2_bpe/"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/quickstart.sh",
        description="Fine-tune plain, with R3F and with R4F over several seeds, and compare.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = ", ".join([*grammar.TASKS, *GLUE_TASKS])
    parser.add_argument("task", nargs="?", default=DEFAULT_TASK, metavar="TASK", help=known)
    parser.add_argument("--seeds", type=_positive, help="runs of every method (5)")
    parser.add_argument("--methods", default=",".join(METHODS), help="some of plain,r3f,r4f")
    parser.add_argument("--updates", type=_positive, help="updates of every run (300)")
    parser.add_argument("--batch-size", type=_positive, default=16, help="rows an update (16)")
    parser.add_argument("--lr", type=float, help="peak learning rate (by the model's size)")
    parser.add_argument("--jobs", type=_positive, help="runs at a time (a core each; 1 on a GPU)")
    parser.add_argument("--out", type=Path, help="folder of all results (runs/quickstart[-TASK])")
    parser.add_argument("--checkpoint", type=Path, help="for GLUE: a RoBERTa ($RXF_CHECKPOINT)")
    parser.add_argument("--retry-failed", action="store_true", help="run failed runs once more")
    parser.add_argument("--smoke", action="store_true", help="only whether it works: seconds")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def main(argv: Optional[list[str]] = None) -> int:
    """Run the quickstart; returns the exit status."""
    install_excepthook()
    logging.disable(logging.INFO)
    args = build_parser().parse_args(argv)
    _check(args)
    out = args.out or Path("runs") / _default_name(args)
    try:
        return _quickstart(args, out.resolve())
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return STOPPED


def _check(args: argparse.Namespace) -> None:
    unknown = sorted(set(_methods(args)) - set(METHODS))
    if unknown:
        raise UserError(f"--methods {unknown[0]}: unknown; choose among {', '.join(METHODS)}")
    if args.lr is not None and not args.lr > 0:
        raise UserError(f"--lr {args.lr}: must be more than 0")


def _methods(args: argparse.Namespace) -> list[str]:
    return [method.strip() for method in args.methods.split(",")]


def _default_name(args: argparse.Namespace) -> str:
    suffix = "" if targets.is_builtin(args.task) else f"-{args.task}"
    return f"quickstart{suffix}{'-smoke' if args.smoke else ''}"


def _quickstart(args: argparse.Namespace, out: Path) -> int:
    since = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    target = _target(args, out)
    folder = out / target.prepared.name
    runs = _runs(args, target, folder)
    jobs = args.jobs or (1 if _on_gpu(target) else processors())
    records = run_all(runs, min(jobs, len(runs)), f"{len(runs)} runs", args.retry_failed)
    _report(target, folder, records)
    print(f"\n{time.monotonic() - since:.0f} s in all. Next:\n{_next(args, target, folder)}")
    return 0


def _target(args: argparse.Namespace, out: Path) -> Target:
    if targets.is_builtin(args.task):
        return targets.builtin_target(args.task, out, args.smoke)
    source = os.environ.get("RXF_DATA")
    checkpoint = args.checkpoint or os.environ.get("RXF_CHECKPOINT")
    if args.task not in GLUE_TASKS:
        known = ", ".join([*grammar.TASKS, *GLUE_TASKS])
        raise UserError(f"TASK {args.task}: unknown; choose one of {known}")
    if not source:
        raise UserError(f"RXF_DATA is not set: name the folder of glue/{args.task}/ and gpt2_bpe/")
    if not checkpoint:
        raise UserError("RXF_CHECKPOINT is not set: name a RoBERTa's .pt file, or --checkpoint")
    return targets.glue_target(args.task, Path(source), Path(checkpoint), out)


def _on_gpu(target: Target) -> bool:
    """The tiny model stays on the CPU, so that every machine shows the same."""
    return torch.cuda.is_available() and not targets.is_builtin(target.prepared.name)


def _runs(args: argparse.Namespace, target: Target, folder: Path) -> list[Run]:
    """Seed by seed, so that an estimate holds, and what is interrupted can be compared."""
    shared = Recipe(
        updates=args.updates or (20 if args.smoke else 300),
        batch_size=args.batch_size,
        lr=args.lr or suggested_lr(target.model),
        on_gpu=_on_gpu(target),
    )
    seeds = range(1, 1 + (args.seeds or (1 if args.smoke else 5)))
    return [_run(target, folder, shared, method, s) for s in seeds for method in _methods(args)]


def _run(target: Target, folder: Path, shared: Recipe, method: str, seed: int) -> Run:
    save_dir = folder / method / f"seed-{seed}"
    command = recipe.fine_tune_command(
        target.prepared.folder,
        target.prepared.flags,
        model_flags(target.model),
        target.checkpoint.resolve(),
        method,
        shared,
        seed,
        save_dir,
    )
    settings = {
        "task": target.prepared.name,
        "task_folder": str(target.prepared.folder),
        "method": method,
        "seed": seed,
        "metric": target.prepared.metric,
        "maximize": True,
        "method_flags": METHODS[method],
        "baseline": target.prepared.baseline,
    }
    return Run(save_dir, command, shared.updates, threads=1, settings=settings)


def _report(target: Target, folder: Path, records: list[dict[str, Any]]) -> None:
    """What `rxf report` shows, of these runs alone: the folder may hold earlier ones."""
    task = target.prepared
    warnings: list[str] = []
    # A record of an older rxf has no baseline.
    runs = checked_runs([{"baseline": task.baseline, **record} for record in records], warnings)
    first = next(iter(runs), {"method": "plain"})["method"]
    control = "plain" if any(run["method"] == "plain" for run in runs) else first
    told = [
        f"{task.metric} in percent on {task.valid_rows} held-out rows.",
        "--seeds 20 runs more seeds; finished runs are kept.",
    ]
    built = build(f"Quickstart: {task.name}", Found(runs, {}, warnings), Choices(control), told)
    show(built)
    print("\nIn " + str(folder) + ": " + ", ".join(listed(write(built, folder, FORMATS), folder)))
    print("Each run in METHOD/seed-N: run.json, train.log, checkpoint_best.pt")


def _next(args: argparse.Namespace, target: Target, folder: Path) -> str:
    """What to try: a checkpoint of this run validated, and another task."""
    best = folder / _methods(args)[-1] / "seed-1" / "checkpoint_best.pt"
    other = "agreement" if target.prepared.name != "agreement" else "topic"
    validate = [
        *(str(Path(sys.executable).with_name("fairseq-validate")), str(target.prepared.folder)),
        *("--user-dir", str(recipe.USER_DIR), "--path", str(best)),
        *("--task", "sentence_prediction", "--criterion", "sentence_prediction_r3f"),
        *("--num-classes", str(target.prepared.num_classes)),
        *("--batch-size", "32"),
    ]
    return f"  scripts/quickstart.sh {other}\n  {shlex.join(validate)}"


if __name__ == "__main__":
    sys.exit(main())
