"""The statistics against scipy, against cases worked out by hand, and on simulated runs."""

import itertools
import math
import random
import statistics
import warnings

import numpy as np
import pytest
from scipy import stats

from rxf.lab.report import statistics as maths

FIVE = [80.0, 84.0, 50.0, 70.0, 77.0]


# ----------------------------------------------------------------- bootstrap intervals


def test_the_interval_of_two_values_by_hand() -> None:
    """The mean of two draws of 0 and 1 is 0, 0.5 or 1; 0 comes up once in 4: it is the end."""
    assert maths.interval([0.0, 1.0], np.mean) == (0.0, 1.0)
    assert maths.interval([3.0, 3.0, 3.0]) == (3.0, 3.0)


@pytest.mark.parametrize("statistic", [np.mean, np.median])
def test_the_interval_is_near_that_of_all_resamples(statistic: object) -> None:
    """5 values have 5 ** 5 resamples, and the percentiles of all of them are the exact ends."""
    assert callable(statistic)
    every = [float(statistic(drawn)) for drawn in itertools.product(FIVE, repeat=5)]
    found = maths.interval(FIVE, statistic)
    assert found is not None
    for end, percentile in zip(found, (2.5, 97.5), strict=True):
        near = np.percentile(every, [percentile - 0.8, percentile + 0.8])
        assert near[0] - 1e-9 <= end <= near[1] + 1e-9


@pytest.mark.parametrize("values", [[], [81.0]])
def test_below_two_values_there_is_no_interval(values: list[float]) -> None:
    assert maths.interval(values) is None
    assert maths.difference_interval(values, values) is None
    assert maths.probability_interval(values, values) is None
    assert maths.probability_interval([1.0, 2.0], values) is None


def test_a_report_made_again_is_the_same() -> None:
    assert maths.interval(FIVE) == maths.interval(FIVE)


@pytest.mark.parametrize(("n", "least", "most"), [(5, 0.78, 0.88), (20, 0.90, 0.96)])
def test_coverage_of_the_true_mean(n: int, least: float, most: float) -> None:
    """As the report says: too narrow at 5 runs (about 85 in 100), nearly right at 20."""
    source = np.random.default_rng(3)
    held = 0
    for _ in range(400):
        found = maths.interval(source.normal(70.0, 4.0, n).tolist(), np.mean)
        assert found is not None
        held += found.low <= 70.0 <= found.high
    assert least <= held / 400 <= most


def test_coverage_of_the_true_median() -> None:
    source = np.random.default_rng(4)
    held = 0
    for _ in range(300):
        found = maths.interval((70 + source.standard_exponential(15)).tolist(), np.median)
        assert found is not None
        held += found.low <= 70 + math.log(2) <= found.high
    assert 0.90 <= held / 300 <= 0.99


def test_the_interval_of_a_difference_is_that_of_the_pairs() -> None:
    """A seed that is hard for both does not widen it."""
    plain = [50.0, 60.0, 70.0, 80.0, 90.0]
    better = [value + gain for value, gain in zip(plain, [1.0, 1.2, 0.8, 1.0, 1.1], strict=True)]
    found = maths.difference_interval(better, plain)
    assert found is not None
    assert 0.8 <= found.low < 1.02 < found.high <= 1.2


# --------------------------------------------------------------------- paired test


