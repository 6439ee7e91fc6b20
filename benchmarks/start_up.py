"""How much later `fairseq-train --user-dir rxf` starts than `fairseq-train`.

    python -m benchmarks.start_up [--rounds 9] [--imports] [--json FILE]

Whole commands in fresh processes, taking turns: stock criterion, a tiny RoBERTa, tiny data, one
update, on the CPU.  What a user waits for is told by two lines of the log: the first one, which
shows the settings, so that Python, torch, fairseq and the plugin are imported and the flags are
parsed; and the last one, so that what the plugin puts off until training is counted too.  The
first round is not counted: it fills the disk's cache.

``--imports`` says in addition which imports of rxf take longest, by ``python -X importtime``,
after all that ``fairseq-train`` imports by itself: each module's own time, that of a module of
another package being added to the module of rxf that first asks for it.  A module's own time
holds what it does at import, ``rxf`` itself applying the fixes.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

from benchmarks import fairseq_trainer, harness

ROOT = Path(__file__).resolve().parent.parent
MODULE = "benchmarks.start_up"
# What a line of the log holds -> what it marks.
MARKS = {
    "| fairseq_cli.train | {": "first line of the log",
    "| done training in": "end of training",
}
PEERS = {"fairseq-train": (), "fairseq-train --user-dir rxf": ("--user-dir", str(ROOT / "rxf"))}
TRAIN = "import sys; from fairseq_cli.train import cli_main; sys.exit(cli_main())"
IMPORT = "import fairseq_cli.train, fairseq.tasks, fairseq.models, fairseq.criterions; import rxf"
LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|( *)(\S+)$")
FLAGS = {
    "task": "sentence_prediction",
    "num_classes": 2,
    "init_token": 0,
    "arch": "roberta",
    "encoder_layers": 1,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 32,
    "encoder_attention_heads": 2,
    "max_positions": 32,
    "criterion": "sentence_prediction",
    "optimizer": "adam",
    "batch_size": 4,
    "max_update": 1,
    "num_workers": 0,
    "no_save": True,
    "disable_validation": True,
    "log_format": "simple",
    "cpu": True,
}


class Import(NamedTuple):
    """A module, how deep within other imports it was, and its own microseconds."""

    name: str
    depth: int
    microseconds: int


def started(words: Sequence[str]) -> dict[str, float]:
    """Seconds from the start of ``fairseq-train words`` to each mark.

    Raises:
        RuntimeError: it did not come so far.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    found: dict[str, float] = {}
    told = []
    since = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-u", "-c", TRAIN, *words],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            told.append(line)
            for mark, name in MARKS.items():
                if mark in line:
                    found.setdefault(name, time.perf_counter() - since)
    if len(found) < len(MARKS):
        raise RuntimeError(f"fairseq-train {' '.join(words)} failed:\n{''.join(told)[-3000:]}")
    return found


def measured(rounds: int) -> dict[str, dict[str, list[float]]]:
    """Mark -> peer -> seconds in each round."""
    seconds: dict[str, dict[str, list[float]]]
    seconds = {mark: {peer: [] for peer in PEERS} for mark in MARKS.values()}
    with tempfile.TemporaryDirectory() as name:
        data = Path(name, "data")
        fairseq_trainer.write_sentences(data, [8] * 4, 100)
        words = [str(data), *fairseq_trainer.switches({**FLAGS, "save_dir": Path(name, "none")})]
        # fairseq loads the validation data whether it is used or not.
        words += ["--valid-subset", "train"]
        for number in range(1 + rounds):
            for peer, more in PEERS.items():
                for mark, value in started([*words, *more]).items():
                    if number:
                        seconds[mark][peer].append(value)
    return seconds


def table(seconds: Mapping[str, Mapping[str, Sequence[float]]]) -> tuple[str, dict[str, Any]]:
    """A Markdown table, and its figures: what the plugin adds within each round."""
    lines = ["| until | without | with | later by (least to most) |", "|---|---|---|---|"]
    figures: dict[str, Any] = {}
    for mark, peers in seconds.items():
        without, with_plugin = peers.values()
        differences = [b - a for a, b in zip(without, with_plugin, strict=True)]
        later = {
            "median": statistics.median(differences),
            "least": min(differences),
            "most": max(differences),
        }
        spread = f"({later['least']:.2f} to {later['most']:.2f})"
        cells = [
            mark,
            f"{statistics.median(without):.2f} s",
            f"{statistics.median(with_plugin):.2f} s",
        ]
        lines.append("| " + " | ".join([*cells, f"{later['median']:.2f} s {spread}"]) + " |")
        figures[mark] = {"rounds": {peer: list(own) for peer, own in peers.items()}, **later}
    return "\n".join(lines), figures


def read_imports(lines: Iterable[str]) -> list[Import]:
    """What ``-X importtime`` printed, each module behind those that it imported."""
    found = [LINE.search(line.rstrip()) for line in lines]
    return [Import(m[3], len(m[2]) // 2, int(m[1])) for m in found if m]


def of_rxf(imports: Sequence[Import]) -> dict[str, float]:
    """Seconds of each module of rxf, with those of other packages that it was first to import."""
    seconds: dict[str, float] = {}
    # Read from behind, each module comes before those that it imported.
    above: list[Import] = []
    for module in reversed(imports):
        while above and above[-1].depth >= module.depth:
            above.pop()
        above.append(module)
        ours = [one.name for one in above if one.name.split(".")[0] == "rxf"]
        if ours:
            seconds[ours[-1]] = seconds.get(ours[-1], 0.0) + module.microseconds / 1e6
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def slowest(count: int = 12) -> dict[str, float]:
    """The modules of rxf that take longest, and their sum as ``all``."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-W", "ignore", "-c", IMPORT],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = of_rxf(read_imports(done.stderr.splitlines()))
    return {"all": sum(seconds.values()), **dict(list(seconds.items())[:count])}


def main(argv: Optional[list[str]] = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--imports", action="store_true", help="name the slowest imports of rxf")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    if args.rounds < 1:
        parser.error(f"--rounds {args.rounds}: 1 or more")
    text, figures = table(measured(args.rounds))
    print(text)
    if args.imports:
        figures["imports"] = slowest()
        print("\n| import | seconds |\n|---|---|")
        for name, seconds in figures["imports"].items():
            print(f"| {name} | {seconds:.3f} |")
    imports = " --imports" if args.imports else ""
    harness.save(args.json, f"python -m {MODULE} --rounds {args.rounds}{imports}", figures)


if __name__ == "__main__":
    main()
