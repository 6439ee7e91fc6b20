"""A fine-tuned checkpoint with its classification head, and whether it fits the data."""

from pathlib import Path
from typing import NamedTuple, Optional

from fairseq.data import Dictionary

from rxf.errors import UserError
from rxf.lab.prepared import Prepared
from rxf.lab.probe.encoder import HEADS, Encoder, read_encoder
from rxf.lab.probe.task_data import TaskData, check_vocabulary, open_task

__all__ = ["Classifier", "open_data", "read"]

FLAG = "CHECKPOINT"


class Classifier(NamedTuple):
    """``encoder`` with its heads, of which ``head`` has ``outputs`` classes or numbers."""

    encoder: Encoder
    head: str
    outputs: int


def read(path: Path, head: Optional[str]) -> Classifier:
    """Read a checkpoint of any method on RoBERTa, XLM-R or BART.

    Args:
        path: of the file.
        head: its name; None where the file holds only one.

    Raises:
        UserError: it cannot be read, has no head, or not the one that was asked for.
    """
    encoder = read_encoder(path, FLAG, with_heads=True)
    last = ".out_proj.bias"
    outputs = {
        key[len(HEADS) : -len(last)]: len(bias)
        for key, bias in encoder.weights.items()
        if key.startswith(HEADS) and key.endswith(last)
    }
    if not outputs:
        raise UserError(
            f"{FLAG} {path}: holds no classification head: give one that --task "
            "sentence_prediction has trained (rxf generate is for models that generate)"
        )
    if head is None and len(outputs) > 1:
        raise UserError(
            f"{FLAG} {path}: holds the heads {', '.join(outputs)}: name one by "
            "--classification-head-name"
        )
    name = next(iter(outputs)) if head is None else head
    if name not in outputs:
        raise UserError(
            f"--classification-head-name {name}: {path} has no such head; it has "
            f"{', '.join(outputs)}"
        )
    return Classifier(encoder, name, outputs[name])


def open_data(prepared: Prepared, model: Classifier) -> TaskData:
    """fairseq's task and criterion on this folder, for this model.

    Raises:
        UserError: the two have other dictionaries, numbers of classes or orders of classes.
    """
    path = model.encoder.path
    if model.outputs != prepared.num_classes:
        raise UserError(
            f"{FLAG} {path}: its head has {model.outputs} outputs, and {prepared.name} wants "
            f"{prepared.num_classes}: it was fine-tuned on another task than DATA's"
        )
    data = open_task(prepared, model.encoder, "--classification-head-name", model.head)
    check_vocabulary(model.encoder, data, FLAG)
    _check_classes(model, data)
    return data


def _check_classes(model: Classifier, data: TaskData) -> None:
    """Labels are numbered by their frequency in training, so another folder may differ."""
    trained = model.encoder.data
    if data.criterion.regression_target or trained is None:
        return
    file = trained / "label" / "dict.txt"
    if not file.is_file():
        return
    before, now = (_first(d, model.outputs) for d in (_load(file), data.task.label_dictionary))
    if before != now:
        raise UserError(
            f"{FLAG} {model.encoder.path}: its classes are {', '.join(before)}, in this order "
            f"({file}), and DATA's are {', '.join(now)}: prepare DATA with the training rows of "
            "that folder"
        )


def _load(path: Path) -> Dictionary:
    try:
        return Dictionary.load(str(path))
    # Dictionary.load raises a plain Exception for text that is not UTF-8.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: is no fairseq dictionary ({reason})") from None


def _first(dictionary: Dictionary, count: int) -> list[str]:
    return dictionary.symbols[dictionary.nspecial :][:count]