def _p_by_hand(differences: list[float]) -> float:
    """The share of all changes of sign whose mean is as far from nothing."""
    seen = abs(statistics.fmean(differences))
    means = [
        abs(statistics.fmean(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return sum(mean >= seen - 1e-9 for mean in means) / len(means)


@pytest.mark.parametrize(
    "differences",
    [[1.0, 2.0, 3.0], [1.0, -2.0, 4.0, 0.5], [0.0, 0.0, 1.0], [2.0] * 5, [0.0, 0.0]],
)
def test_p_is_exact_for_few_pairs(differences: list[float]) -> None:
    found = maths.paired_p(differences, [0.0] * len(differences))
    assert found == pytest.approx(_p_by_hand(differences))


def test_p_agrees_with_wilcoxon_where_differences_are_ranks() -> None:
    """Of 1, 2, ..., n with signs, the mean is Wilcoxon's statistic but for a constant."""
    differences = [1.0, -2.0, 3.0, 4.0, -5.0, 6.0, 7.0, 8.0]
    exact = stats.wilcoxon(differences, method="exact").pvalue
    assert maths.paired_p(differences, [0.0] * 8) == pytest.approx(exact)


def test_the_smallest_p() -> None:
    for n in (2, 3, 5, 8):
        assert maths.paired_p([1.0] * n, [0.0] * n) == pytest.approx(maths.smallest_p(n))
    assert maths.smallest_p(5) == 0.0625
    assert maths.paired_p([1.0], [0.0]) is None


def test_p_holds_its_level_and_finds_an_effect() -> None:
    source = np.random.default_rng(5)
    plain = source.normal(70, 3, (200, 8))
    noise = source.normal(0, 1, (200, 8))
    null = [
        maths.paired_p(a, b) for a, b in zip((plain + noise).tolist(), plain.tolist(), strict=True)
    ]
    real = [
        maths.paired_p(a, b)
        for a, b in zip((plain + noise + 2).tolist(), plain.tolist(), strict=True)
    ]
    assert sum(p is not None and p <= 0.05 for p in null) / 200 <= 0.09
    assert sum(p is not None and p <= 0.05 for p in real) / 200 >= 0.95


# ------------------------------------------------------------ probability of improvement


def test_probability_of_improvement_by_hand() -> None:
    # 3 beats 1 and 2; 2 beats 1 and ties with 2: (2 + 1.5) of 4.
    assert maths.probability_of_improvement([3.0, 2.0], [1.0, 2.0]) == 0.875
    assert maths.probability_of_improvement([1.0, 1.0], [1.0]) == 0.5


def test_probability_of_improvement_is_mann_and_whitneys_u() -> None:
    source = random.Random(2)
    first = [float(source.randrange(8)) for _ in range(7)]
    second = [float(source.randrange(8)) for _ in range(9)]
    u = stats.mannwhitneyu(first, second).statistic
    assert maths.probability_of_improvement(first, second) == pytest.approx(u / 63)


def test_coverage_of_a_known_probability_of_improvement() -> None:
    """X ~ N(1, 1) against Y ~ N(0, 1): P(X > Y) = Phi(1 / sqrt 2)."""
    truth = stats.norm.cdf(1 / math.sqrt(2))
    source = np.random.default_rng(6)
    held = 0
    for _ in range(150):
        first, second = source.normal(1, 1, 15).tolist(), source.normal(0, 1, 15).tolist()
        found = maths.probability_interval(first, second)
        assert found is not None
        held += found.low <= truth <= found.high
    assert 0.86 <= held / 150 <= 0.99


def test_the_runs_of_either_are_drawn_by_themselves() -> None:
    """2 and 12 against 1 and 11: each is ahead on its seed, but 2 is behind 11.

    Drawn seed by seed no draw would fall below 3/4; of the 16 draws one is (2, 2) against
    (11, 11), where P is 0, more than the 2.5 % outside.
    """
    assert maths.probability_of_improvement([2.0, 12.0], [1.0, 11.0]) == 0.75
    assert maths.probability_interval([2.0, 12.0], [1.0, 11.0]) == (0.0, 1.0)


def test_methods_that_do_not_overlap_have_no_interval_to_speak_of() -> None:
    assert maths.probability_interval([3.0, 4.0, 5.0], [0.0, 1.0, 2.0]) == (1.0, 1.0)


def test_many_runs_are_resampled_in_parts() -> None:
    source = np.random.default_rng(7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = maths.probability_interval(source.random(60).tolist(), source.random(60).tolist())
    assert found is not None and 0.3 < found.low < found.high < 0.7


# --------------------------------------------------------------------- expected best


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_the_expected_best_is_the_mean_over_all_choices(k: int) -> None:
    by_hand = statistics.fmean(max(chosen) for chosen in itertools.combinations(FIVE, k))
    assert maths.expected_best(FIVE, k) == pytest.approx(by_hand)


def test_the_expected_best_of_one_is_the_mean_and_of_all_the_maximum() -> None:
    assert maths.expected_best(FIVE, 1) == pytest.approx(statistics.fmean(FIVE))
    assert maths.expected_best(FIVE, 5) == max(FIVE)
    assert maths.expected_best(FIVE, 6) is None


def test_the_expected_best_is_unbiased_where_the_plug_in_is_not() -> None:
    """The best of 3 of U(0, 1) is 3/4; drawn with replacement from 4 it is less."""
    source = np.random.default_rng(8)
    drawn = np.sort(source.random((4000, 4)), axis=1)
    ours = statistics.fmean(maths.expected_best(row.tolist(), 3) or 0.0 for row in drawn)
    shares = np.diff((np.arange(5) / 4) ** 3)
    plug_in = float((drawn * shares).sum(axis=1).mean())
    assert ours == pytest.approx(0.75, abs=0.01)
    assert plug_in < 0.73
