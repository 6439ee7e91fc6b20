"""`rxf probe generalization` against `fairseq-train --freeze-encoder`, over the built-in tasks.

Both are whole commands, start included, one thread each.  Both probe the pre-trained tiny
model; fairseq trains a linear head on each task for ``--updates`` updates of 50 rows.  How
many it needs to come near the optimum, which the probe finds, depends on the features: both
scores are shown.  Beside the time by the clock stands that of the processor, which other work
on the machine changes little.

    python -m benchmarks.probe_speed [--updates 5000] [--tasks TASK ...] [--json FILE]
"""

import argparse
import json
import os
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
from rxf.lab.runs import read_log

SIZES = data.Sizes(train=1500, valid=2000)


def taken(command: Sequence[object], log: Path) -> tuple[float, float]:
    """Seconds by the clock and of the processor; what the command prints goes to ``log``."""
    since, before = time.perf_counter(), os.times()
    with log.open("w") as file:
        done = subprocess.run(
            [str(word) for word in command],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    if done.returncode:
        raise RuntimeError(log.read_text()[-3000:])
    after = os.times()
    processor = after.children_user + after.children_system
    return time.perf_counter() - since, processor - before.children_user - before.children_system


def probe(folders: Sequence[Path], out: Path) -> tuple[float, float]:
    start = [sys.executable, "-c", "import sys; from rxf.cli import main; sys.exit(main())"]
    words = ["probe", "generalization", "--pretrained", SHIPPED, "--out", out, "--cpu"]
    return taken([*start, *words, "--tasks", *folders], out.with_suffix(".log"))


def train(folder: Path, log: Path, updates: int) -> tuple[float, float]:
    return taken(
        [
            *[*train_command(), folder, "--finetune-from-model", SHIPPED],
            *read_prepared(folder).flags,
            *["--criterion", "sentence_prediction_r3f", "--r3f-lambda", 0, *model_flags(TINY)],
            *["--freeze-encoder", "--pooler-activation-fn", "linear", "--pooler-dropout", 0],
            *["--batch-size", 50, "--optimizer", "adam", "--adam-betas", "(0.9, 0.98)"],
            *["--lr", 1e-2, "--lr-scheduler", "polynomial_decay", "--warmup-updates", 50],
            *["--total-num-update", updates, "--max-update", updates, "--cpu", "--no-save"],
            *["--save-dir", log.with_suffix(""), "--num-workers", 0],
            *["--validate-interval", updates, "--log-format", "json", "--log-interval", 500],
        ],
        log,
    )


def main(argv: Any = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=5000)
    parser.add_argument("--tasks", nargs="+", choices=list(grammar.TASKS), default=grammar.TASKS)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        data.write_family(Path(folder, "data"), SIZES)
        folders = [Path(folder, "data", task) for task in args.tasks]
        ours = probe(folders, Path(folder, "out"))
        rows = json.loads(Path(folder, "out", "probe.json").read_text())["rows"]
        scores = {row["task"]: [row["value"]] for row in rows}
        theirs = []
        for task in folders:
            log = Path(folder, f"{task.name}.log")
            theirs.append(train(task, log, args.updates))
            values = read_log(log, "accuracy").values
            scores[task.name].append(values[max(values)])
            print(f"{task.name}: probe {scores[task.name][0]}, fairseq {scores[task.name][1]}")
    figures: dict[str, Any] = {"updates": args.updates, "scores": scores}
    for unit, own, *each in zip(("clock", "processor"), ours, *theirs, strict=True):
        figures[unit] = {"probe": own, "fairseq": sum(each), "ratio": sum(each) / own}
        print(f"{unit}: {own:.1f} s, {sum(each):.1f} s: {sum(each) / own:.1f} times faster")
    words = ["python -m benchmarks.probe_speed", "--updates", str(args.updates)]
    harness.save(args.json, " ".join([*words, "--tasks", *args.tasks]), figures)


if __name__ == "__main__":
    main()
