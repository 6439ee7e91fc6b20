"""GLUE's metrics as pure functions, in percent, from what was counted over all examples.

Definitions are those of scikit-learn and scipy, which the official GLUE scripts use.  They
are re-stated on counts because counts can be summed over batches and ranks, and a mean of
per-batch values is a different number.
"""

import math
from typing import Any

import numpy as np

__all__ = ["accuracy", "f1", "matthews", "pearson", "spearman"]


def accuracy(correct: Any, total: Any) -> float:
    """Share of examples that are right."""
    return 100.0 * float(correct) / float(total) if float(total) else 0.0


def f1(true_positive: Any, false_positive: Any, false_negative: Any) -> float:
    """F1 of one class; 0 where neither predictions nor labels hold it."""
    hits = 2.0 * float(true_positive)
    total = hits + float(false_positive) + float(false_negative)
    return 100.0 * hits / total if total else 0.0


def matthews(confusion: Any) -> float:
    """Matthews correlation of a C x C confusion matrix (rows labels, columns predictions).

    For more than two classes the R_K statistic of Gorodkin 2004; 0 where only one class
    was predicted, or only one is in the data.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    total, correct = counts.sum(), np.trace(counts)
    labels, predictions = counts.sum(axis=1), counts.sum(axis=0)
    spread = (total**2 - predictions @ predictions) * (total**2 - labels @ labels)
    if spread <= 0:
        return 0.0
    return float(100.0 * (correct * total - labels @ predictions) / math.sqrt(spread))


def pearson(predictions: np.ndarray, targets: np.ndarray) -> float:
    """Linear correlation of two vectors; 0 where one of them is constant."""
    return _correlation(predictions, targets, "pearsonr")


def spearman(predictions: np.ndarray, targets: np.ndarray) -> float:
    """Rank correlation of two vectors (ties share their rank); 0 where one is constant."""
    return _correlation(predictions, targets, "spearmanr")


def _correlation(predictions: np.ndarray, targets: np.ndarray, name: str) -> float:
    if len(predictions) < 2 or np.ptp(predictions) == 0 or np.ptp(targets) == 0:
        return 0.0
    from scipy import stats  # scipy.stats takes half a second to import

    return 100.0 * float(getattr(stats, name)(predictions, targets)[0])
