"""Figures of every method, and of every method against the control over the same seeds."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple, Optional

import numpy as np

from rxf.lab.report import statistics as maths
from rxf.lab.report.scores import Score, Scores
from rxf.lab.report.statistics import Interval

__all__ = ["Comparison", "Summary", "compare", "summarise"]


class Summary(NamedTuple):
    """One method over its runs; every figure is None where there are too few values.

    Attributes:
        n: runs, those without a value included.
        values: runs with a value: what all figures are of.
        sd: of the sample, n - 1 below the line.
        failed: see :func:`rxf.lab.report.scores.has_failed`.
        best_of: expected best of k runs, by k.
        seconds: an update, median over runs.
        seconds_ratio: to the control's.
        mib: largest memory, median over runs.
        mib_ratio: to the control's.
    """

    scores: Scores
    method: str
    n: int
    values: int
    mean: Optional[float]
    mean_interval: Optional[Interval]
    sd: Optional[float]
    median: Optional[float]
    median_interval: Optional[Interval]
    minimum: Optional[float]
    maximum: Optional[float]
    failed: int
    best_of: dict[int, Optional[float]]
    seconds: Optional[float]
    seconds_ratio: Optional[float]
    mib: Optional[float]
    mib_ratio: Optional[float]


class Comparison(NamedTuple):
    """One method against the control, over the seeds that both have a value for.

    Attributes:
        pairs: such seeds.
        difference: mean of method minus control.
        p: see :func:`rxf.lab.report.statistics.paired_p`.
        ahead: seeds on which the method is better (greater, where neither way is better).
        ties: seeds on which both are equal.
        probability: of improvement, a tie counted half.
    """

    scores: Scores
    method: str
    control: str
    pairs: int
    difference: float
    interval: Optional[Interval]
    p: Optional[float]
    ahead: int
    ties: int
    probability: float
    probability_interval: Optional[Interval]


def summarise(scores: Scores, control: str, best_of: Sequence[int]) -> list[Summary]:
    """One summary a method."""
    plain = scores.methods.get(control, [])
    return [
        _summary(scores, method, runs, plain, best_of) for method, runs in scores.methods.items()
    ]


def _summary(
    scores: Scores, method: str, runs: list[Score], plain: list[Score], best_of: Sequence[int]
) -> Summary:
    values = [run.value for run in runs if run.value is not None]
    seconds, mib = _median([r.seconds for r in runs]), _median([r.mib for r in runs])
    return Summary(
        scores=scores,
        method=method,
        n=len(runs),
        values=len(values),
        mean=statistics.fmean(values) if values else None,
        mean_interval=maths.interval(values, np.mean),
        sd=statistics.stdev(values) if len(values) > 1 else None,
        median=_median(values),
        median_interval=maths.interval(values, np.median),
        minimum=min(values, default=None),
        maximum=max(values, default=None),
        failed=sum(run.failed for run in runs),
        best_of={k: _best(values, k, scores.direction) for k in best_of},
        seconds=seconds,
        seconds_ratio=_ratio(seconds, _median([run.seconds for run in plain])),
        mib=mib,
        mib_ratio=_ratio(mib, _median([run.mib for run in plain])),
    )


def _best(values: list[float], k: int, direction: int) -> Optional[float]:
    """The best is the least where lower is better; nothing is best where neither is."""
    if direction == 0:
        return None
    found = maths.expected_best([direction * value for value in values], k)
    return None if found is None else direction * found


def _median(values: Sequence[Optional[float]]) -> Optional[float]:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _ratio(value: Optional[float], other: Optional[float]) -> Optional[float]:
    return value / other if value is not None and other else None


def compare(scores: Scores, control: str) -> list[Comparison]:
    """One comparison a method that shares a seed with the control."""
    plain = _by_seed(scores.methods.get(control, []))
    found = []
    for method, runs in scores.methods.items():
        mine = _by_seed(runs)
        shared = [seed for seed in mine if seed in plain]
        if method != control and shared:
            first, second = [mine[s] for s in shared], [plain[s] for s in shared]
            found.append(_comparison(scores, method, control, first, second))
    return found


def _by_seed(runs: list[Score]) -> dict[object, float]:
    return {run.seed: run.value for run in runs if run.value is not None}


def _comparison(
    scores: Scores, method: str, control: str, first: list[float], second: list[float]
) -> Comparison:
    sign = scores.direction or 1
    better, worse = [sign * value for value in first], [sign * value for value in second]
    return Comparison(
        scores=scores,
        method=method,
        control=control,
        pairs=len(first),
        difference=statistics.fmean(a - b for a, b in zip(first, second, strict=True)),
        interval=maths.difference_interval(first, second),
        p=maths.paired_p(first, second),
        ahead=sum(a > b for a, b in zip(better, worse, strict=True)),
        ties=sum(a == b for a, b in zip(better, worse, strict=True)),
        probability=maths.probability_of_improvement(better, worse),
        probability_interval=maths.probability_interval(better, worse),
    )
