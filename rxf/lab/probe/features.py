"""Sentence features: the vector that a classification head is given, once for every row."""

import contextlib
from pathlib import Path
from typing import Any, NamedTuple, Optional
from zipfile import BadZipFile

import numpy as np
import torch
from fairseq import utils
from fairseq.data import data_utils
from torch import Tensor, nn

from rxf.errors import UserError
from rxf.forward.catching import caught_inputs
from rxf.lab.files import written
from rxf.lab.probe.encoder import Encoder
from rxf.lab.probe.task_data import SPLITS, TaskData

__all__ = ["Features", "Split", "compute", "read", "write"]


class Split(NamedTuple):
    """``features`` float32 (N, d), ``targets`` (N,): int64 classes, or float32 numbers."""

    features: np.ndarray
    targets: np.ndarray


Features = dict[str, Split]


def compute(model: nn.Module, data: TaskData, encoder: Encoder, batch_tokens: int) -> Features:
    """Features and targets of the train and the valid split, in the order of the rows.

    For RoBERTa and XLM-R the last layer at ``<s>``, for BART the decoder's at the last
    ``</s>``: whatever the model hands to the head.

    Args:
        model: of :func:`rxf.lab.probe.encoder.build`, on the device to be used.
        data: the task.
        encoder: what the model was built from.
        batch_tokens: a batch has at most as many, padding counted.

    Raises:
        UserError: a split has no labels, or BART would lose a cut row's last ``</s>``.
    """
    return {split: _split(model, data, encoder, split, batch_tokens) for split in SPLITS}


def _split(
    model: nn.Module, data: TaskData, encoder: Encoder, split: str, batch_tokens: int
) -> Split:
    rows = data.task.load_dataset(split)
    sizes = np.asarray(rows.sizes).reshape(-1)
    if encoder.is_seq2seq and (sizes >= encoder.positions).any():
        raise UserError(
            f"{data.prepared.folder}: {split} has rows of {encoder.positions} tokens or more, "
            f"as long as {encoder.path} can take: leave them out of the task"
        )
    # By length, so that little is padded.
    order = np.argsort(sizes, kind="stable")
    limit = max(batch_tokens, int(sizes.max()))
    batches = data_utils.batch_by_size(order, lambda row: int(sizes[row]), max_tokens=limit)
    vectors: Optional[np.ndarray] = None
    targets: list[Any] = [None] * len(rows)
    for batch in batches:
        sample = rows.collater([rows[int(row)] for row in batch])
        _require_targets(sample, data, split)
        found = _vectors(model, data, sample)
        if vectors is None:
            vectors = np.empty((len(rows), found.shape[1]), np.float32)
        vectors[batch] = found
        for row, target in zip(batch, sample["target"].view(-1).tolist(), strict=True):
            targets[int(row)] = target
    kind = np.float32 if data.criterion.regression_target else np.int64
    assert vectors is not None
    return Split(vectors, np.asarray(targets, kind))


def _require_targets(sample: dict[str, Any], data: TaskData, split: str) -> None:
    if "target" not in sample:
        raise UserError(f"{data.prepared.folder}: {split} has no labels: prepare it with labels")


@torch.inference_mode()
def _vectors(model: nn.Module, data: TaskData, sample: dict[str, Any]) -> np.ndarray:
    name = data.criterion.classification_head_name
    net_input = sample["net_input"]
    if next(model.parameters()).is_cuda:
        net_input = utils.move_to_cuda(net_input)
    head: Any = model.classification_heads[name]  # type: ignore[index]
    with caught_inputs(head.dense) as caught:
        model(**net_input, features_only=True, classification_head_name=name)
    vectors: Tensor = caught[0]
    return vectors.float().cpu().numpy()


def read(path: Path) -> Optional[Features]:
    """What :func:`write` has written, or None."""
    with contextlib.suppress(OSError, ValueError, KeyError, BadZipFile), np.load(path) as held:
        return {s: Split(held[f"{s}_features"], held[f"{s}_targets"]) for s in SPLITS}
    return None


def write(path: Path, features: Features) -> None:
    """Write the features as one npz file; a killed command leaves none or a whole one."""
    with written(path) as aside, aside.open("wb") as file:
        np.savez(
            file,
            train_features=features["train"].features,
            train_targets=features["train"].targets,
            valid_features=features["valid"].features,
            valid_targets=features["valid"].targets,
        )
