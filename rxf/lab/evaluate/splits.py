"""Which rows: the splits of a prepared folder, their files, and how long their rows are."""

import fnmatch
from pathlib import Path
from typing import Optional

import numpy as np
from fairseq.data import data_utils

from rxf.errors import UserError
from rxf.lab.files import read_json
from rxf.lab.prepared import FACTS

__all__ = ["find_splits", "is_labelled", "row_lengths", "split_files"]

ENDS = ("bin", "idx")


def find_splits(folder: Path, wanted: Optional[str]) -> list[str]:
    """Names of splits, in the order of ``prepare.json``.

    Args:
        folder: made by `rxf prepare`.
        wanted: names or patterns with commas between; None means all but the training rows.

    Raises:
        UserError: a name or pattern that fits no split.
    """
    known = list(read_json(folder / FACTS)["splits"])
    if wanted is None:
        return [name for name in known if name != "train"]
    found: set[str] = set()
    for word in wanted.split(","):
        fitting = fnmatch.filter(known, word.strip())
        if not fitting:
            raise UserError(f"--splits {word}: DATA {folder} has no such split: {', '.join(known)}")
        found.update(fitting)
    return [name for name in known if name in found]


def is_labelled(folder: Path, split: str) -> bool:
    """Whether the split has labels, or scores in a regression."""
    return any((folder / "label" / f"{split}.{end}").is_file() for end in ("idx", "label"))


def split_files(folder: Path, split: str) -> dict[str, Path]:
    """Every file that the split's rows are read from, by its name in the folder.

    Raises:
        UserError: one is missing.
    """
    names = [f"{side}/{split}.{end}" for side in _sides(folder) for end in ENDS]
    if is_labelled(folder, split):
        classes = (folder / "label" / f"{split}.idx").is_file()
        names += [f"label/{split}.{end}" for end in (ENDS if classes else ("label",))]
    for name in names:
        if not (folder / name).is_file():
            raise UserError(f"DATA {folder}: {name} is missing: prepare the task again")
    return {name: folder / name for name in names}


def row_lengths(folder: Path, split: str) -> np.ndarray:
    """Tokens of each row as the model gets it when nothing is cut; int64, shape (N,).

    ``<s>`` before the first sentence and a separator before the second are counted.
    """
    columns = [data_utils.load_indexed_dataset(str(folder / s / split)) for s in _sides(folder)]
    return np.sum([np.asarray(column.sizes, np.int64) + 1 for column in columns], axis=0)


def _sides(folder: Path) -> list[str]:
    return [side for side in ("input0", "input1") if (folder / side).is_dir()]
