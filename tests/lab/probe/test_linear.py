"""The linear layer: against plain re-statements, and where there is little to go by."""

import numpy as np
import pytest

from rxf.errors import UserError
from rxf.lab.probe import linear
from rxf.lab.probe.linear import ALPHAS, STRENGTHS, UNSEEN, fit_classes, fit_numbers


def clusters(
    rows: int, classes: int, apart: float, seed: int = 1, width: int = 6
) -> tuple[np.ndarray, np.ndarray]:
    source = np.random.default_rng(seed)
    targets = np.arange(rows) % classes
    centres = np.random.default_rng(9).normal(size=(classes, width)) * apart
    # Columns of very different size, one of them constant.
    features = (centres[targets] + source.normal(size=(rows, width))) * 10.0 ** np.arange(width)
    features[:, 0] = 3.0
    return features.astype(np.float32), targets


@pytest.mark.parametrize("classes", [2, 4])
def test_what_a_line_can_tell_is_told(classes: int) -> None:
    features, targets = clusters(200, classes, apart=4.0)
    probe = fit_classes(features, targets, classes)
    unseen, labels = clusters(200, classes, apart=4.0, seed=2)
    outputs = probe.outputs(unseen)
    assert outputs.shape == (200, classes) and outputs.dtype == np.float32
    assert (outputs.argmax(1) == labels).mean() > 0.95
    np.testing.assert_allclose(np.exp(outputs).sum(1), 1.0, atol=1e-4)


def test_the_solution_is_the_optimum_of_the_penalised_loss() -> None:
    """Restated: the gradient of C * sum CE + 1/2 |w|^2 on standardised features is 0."""
    features, targets = clusters(120, 3, apart=1.0)
    probe = fit_classes(features, targets, 3)
    deviation = features.astype(np.float64).std(0)
    deviation[deviation == 0] = 1.0
    x = (features.astype(np.float64) - features.astype(np.float64).mean(0)) / deviation
    weight, bias = probe.pipeline[-1].coef_, probe.pipeline[-1].intercept_
    logits = x @ weight.T + bias
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    wrong = p - np.eye(3)[targets]
    gradient = probe.strength * wrong.T @ x + weight
    assert np.abs(gradient).max() < 0.02 * max(1.0, probe.strength * 120)
    assert np.abs(wrong.sum(0)).max() < 0.5


def test_noise_is_regularised_away_and_signal_is_not() -> None:
    source = np.random.default_rng(3)
    noise = source.normal(size=(80, 60)).astype(np.float32)
    weak = fit_classes(noise, np.arange(80) % 2, 2)
    assert weak.strength == min(STRENGTHS)
    strong = fit_classes(*clusters(80, 2, apart=6.0), 2)
    assert strong.strength > weak.strength


def test_many_rows_are_split_once(monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets = clusters(120, 2, apart=2.0)
    folds = linear._splits(targets, 60).get_n_splits(features, targets)
    monkeypatch.setattr(linear, "MANY_ROWS", 100)
    assert (folds, linear._splits(targets, 60).get_n_splits(features, targets)) == (5, 1)
    assert fit_classes(features, targets, 2).strength in STRENGTHS


def test_a_class_that_training_lacks_is_never_said() -> None:
    features, targets = clusters(60, 2, apart=3.0)
    outputs = fit_classes(features, targets * 2, 3).outputs(features)
    assert (outputs[:, 1] == UNSEEN).all()
    assert set(outputs.argmax(1)) == {0, 2}


def test_a_class_with_a_single_row() -> None:
    features, targets = clusters(40, 2, apart=3.0)
    targets = np.append(targets[:-1], 2)
    probe = fit_classes(features, targets, 3)
    assert probe.strength == 1.0 and probe.outputs(features).shape == (40, 3)


def test_one_label_is_refused() -> None:
    with pytest.raises(UserError, match="one label"):
        fit_classes(np.zeros((5, 2), np.float32), np.zeros(5, np.int64), 2)


def test_ridge_is_the_closed_form_and_its_alpha_the_best_of_leave_one_out() -> None:
    source = np.random.default_rng(5)
    features = source.normal(size=(40, 5)).astype(np.float32) * 10.0 ** np.arange(5)
    features = features.astype(np.float32)
    targets = features[:, 1] / 10 + source.normal(size=40) + 7
    probe = fit_numbers(features, targets)
    x = features.astype(np.float64)
    x = (x - x.mean(0)) / x.std(0)

    def solve(x: np.ndarray, y: np.ndarray, alpha: float) -> tuple[np.ndarray, float]:
        centre = x.mean(0)
        moved = x - centre
        w = np.linalg.solve(moved.T @ moved + alpha * np.eye(x.shape[1]), moved.T @ (y - y.mean()))
        return w, y.mean() - centre @ w

    def left_out(alpha: float) -> float:
        errors = []
        for row in range(len(x)):
            keep = np.arange(len(x)) != row
            w, b = solve(x[keep], targets[keep], alpha)
            errors.append((x[row] @ w + b - targets[row]) ** 2)
        return float(np.mean(errors))

    assert probe.strength == min(ALPHAS, key=left_out)
    w, b = solve(x, targets, probe.strength)
    outputs = probe.outputs(features)
    assert outputs.shape == (40, 1)
    np.testing.assert_allclose(outputs[:, 0], x @ w + b, atol=1e-4)
