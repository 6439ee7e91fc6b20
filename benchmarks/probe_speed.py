"""`rxf probe generalization` against `fairseq-train --freeze-encoder`, over the built-in tasks.

Both are whole commands, start included, one thread each, in turns.  fairseq trains a linear
head on each task for as long as it takes to be within half a point of the probe (2,000
updates of 50 rows: tests/lab/probe/test_equal_to_training.py).  Beside the time by the clock
stands that of the processor, which other work on the machine changes little.

    python -m benchmarks.probe_speed [--rounds 1] [--json FILE]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import harness
from rxf.lab.fine_tuning import train_command
from rxf.lab.model_flags import TINY, model_flags
from rxf.lab.prepared import read_prepared
from rxf.lab.quickstart import data, grammar
from rxf.lab.quickstart.pretrain import SHIPPED

UPDATES = 2000
SIZES = data.Sizes(train=1500, valid=2000)


def taken(command: Sequence[object]) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    since, before = time.perf_counter(), os.times()
    done = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    after = os.times()
    processor = after.children_user + after.children_system
    return time.perf_counter() - since, processor - before.children_user - before.children_system


def probe(folders: Sequence[Path], out: Path) -> tuple[float, float]:
    start = [sys.executable, "-c", "import sys; from rxf.cli import main; sys.exit(main())"]
    words = ["probe", "generalization", "--pretrained", SHIPPED, "--out", out, "--cpu"]
    return taken([*start, *words, "--tasks", *folders])


def train(folder: Path, save_dir: Path) -> tuple[float, float]:
    return taken(
        [
            *[*train_command(), folder, "--finetune-from-model", SHIPPED],
            *read_prepared(folder).flags,
            *["--criterion", "sentence_prediction_r3f", "--r3f-lambda", 0, *model_flags(TINY)],
            *["--freeze-encoder", "--pooler-activation-fn", "linear", "--pooler-dropout", 0],
            *["--batch-size", 50, "--optimizer", "adam", "--adam-betas", "(0.9, 0.98)"],
            *["--lr", 3e-3, "--lr-scheduler", "polynomial_decay", "--warmup-updates", 50],
            *["--total-num-update", UPDATES, "--max-update", UPDATES, "--cpu"],
            *["--no-save", "--save-dir", save_dir, "--num-workers", 0],
            *["--validate-interval", UPDATES, "--log-format", "json", "--log-interval", 500],
        ]
    )


def main(argv: Any = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    figures: dict[str, Any] = {"tasks": list(grammar.TASKS), "updates": UPDATES, "rounds": []}
    with tempfile.TemporaryDirectory() as folder:
        data.write_family(Path(folder, "data"), SIZES)
        folders = [Path(folder, "data", task) for task in grammar.TASKS]
        for number in range(args.rounds):
            ours = probe(folders, Path(folder, f"out-{number}"))
            theirs = [train(task, Path(folder, "train")) for task in folders]
            total = [sum(one) for one in zip(*theirs, strict=True)]
            figures["rounds"].append({"probe": ours, "fairseq-train": total})
            for unit, own, other in zip(("clock", "processor"), ours, total, strict=True):
                print(f"{unit}: {own:.1f} s, {other:.1f} s: {other / own:.1f} times faster")
    for number, unit in enumerate(("clock", "processor")):
        ratios = [one["fairseq-train"][number] / one["probe"][number] for one in figures["rounds"]]
        figures[f"times_faster_{unit}"] = statistics.median(ratios)
    harness.save(args.json, f"python -m benchmarks.probe_speed --rounds {args.rounds}", figures)


if __name__ == "__main__":
    main()
