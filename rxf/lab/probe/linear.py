"""The linear layer of a probe: scikit-learn on standardised features.

How much it is regularised is chosen on the training rows alone: logistic regression by five
folds, above 5,000 rows by one held-out fifth, for the smallest cross-entropy; ridge
regression by leaving one row out, for the smallest squared error.
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GridSearchCV, StratifiedKFold, StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rxf.errors import UserError

__all__ = ["UNSEEN", "LinearProbe", "fit_classes", "fit_numbers"]

# scikit-learn's C is the inverse strength, beside a sum over rows.
STRENGTHS = tuple(10.0**power for power in range(-4, 4))
ALPHAS = tuple(10.0**power for power in range(-2, 6))
FOLDS = 5
MANY_ROWS = 5000
MAX_ITERATIONS = 1000
UNSEEN = -1e4
LEAST = 1e-30


class LinearProbe(NamedTuple):
    """A trained probe; ``strength`` is C in classification, alpha in regression."""

    pipeline: Any
    num_classes: int
    strength: float

    def outputs(self, features: np.ndarray) -> np.ndarray:
        """Log probabilities (N, C), UNSEEN for a class that training lacked; or (N, 1)."""
        if self.num_classes == 1:
            return np.asarray(self.pipeline.predict(features), np.float32).reshape(-1, 1)
        found = _log_probabilities(self.pipeline, features)
        outputs = np.full((len(features), self.num_classes), UNSEEN, np.float32)
        outputs[:, self.pipeline.classes_] = found
        return outputs


def fit_classes(features: np.ndarray, targets: np.ndarray, num_classes: int) -> LinearProbe:
    """Logistic regression; see the module's text.

    Args:
        features: (N, d).
        targets: class of each row, (N,), below ``num_classes``.
        num_classes: C, at least 2.

    Raises:
        UserError: all rows have one label.
    """
    counts = np.unique(targets, return_counts=True)[1]
    if len(counts) < 2:
        raise UserError("all its training rows have one label, so that there is nothing to learn")
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MAX_ITERATIONS))
    rarest = int(counts.min())
    with warnings.catch_warnings():
        # A probe that is hardly regularised may crawl; another strength is chosen then.
        warnings.simplefilter("ignore", ConvergenceWarning)
        if rarest < 2:
            # A class that cannot be in both parts leaves nothing to choose by.
            return LinearProbe(model.fit(features, targets), num_classes, 1.0)
        grid = {"logisticregression__C": STRENGTHS}
        search = GridSearchCV(model, grid, scoring=_log_likelihood, cv=_splits(targets, rarest))
        search.fit(features, targets)
    return LinearProbe(search.best_estimator_, num_classes, float(*search.best_params_.values()))


def _splits(targets: np.ndarray, rarest: int) -> Any:
    if len(targets) > MANY_ROWS:
        return StratifiedShuffleSplit(1, test_size=1 / FOLDS, random_state=1)
    return StratifiedKFold(min(FOLDS, rarest), shuffle=True, random_state=1)


def _log_likelihood(model: Any, features: np.ndarray, targets: np.ndarray) -> float:
    # scikit-learn's own scorer fails where a small fold lacks a class.
    columns = np.searchsorted(model.classes_, targets)
    return float(_log_probabilities(model, features)[np.arange(len(targets)), columns].mean())


def _log_probabilities(model: Any, features: np.ndarray) -> np.ndarray:
    # A probability may round to 0, and one sure mistake must not outweigh all the rest.
    return np.log(np.maximum(model.predict_proba(features), LEAST))


def fit_numbers(features: np.ndarray, targets: np.ndarray) -> LinearProbe:
    """Ridge regression; see the module's text.

    Args:
        features: (N, d).
        targets: a number for each row, (N,).
    """
    model = make_pipeline(StandardScaler(), RidgeCV(ALPHAS))
    # In double: the leave-one-out errors are differences of like numbers.
    model.fit(features.astype(np.float64), targets.astype(np.float64))
    return LinearProbe(model, 1, float(model[-1].alpha_))
