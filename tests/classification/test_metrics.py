"""Logged metrics are those of the whole data set, however it was cut into batches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fairseq.logging import metrics
from scipy import stats
from sklearn.metrics import f1_score, matthews_corrcoef

from tests.support import build_from_flags, first_batch, train_flags, write_sentence_data

ROWS = 23  # a prime: no batch size divides it
REPORTS = {"report_mcc": True, "report_acc_and_f1": True}


def validate(data: Path, batch: int, **flags: Any) -> tuple[dict[str, Any], Any, Any]:
    """What fairseq-train's validation would log, with predictions and targets beside it."""
    settings = {"criterion": "sentence_prediction_r3f", **flags}
    _, task, model, criterion = build_from_flags(train_flags(data, data / "none", **settings))
    model.eval(), criterion.eval()
    task.load_dataset("valid")
    batches = task.get_batch_iterator(task.dataset("valid"), max_sentences=batch)
    predictions, targets = [], []
    with metrics.aggregate(new_root=True) as logged, torch.no_grad():
        for sample in batches.next_epoch_itr(shuffle=False):
            outputs = [criterion(model, sample)[2]]
            criterion.__class__.reduce_metrics(outputs)
            predictions.append(criterion.logits(model, sample["net_input"]))
            targets.append(sample["target"].view(-1))
        values = logged.get_smoothed_values()
    return values, torch.cat(predictions).numpy(), torch.cat(targets).numpy()


@pytest.mark.parametrize("batch", [1, 4, 7, 23])
@pytest.mark.parametrize("labels", [["0", "1"], ["1", "0"]])
def test_classification(tmp_path: Path, batch: int, labels: list[str]) -> None:
    rows = {"train": 8, "valid": ROWS}
    data = write_sentence_data(tmp_path, rows=rows, labels=labels, seed=3)
    values, logits, targets = validate(data, batch, **REPORTS)
    predictions = logits.argmax(1)
    # F1 is of the label "1", whichever class index the dictionary gives it.
    positive = labels.index("1")
    f1 = 100 * f1_score(targets == positive, predictions == positive, zero_division=0)
    accuracy = 100 * (predictions == targets).mean()
    assert values["accuracy"] == pytest.approx(accuracy, abs=1e-4)
    assert values["mcc"] == pytest.approx(100 * matthews_corrcoef(targets, predictions), abs=1e-4)
    assert values["f1"] == pytest.approx(f1, abs=1e-4)
    assert values["acc_and_f1"] == pytest.approx((accuracy + f1) / 2, abs=1e-4)
    assert all(type(values[key]) is float for key in ("accuracy", "mcc", "f1", "acc_and_f1"))


@pytest.mark.parametrize("batch", [1, 4, 23])
def test_regression(tmp_path: Path, batch: int) -> None:
    data = write_sentence_data(tmp_path, rows={"train": 8, "valid": ROWS}, regression=True)
    values, predictions, targets = validate(data, batch, report_pearson_and_spearman=True)
    x, y = predictions.reshape(-1), np.float32(targets)
    pearson, spearman = 100 * stats.pearsonr(x, y)[0], 100 * stats.spearmanr(x, y)[0]
    assert values["pearson"] == pytest.approx(pearson, abs=1e-3)
    assert values["spearman"] == pytest.approx(spearman, abs=1e-3)
    mean = (pearson + spearman) / 2
    assert values["pearson_and_spearman"] == pytest.approx(mean, abs=1e-3)
    assert type(values["pearson"]) is float
    assert "accuracy" not in values


def test_nothing_is_reported_that_was_not_asked_for(sentence_data: Path) -> None:
    values, _, _ = validate(sentence_data, 8)
    assert not {"mcc", "f1", "acc_and_f1", "pearson"} & values.keys()


def test_predictions_travel_in_validation_only(tmp_path: Path) -> None:
    data = write_sentence_data(tmp_path, regression=True)
    flags = {"criterion": "sentence_prediction_r3f", "report_pearson_and_spearman": True}
    _, task, model, criterion = build_from_flags(train_flags(data, data / "none", **flags))
    sample = first_batch(task, size=8)
    assert criterion.logging_outputs_can_be_summed()
    assert "pairs" not in criterion(model, sample)[2]
    criterion.eval(), model.eval()
    assert not criterion.logging_outputs_can_be_summed()
    pairs = criterion(model, sample)[2]["pairs"]
    assert pairs.shape == (2, 8) and pairs.dtype == torch.float32


def test_a_meter_that_was_just_reset_gives_zeros(sentence_data: Path) -> None:
    """fairseq resets the meters of an interval and may read them before the next update."""
    flags = {"criterion": "sentence_prediction_r3f", **REPORTS}
    _, task, model, criterion = build_from_flags(
        train_flags(sentence_data, sentence_data / "none", **flags)
    )
    with metrics.aggregate(new_root=True) as logged:
        criterion.__class__.reduce_metrics([criterion(model, first_batch(task))[2]])
        logged.reset()
        values = logged.get_smoothed_values()
    assert values["mcc"] == values["f1"] == values["accuracy"] == 0.0
