"""What the outputs say in the task's own words: label names, or scores on the task's scale."""

from collections.abc import Sequence
from typing import Optional

import numpy as np

from rxf.lab.prepare.glue_tasks import GLUE_TASKS
from rxf.lab.probe.task_data import TaskData

__all__ = ["answers", "submission_lines", "submission_name", "table_lines"]

# GLUE's server wants MNLI's two test sets under names of their own.
MNLI_FILES = {"test": "MNLI-m", "test1": "MNLI-mm"}


def answers(data: TaskData, logits: np.ndarray) -> list[str]:
    """A label name, or a number, for each row.

    Args:
        data: the task.
        logits: float32, shape (N, C); (N, 1) in a regression.
    """
    if data.criterion.regression_target:
        low, high = _scale(data.prepared.name)
        return [f"{low + (high - low) * value:.6g}" for value in logits[:, 0].tolist()]
    dictionary = data.task.label_dictionary
    # Classes are numbered by frequency: the number is not the label.
    return [dictionary[dictionary.nspecial + index] for index in logits.argmax(axis=1).tolist()]


def table_lines(found: Sequence[str]) -> list[str]:
    """``index<TAB>prediction`` for each row, from 0."""
    return [f"{index}\t{answer}\n" for index, answer in enumerate(found)]


def submission_name(task: str, split: str) -> Optional[str]:
    """The file name, without its end, that GLUE's server wants for a test split, or None."""
    if task not in GLUE_TASKS or not split.startswith("test"):
        return None
    return MNLI_FILES.get(split) if task == "MNLI" else task


def submission_lines(task: str, found: Sequence[str]) -> list[str]:
    """A submission file: with a header, and scores within the task's range."""
    if GLUE_TASKS[task].regression:
        low, high = _scale(task)
        found = [f"{min(max(float(answer), low), high):.6g}" for answer in found]
    return ["index\tprediction\n", *table_lines(found)]


def _scale(task: str) -> tuple[float, float]:
    """Least and largest score; `rxf prepare` has brought them to 0 and 1."""
    return GLUE_TASKS[task].score_range if task in GLUE_TASKS else (0.0, 1.0)
