"""The model over a split: an output for each row, in the order of the rows."""

import struct
from typing import Any, NamedTuple, Optional

import numpy as np
import torch
from fairseq import utils
from torch import Tensor, nn

from rxf.errors import UserError
from rxf.lab.evaluate.splits import row_lengths
from rxf.lab.probe.encoder import Encoder
from rxf.lab.probe.task_data import TaskData

__all__ = ["Outputs", "outputs_of"]


class Outputs(NamedTuple):
    """What the model makes of N rows.

    Attributes:
        logits: float32, shape (N, C); (N, 1) in a regression.
        targets: classes (int64) or numbers (float32), shape (N,); None without labels.
        cut: rows of which the model has not seen the end.
    """

    logits: np.ndarray
    targets: Optional[np.ndarray]
    cut: int


def outputs_of(
    model: nn.Module, data: TaskData, encoder: Encoder, split: str, batch_size: int, bar: Any
) -> Outputs:
    """Run the model over a split.

    Args:
        model: in evaluation mode, on the device to be used.
        data: the task.
        encoder: what the model was built from.
        split: of the task's folder.
        batch_size: rows.
        bar: of tqdm; told of each row.

    Raises:
        UserError: files that cannot be read, a row that BART cannot take, or a batch that
            does not fit in the GPU's memory.
    """
    rows, lengths = _load(data, split)
    cut = int((lengths > encoder.positions).sum())
    if encoder.is_seq2seq and cut:
        raise UserError(
            f"DATA {data.prepared.folder}: {cut} rows of {split} have more than the "
            f"{encoder.positions} tokens that {encoder.path} takes, and without its last </s> a "
            "row means nothing to BART: leave them out, or take another model"
        )
    logits: Optional[np.ndarray] = None
    targets: list[Any] = []
    # Rows of one length lie together, so that little is padded; the longest come first, so
    # that a batch which is too large for the memory shows at once.
    order = np.argsort(-lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        sample = rows.collater([rows[int(row)] for row in chosen])
        found = _logits(model, data, sample)
        if logits is None:
            logits = np.empty((len(order), found.shape[1]), np.float32)
        logits[chosen] = found
        if "target" in sample:
            targets += sample["target"].view(-1).tolist()
        bar.update(len(chosen))
    assert logits is not None
    return Outputs(logits, _in_order(targets, order, data), cut)


def _load(data: TaskData, split: str) -> tuple[Any, np.ndarray]:
    folder = data.prepared.folder
    try:
        rows = data.task.load_dataset(split)
        lengths = row_lengths(folder, split)
        if len(rows):
            rows[0], rows[len(rows) - 1]
    except (AssertionError, EOFError, OSError, TypeError, ValueError, struct.error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"DATA {folder}: split {split} cannot be read ({reason}): prepare the task again"
        ) from None
    if not len(rows):
        raise UserError(f"DATA {folder}: split {split} is empty: leave it out by --splits")
    return rows, lengths


@torch.inference_mode()
def _logits(model: nn.Module, data: TaskData, sample: dict[str, Any]) -> np.ndarray:
    net_input = sample["net_input"]
    try:
        if next(model.parameters()).is_cuda:
            net_input = utils.move_to_cuda(net_input)
        logits: Tensor = data.criterion.logits(model, net_input)
        return logits.float().cpu().numpy()
    except torch.OutOfMemoryError:
        raise UserError(
            "the GPU's memory does not hold such a batch: give a smaller --batch-size, or --cpu"
        ) from None


def _in_order(targets: list[Any], order: np.ndarray, data: TaskData) -> Optional[np.ndarray]:
    if not targets:
        return None
    regression = data.criterion.regression_target
    sorted_back = np.empty(len(order), np.float32 if regression else np.int64)
    sorted_back[order] = targets
    return sorted_back
