"""Averages and 95 % intervals over a set of examples, as ROUGE-1.5.5 draws them.

The script draws the examples anew 1000 times and reports the mean of the 1000 means, and
their 26th and 975th in order.  It seeds its generator with the number of the draw, and Perl
has had the same generator on all machines since 5.20: drand48, a line of arithmetic.  So the
draws here are the script's, and the intervals too.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["RESAMPLES", "Estimate", "estimates"]

RESAMPLES = 1000
OUTSIDE = 25  # of 1000 on either side: what lies between is 95 %

# drand48: x <- (a x + c) mod 2**48, from the seed in the upper 32 bits.
MULTIPLIER, INCREMENT = np.uint64(0x5DEECE66D), np.uint64(0xB)
MODULUS_MASK, SEED_LOW_BITS = np.uint64((1 << 48) - 1), np.uint64(0x330E)


class Estimate(NamedTuple):
    """A mean, and between what 95 % of the resampled means lie."""

    average: float
    low: float
    high: float


def estimates(scores: NDArray[np.float64]) -> list[Estimate]:
    """The estimate of every column, rounded to five decimals.

    Args:
        scores: a row an example, one at least, in the order of the files.
    """
    # The script goes through its examples by name ("1.X", "10.X", "2.X"), not by number.
    by_name = sorted(range(len(scores)), key=lambda index: f"{index + 1}.")
    means = np.sort(_resampled_means(scores[by_name]), axis=0)
    columns = zip(means.mean(axis=0), means[OUTSIDE], means[-OUTSIDE - 1], strict=True)
    return [Estimate(*(float(f"{value:.5f}") for value in column)) for column in columns]


def _resampled_means(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """One row a draw: all draws are made side by side, one example after the other."""
    rows = len(scores)
    state = (np.arange(RESAMPLES, dtype=np.uint64) << np.uint64(16)) + SEED_LOW_BITS
    sums = np.zeros((RESAMPLES, scores.shape[1]))
    for _ in range(rows):
        # The product overflows 64 bits, which leaves the lower 48 right.
        state = (state * MULTIPLIER + INCREMENT) & MODULUS_MASK
        drawn = (state / float(1 << 48) * rows).astype(np.int64)
        sums += scores[drawn]
    return sums / rows
