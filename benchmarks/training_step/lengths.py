"""How long the rows of a batch are: of real data, of published limits, or one length.

    python -m benchmarks.training_step.lengths "$RXF_DATA/glue" "$RXF_DATA/gpt2_bpe"

measures the table below: tokens of GPT-2 BPE in a row of the official training file as the
model gets it, ``<s> one </s>``, or of a pair ``<s> one </s> </s> two </s>``.
"""

import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Optional

__all__ = ["KNOWN", "Rows", "measured", "quantiles", "rows_of"]

# The shortest row, then every twentieth, then the longest: what the command above printed.
QUANTILES: dict[str, tuple[int, ...]] = {
    # 2,490 pairs, 71.2 tokens on average
    "rte": (
        *(18, 30, 34, 38, 41, 44, 46, 49, 51, 54, 57),
        *(60, 63, 67, 74, 86, 105, 121, 135, 157, 292),
    ),
    # 67,349 sentences, 13.4 tokens on average
    "sst2": (
        *(3, 4, 5, 5, 6, 6, 7, 8, 8, 9, 10),
        *(11, 13, 14, 16, 18, 20, 23, 27, 33, 66),
    ),
}
TASKS = {"rte": "RTE", "sst2": "SST-2"}
# Articles are longer than BART's 1,024 positions take and are cut there (--truncate-source);
# summaries are between the --min-len and --max-len-b that CNN/DM is decoded with, rounded
# (examples/summarization/cnn_dm.sh).  These are limits, not a measured distribution.
CNNDM_SOURCE, CNNDM_TARGETS = 1024, (60, 140)
KNOWN = ("rte", "sst2", "cnndm")


class Rows(NamedTuple):
    """Tokens of each row: of the source, and of the target where there is one."""

    sources: list[int]
    targets: Optional[list[int]]


def rows_of(name: str, count: int, pairs: bool) -> Rows:
    """The lengths of ``count`` rows, the same in every process.

    The rows are spread evenly over the distribution, so that a few stand for it as well as
    they can, and then shuffled.

    Args:
        name: one of :data:`KNOWN`, a number, or for pairs two as ``SOURCE:TARGET``.
        count: rows.
        pairs: there are targets.

    Raises:
        ValueError: the name is none of these, or does not suit ``pairs``.
    """
    if name in QUANTILES and not pairs:
        return Rows(_spread(QUANTILES[name], count), None)
    if name == "cnndm" and pairs:
        return Rows([CNNDM_SOURCE] * count, _spread(CNNDM_TARGETS, count))
    source, target = _numbers(name, pairs)
    return Rows([source] * count, [target] * count if pairs else None)


def _numbers(name: str, pairs: bool) -> tuple[int, int]:
    words = name.split(":")
    fits = len(words) == (2 if pairs else 1) and all(word.isdigit() for word in words)
    # A sentence is a word between <s> and </s>, a target a word and </s>.
    if not fits or min(int(word) for word in words) < 3:
        known = "cnndm, N or SOURCE:TARGET" if pairs else "rte, sst2 or N"
        raise ValueError(f"{name}: choose {known}, of 3 tokens or more")
    return int(words[0]), int(words[-1])


def _spread(points: Sequence[int], count: int) -> list[int]:
    """``count`` values at even steps of the distribution with these quantiles, shuffled."""
    last = len(points) - 1
    lengths = []
    for number in range(count):
        place = (number + 0.5) / count * last
        below = int(place)
        step = points[min(below + 1, last)] - points[below]
        lengths.append(round(points[below] + (place - below) * step))
    random.Random(1).shuffle(lengths)
    return lengths


def quantiles(lengths: Sequence[int], parts: int = 20) -> tuple[int, ...]:
    """The shortest, ``parts`` - 1 in between at even steps, and the longest."""
    ordered = sorted(lengths)
    return tuple(ordered[round(part / parts * (len(ordered) - 1))] for part in range(parts + 1))


def measured(task_name: str, glue: Path, bpe: Path) -> list[int]:
    """Tokens of each row of a GLUE task's training file.

    Args:
        task_name: as in :data:`TASKS`.
        glue: the folder of the tasks' folders.
        bpe: the folder of ``encoder.json``, ``vocab.bpe`` and ``dict.txt``.

    Raises:
        UserError: a file is missing or is not what it should be.
    """
    from rxf.lab.prepare.glue import task_folder
    from rxf.lab.prepare.glue_tasks import find_task
    from rxf.lab.prepare.tokens import gpt2_encoder
    from rxf.lab.prepare.tsv import read_table

    task = find_task(TASKS[task_name])
    encoder = gpt2_encoder(bpe / "encoder.json", bpe / "vocab.bpe", bpe / "dict.txt")
    path = task_folder(glue, task) / task.files["train"]
    table = read_table(path, task.sentences, task.headerless)
    special = 2 * len(task.sentences)
    return [sum(len(encoder.encode(v)) for v in row.values) + special for row in table.rows]


def main(argv: Optional[list[str]] = None) -> None:
    words = sys.argv[1:] if argv is None else argv
    if len(words) != 2:
        sys.exit("usage: python -m benchmarks.training_step.lengths GLUE_FOLDER BPE_FOLDER")
    for name in TASKS:
        lengths = measured(name, Path(words[0]), Path(words[1]))
        mean = sum(lengths) / len(lengths)
        print(f"{name}: {len(lengths)} rows, mean {mean:.1f}: {quantiles(lengths)}")


if __name__ == "__main__":
    main()
