"""A prepared task as the probe sees it: rows in their own order, targets, and its metric."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from fairseq import options, tasks
from fairseq.logging import metrics
from torch import Tensor, nn

from rxf.errors import UserError
from rxf.lab.generate.flags import nested
from rxf.lab.prepared import FACTS, Prepared, read_prepared
from rxf.lab.probe.encoder import Encoder, file_fingerprint

__all__ = ["SPLITS", "TaskData", "check_vocabulary", "open_task", "read_tasks", "task_fingerprint"]

SPLITS = ("train", "valid")


class TaskData(NamedTuple):
    """fairseq's task and criterion, set up as ``fairseq-train`` would."""

    prepared: Prepared
    task: Any
    criterion: Any

    def score(self, outputs: np.ndarray, targets: np.ndarray) -> float:
        """The task's metric in percent, by the code that training logs it with.

        Args:
            outputs: of the probe, shape (N, C); (N, 1) in regression.
            targets: classes or numbers, shape (N,).
        """
        return self.logged(outputs, targets)[self.prepared.metric]

    def logged(self, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """All that training logs of such outputs in validation; arguments as :meth:`score`'s."""
        answers = _Answers(self.criterion.classification_head_name, torch.as_tensor(outputs))
        sample = {"net_input": {}, "target": torch.as_tensor(targets), "ntokens": len(targets)}
        self.criterion.eval()
        with metrics.aggregate(new_root=True) as aggregated, torch.no_grad():
            _, _, logged = self.criterion(answers, sample)
            self.criterion.reduce_metrics([logged])
            return {k: float(v) for k, v in aggregated.get_smoothed_values().items()}


class _Answers(nn.Module):
    """Stands for a model whose logits are known."""

    def __init__(self, head: str, logits: Tensor) -> None:
        super().__init__()
        self.classification_heads = {head: None}
        self.logits = logits

    def forward(self, **unused: Any) -> tuple[Tensor, None]:
        return self.logits, None

    def get_targets(self, sample: dict[str, Any], output: Any) -> Tensor:
        return sample["target"]


def read_tasks(folders: list[Path], flag: str) -> list[Prepared]:
    """The prepared tasks in these folders.

    Raises:
        UserError: one is no prepared task or lacks a file, two have one name, or their
            dictionaries differ.
    """
    found = [_read_task(folder.resolve(), flag) for folder in folders]
    by_name = {task.name: task.folder for task in found}
    for task in found:
        if by_name[task.name] != task.folder:
            raise UserError(
                f"{flag} {task.folder}: {by_name[task.name]} is called {task.name} too: name one "
                "of them"
            )
        _check_same_dictionary(found[0], task, flag)
    return found


def _read_task(folder: Path, flag: str) -> Prepared:
    try:
        prepared = read_prepared(folder)
        missing = [path for path in _files(folder) if not path.is_file()]
    except UserError as error:
        raise UserError(f"{flag} {error}") from None
    except OSError as error:
        raise UserError(f"{flag} {folder}: {error.filename} cannot be read") from None
    if missing:
        raise UserError(f"{flag} {folder}: {missing[0]} is missing: prepare the task again")
    return prepared


def _files(folder: Path) -> list[Path]:
    """Every file that the task is read from, sorted."""
    sides = ["input0", "input1"] if (folder / "input1").is_dir() else ["input0"]
    names = [f"{side}/{split}.{end}" for side in sides for split in SPLITS for end in _ENDS]
    if (folder / "label" / "dict.txt").is_file():
        names += ["label/dict.txt"]
        names += [f"label/{split}.{end}" for split in SPLITS for end in _ENDS]
    else:
        names += [f"label/{split}.label" for split in SPLITS]
    return [folder / name for name in sorted([*names, "input0/dict.txt", FACTS])]


_ENDS = ("bin", "idx")


def task_fingerprint(prepared: Prepared) -> str:
    """Changes with any byte of the task's rows, dictionaries and facts."""
    return file_fingerprint(_files(prepared.folder))


def _check_same_dictionary(first: Prepared, other: Prepared, flag: str) -> None:
    one, two = (task.folder / "input0" / "dict.txt" for task in (first, other))
    if one != two and one.read_bytes() != two.read_bytes():
        raise UserError(
            f"{flag} {other.folder}: its dictionary is not that of {first.folder}: prepare both "
            "with the BPE and the dictionary of the model"
        )


def check_vocabulary(encoder: Encoder, data: TaskData, flag: str) -> None:
    """Refuse a checkpoint of another vocabulary than the task's.

    Raises:
        UserError: the embedding table has not one row a symbol.
    """
    symbols = len(data.task.source_dictionary)
    if encoder.vocabulary != symbols:
        raise UserError(
            f"{flag} {encoder.path}: knows {encoder.vocabulary} symbols, but the dictionary of "
            f"{data.prepared.folder} with <mask> has {symbols}: prepare the task with the BPE and "
            "the dictionary of this model"
        )


def open_task(prepared: Prepared, encoder: Encoder, *flags: str) -> TaskData:
    """fairseq's task and criterion for this folder, for rows as this encoder takes them.

    Rows longer than the encoder's positions are cut, so that every row counts.

    Args:
        prepared: the folder.
        encoder: whose positions count.
        flags: more of ``fairseq-train``.
    """
    words = [str(prepared.folder), *prepared.flags, "--arch", "roberta", "--no-shuffle"]
    words += ["--criterion", "sentence_prediction_r3f", "--r3f-lambda", "0"]
    words += ["--max-positions", str(encoder.positions), "--shorten-method", "truncate"]
    words += ["--add-prev-output-tokens"] if encoder.is_seq2seq else []
    words += flags
    parser = options.get_training_parser()
    cfg = nested(options.parse_args_and_arch(parser, input_args=words))
    task = tasks.setup_task(cfg.task)
    return TaskData(prepared, task, task.build_criterion(cfg.criterion))
