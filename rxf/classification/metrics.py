"""From predictions to logged metrics that are exact over a whole data set.

Counts travel through fairseq's logging outputs, where they are summed over micro-batches
and ranks, and the metric is derived from the sums when it is read.  Rank correlation needs
every prediction: these travel as they are, in validation only (8 bytes an example, since
fairseq gathers at most 16 KB a rank and batch).
"""

from collections.abc import Sequence
from typing import Any, Callable

import numpy as np
import torch
from fairseq.logging import metrics
from fairseq.logging.meters import Meter, MetersDict
from torch import Tensor

from rxf.classification import scores

__all__ = ["confusion_counts", "log_classification", "log_regression", "prediction_pairs"]

# fairseq rounds what it logs, and chooses the best checkpoint by the rounded value: fine
# enough that two of QQP's 40,430 validation examples do not look alike.
DIGITS = 4

Outputs = Sequence[dict[str, Any]]


def confusion_counts(predictions: Tensor, targets: Tensor, num_classes: int) -> Tensor:
    """C x C counts on the predictions' device: rows labels, columns predictions.

    Args:
        predictions: class indices, shape (B,).
        targets: class indices, shape (B,).
        num_classes: C; every index must be below it.
    """
    cells = targets * num_classes + predictions
    counts = torch.zeros(num_classes * num_classes, dtype=torch.long, device=cells.device)
    return counts.index_add_(0, cells, torch.ones_like(cells)).view(num_classes, num_classes)


def prediction_pairs(predictions: Tensor, targets: Tensor) -> Tensor:
    """Predictions and targets, each of shape (B,), as float32 of shape (2, B)."""
    return torch.stack([predictions.float(), targets.float()])


def log_classification(outputs: Outputs) -> None:
    """Log ``accuracy`` and, where their counts are there, ``mcc``, ``f1`` and ``acc_and_f1``."""
    _log_sum(outputs, "ncorrect", "_ncorrect")
    _log_sum(outputs, "nsentences", "_nsentences")
    _derive("accuracy", _accuracy)
    if "confusion" in outputs[0]:
        _log_sum(outputs, "confusion", "_confusion")
        _derive("mcc", _mcc)
    if "f1_counts" in outputs[0]:
        _log_sum(outputs, "f1_counts", "_f1_counts")
        _derive("f1", _f1)
        _derive("acc_and_f1", lambda meters: (_accuracy(meters) + _f1(meters)) / 2)


def log_regression(outputs: Outputs) -> None:
    """Log ``pearson``, ``spearman`` and their mean where predictions were handed over."""
    pairs = [output["pairs"] for output in outputs if "pairs" in output]
    if not pairs:
        return
    for meters in _temporary_meters():
        if "_pairs" not in meters:
            meters.add_meter("_pairs", _PairsMeter(), 50)
            for key, value in CORRELATIONS.items():
                meters.add_meter(key, MetersDict._DerivedMeter(_rounded(value)), 20)
        meters["_pairs"].update(torch.cat(pairs, dim=1))


def _log_sum(outputs: Outputs, field: str, key: str) -> None:
    metrics.log_scalar_sum(key, sum(output[field] for output in outputs))


def _derive(key: str, value: Callable[[MetersDict], float]) -> None:
    metrics.log_derived(key, _rounded(value))


def _rounded(value: Callable[[MetersDict], float]) -> Callable[[MetersDict], float]:
    return lambda meters: round(value(meters), DIGITS)


def _temporary_meters() -> list[MetersDict]:
    """The meters of the validation at hand.

    Those with a name gather over the whole run and are saved with it, where predictions
    would pile up, in a class that fairseq does not find again.
    """
    named = [metrics.get_meters(name) for name in ("default", "train", "train_inner", "valid")]
    active = metrics.get_active_aggregators()
    return [meters for meters in active if not any(meters is known for known in named)]


def _numbers(meters: MetersDict, key: str) -> np.ndarray:
    # A meter that was just reset holds a plain 0 whatever it sums.
    total = meters[key].sum
    return total.cpu().numpy() if torch.is_tensor(total) else np.asarray(total)


def _accuracy(meters: MetersDict) -> float:
    return scores.accuracy(_numbers(meters, "_ncorrect"), _numbers(meters, "_nsentences"))


def _mcc(meters: MetersDict) -> float:
    confusion = _numbers(meters, "_confusion")
    return scores.matthews(confusion) if confusion.ndim else 0.0


def _f1(meters: MetersDict) -> float:
    counts = _numbers(meters, "_f1_counts")
    return scores.f1(*counts) if counts.ndim else 0.0


def _pearson(meters: MetersDict) -> float:
    return scores.pearson(*meters["_pairs"].vectors())


def _spearman(meters: MetersDict) -> float:
    return scores.spearman(*meters["_pairs"].vectors())


def _pearson_and_spearman(meters: MetersDict) -> float:
    return (_pearson(meters) + _spearman(meters)) / 2


CORRELATIONS = {
    "pearson": _pearson,
    "spearman": _spearman,
    "pearson_and_spearman": _pearson_and_spearman,
}


class _PairsMeter(Meter):
    """Keeps every prediction of a data set and its target."""

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        self._batches: list[Tensor] = []

    def update(self, pairs: Tensor) -> None:
        self._batches.append(pairs.cpu())

    def vectors(self) -> np.ndarray:
        """Predictions and targets, float32 of shape (2, N)."""
        if not self._batches:
            return np.zeros((2, 0), np.float32)
        return torch.cat(self._batches, dim=1).numpy()

    @property
    def smoothed_value(self) -> float:
        return float(sum(pairs.size(1) for pairs in self._batches))
