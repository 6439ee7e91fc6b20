"""A prepared task: the folder that `rxf prepare glue` makes, and what its `prepare.json` says."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from fairseq.data import Dictionary, data_utils

from rxf.errors import UserError

__all__ = ["FACTS", "Prepared", "baseline", "read_prepared"]

FACTS = "prepare.json"


class Prepared(NamedTuple):
    """A sentence task in fairseq's binary form.

    Attributes:
        name: of the task.
        folder: for ``fairseq-train``.
        flags: of ``fairseq-train``, from ``--task`` to the metric of the best checkpoint.
        num_classes: 1 in regression.
        metric: of the best checkpoint, to be maximised.
        baseline: what :func:`baseline` says of it.
        train_rows: of the train split.
        valid_rows: of the valid split.
    """

    name: str
    folder: Path
    flags: list[str]
    num_classes: int
    metric: str
    baseline: float
    train_rows: int
    valid_rows: int


def read_prepared(folder: Path) -> Prepared:
    """What is in a prepared folder.

    Raises:
        UserError: it is none, or it is not of a sentence task with a train and a valid split.
    """
    facts = _facts(folder)
    try:
        flags, metric = [*map(_word, facts["fairseq_train_flags"])], str(facts["best_metric"])
        classes = int(facts["num_classes"])
        train, valid = (int(facts["splits"][name]["rows"]) for name in ("train", "valid"))
    # Infinity is a number of JSON as Python reads it.
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        missing = isinstance(error, KeyError)
        wrong = f"says nothing of {error}" if missing else f"cannot be used ({error})"
        raise UserError(
            f"{folder / FACTS}: {wrong}: name a sentence task with a train and a "
            "valid split, made by `rxf prepare glue`"
        ) from None
    least = baseline(folder, metric)
    name = str(facts["task"])
    return Prepared(name, folder, flags, classes, metric, least, train, valid)


def _word(flag: object) -> str:
    if not isinstance(flag, str):
        raise TypeError(f"flags: {flag!r} is none")
    return flag


def _facts(folder: Path) -> Any:
    try:
        return json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(
            f"{folder}: is no prepared task ({FACTS} is missing or cannot be read): make it by "
            "`rxf prepare glue`"
        ) from None


def baseline(folder: Path, metric: str) -> float:
    """The metric, in percent, of always giving the valid set's commonest label.

    A correlation has no variance to work with then and counts as 0.
    """
    if metric not in ("accuracy", "acc_and_f1"):
        return 0.0
    labels = _valid_labels(folder / "label")
    commonest = max(sorted(set(labels)), key=labels.count)
    accuracy = labels.count(commonest) / len(labels)
    if metric == "accuracy":
        return 100 * accuracy
    # F1 is that of label "1": no answer is right where the commonest is another.
    f1 = 2 * accuracy / (1 + accuracy) if commonest == "1" else 0.0
    return 100 * (accuracy + f1) / 2


def _valid_labels(folder: Path) -> list[str]:
    try:
        dictionary = Dictionary.load(str(folder / "dict.txt"))
        rows = data_utils.load_indexed_dataset(str(folder / "valid"), dictionary)
        labels = [dictionary[int(row[0])] for row in rows]
    # What fairseq raises depends on where a file stops being one.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{folder}: the labels of valid cannot be read ({reason}): prepare the task again"
        ) from None
    if not labels:
        raise UserError(f"{folder}: the split valid has no row: prepare the task again")
    return labels
