"""The statistics of a report, pure functions of numbers; the resampling is scipy's.

Whatever is random is seeded, so that the same runs give the same report.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = [
    "LEVEL",
    "Interval",
    "Values",
    "difference_interval",
    "expected_best",
    "interval",
    "paired_p",
    "probability_interval",
    "probability_of_improvement",
    "smallest_p",
]

LEVEL = 0.95
SEED = 1
RESAMPLES = 4999
# Up to 12 pairs all 2 ** n changes of sign are gone through, and p is exact.
SIGN_CHANGES = 4096
# Comparisons of two runs that are held in memory at once.
CELLS = 2_000_000

Values = Sequence[float]


class Interval(NamedTuple):
    """What lies between the 2.5th and the 97.5th percentile of the resampled statistic."""

    low: float
    high: float


def interval(values: Values, statistic: Callable[..., Any] = np.median) -> Optional[Interval]:
    """Percentile bootstrap interval of a statistic (Efron 1979), by ``scipy.stats.bootstrap``.

    Percentile and not BCa: for the median of few values BCa's correction rests on a
    jackknife that does not hold.

    Args:
        values: finite numbers, one a run.
        statistic: of numpy, with an ``axis``.

    Returns:
        None below two values: one run says nothing of the spread.
    """
    return _bootstrap((np.asarray(values, dtype=float),), statistic)


def difference_interval(first: Values, second: Values) -> Optional[Interval]:
    """Interval of the mean of ``first - second``, pairs resampled; None below two pairs."""
    return interval(np.subtract(first, second).tolist(), np.mean)


def probability_of_improvement(first: Values, second: Values) -> float:
    """P(X > Y) + P(X = Y) / 2 over all pairs of a run of one and a run of the other.

    That is Mann and Whitney's U over the number of pairs; Agarwal et al. 2021 (arXiv
    2108.13264) name it so.  0.5 where neither is better.

    Args:
        first: X, one value a run, one at least.
        second: Y, likewise.
    """
    return float(_improvement(np.asarray(first, float), np.asarray(second, float)))


def probability_interval(first: Values, second: Values) -> Optional[Interval]:
    """Interval of :func:`probability_of_improvement`, resampling the runs of either by themselves.

    As Agarwal et al. do within a task.  Drawing the seeds of both together would compare a
    run with that of its own seed too often, as each draw repeats some seeds.

    Args:
        first: one value a run.
        second: likewise.

    Returns:
        None below two runs of either.
    """
    samples = (np.asarray(first, dtype=float), np.asarray(second, dtype=float))
    return _bootstrap(samples, _improvement)


def paired_p(first: Values, second: Values) -> Optional[float]:
    """Two-sided p of the mean difference, by changing the signs of the differences.

    Fisher's randomisation test: if the method made no difference, each difference could
    as well have had the other sign.  Ties and zeros need no correction.

    Returns:
        None below two pairs.  Exact up to 12 pairs, beyond that from random changes.
    """
    differences = np.subtract(first, second)
    if len(differences) < 2:
        return None
    test = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=SIGN_CHANGES,
        rng=SEED,
    )
    return float(test.pvalue)


def smallest_p(pairs: int) -> float:
    """The least that :func:`paired_p` can be: all differences of one sign."""
    return 2.0 ** (1 - min(pairs, int(math.log2(SIGN_CHANGES))))


def expected_best(values: Values, k: int) -> Optional[float]:
    """The expected maximum of ``k`` runs drawn without replacement out of ``values``.

    Unbiased for the expected maximum of k new runs.  The plug-in of Dodge et al. 2019
    (arXiv 1909.03004) draws with replacement, so that the same run comes up twice, and is
    too low.

    Args:
        values: one a run, higher is better.
        k: 1 gives the mean, ``len(values)`` the maximum.

    Returns:
        None where there are fewer than ``k`` values.
    """
    n = len(values)
    if n < k:
        return None
    # The i-th smallest is the best of k where the others are among the i - 1 below it.
    ways = [math.comb(below, k - 1) for below in range(n)]
    return sum(w * v for w, v in zip(ways, sorted(values), strict=True)) / math.comb(n, k)


def _improvement(first: NDArray, second: NDArray, axis: int = -1) -> Any:
    """Along the last axis of both: shapes (..., n) and (..., m) to (...)."""
    gaps = first[..., :, None] - second[..., None, :]
    return ((gaps > 0) + 0.5 * (gaps == 0)).mean(axis=(-2, -1))


def _bootstrap(samples: tuple[NDArray, ...], statistic: Callable[..., Any]) -> Optional[Interval]:
    sizes = [len(sample) for sample in samples]
    if min(sizes) < 2:
        return None
    drawn = stats.bootstrap(
        samples,
        statistic,
        vectorized=True,
        axis=-1,
        n_resamples=RESAMPLES,
        batch=max(1, CELLS // math.prod(sizes)),
        confidence_level=LEVEL,
        method="percentile",
        rng=SEED,
    ).confidence_interval
    return Interval(float(drawn.low), float(drawn.high))
