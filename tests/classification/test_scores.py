"""GLUE's metrics against scikit-learn and scipy."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as sklearn_metrics

from rxf.classification import scores
from rxf.classification.metrics import confusion_counts


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("seed", range(5))
def test_counts_give_what_sklearn_gives(classes: int, seed: int) -> None:
    source = np.random.default_rng(seed)
    targets = source.integers(0, classes, 57)
    predictions = np.where(source.random(57) < 0.6, targets, source.integers(0, classes, 57))
    confusion = confusion_counts(torch.tensor(predictions), torch.tensor(targets), classes)
    expected = sklearn_metrics.confusion_matrix(targets, predictions, labels=range(classes))
    assert confusion.tolist() == expected.tolist()
    mcc = 100 * sklearn_metrics.matthews_corrcoef(targets, predictions)
    assert scores.matthews(confusion) == pytest.approx(mcc)
    hits, said, true = ((predictions == 1) & (targets == 1)), predictions == 1, targets == 1
    f1 = scores.f1(hits.sum(), (said & ~true).sum(), (~said & true).sum())
    one = sklearn_metrics.f1_score(targets == 1, predictions == 1)
    assert f1 == pytest.approx(100 * one)


def test_degenerate_counts_are_zero() -> None:
    assert scores.matthews([[0, 5], [0, 7]]) == 0.0
    assert scores.matthews([[0, 0], [0, 0]]) == 0.0
    assert scores.f1(0, 0, 0) == 0.0
    assert scores.accuracy(0, 0) == 0.0


def test_correlations() -> None:
    source = np.random.default_rng(1)
    x = source.normal(size=40).astype(np.float32)
    y = np.round(x + source.normal(size=40), 1).astype(np.float32)  # with ties
    assert scores.pearson(x, y) == pytest.approx(100 * stats.pearsonr(x, y)[0])
    assert scores.spearman(x, y) == pytest.approx(100 * stats.spearmanr(x, y)[0])
    assert scores.pearson(x, np.ones_like(x)) == 0.0
    assert scores.spearman(x[:1], y[:1]) == 0.0
