"""How the figures are to be read: what they are of, and what they do not say."""

from collections.abc import Sequence

from rxf.lab.report.scores import RUN, Scores
from rxf.lab.report.statistics import smallest_p
from rxf.lab.report.summary import Comparison, Summary

__all__ = ["caution", "notes"]

# Below this the intervals are too narrow by more than a few percent: README.md, measured.
ENOUGH = 10


def notes(
    scores: Sequence[Scores],
    summaries: Sequence[Summary],
    comparisons: Sequence[Comparison],
    control: str,
    value: str,
) -> list[str]:
    """One sentence or two a note."""
    runs = [group for group in scores if group.kind == RUN]
    return [
        *(_runs(runs, value) if runs else []),
        *_baselines(runs),
        *_missing(summaries),
        *_figures(bool(runs)),
        *_comparisons(comparisons, control),
        *_probes(scores, control),
    ]


def caution(summaries: Sequence[Summary]) -> list[str]:
    """What so few seeds do not allow to be said; nothing where there are many."""
    # The pre-trained model is one and the same: it has no seeds.
    seeds = [s.n for s in summaries if len(s.scores.methods) == 1 or s.method != "pretrained"]
    least = min(seeds, default=0)
    whose = "of some methods" if len(set(seeds)) > 1 else "a method"
    if least < 2:
        return [
            f"{least} seed {whose}: no deviation and no interval can be given for them, "
            "and nothing be said of differences."
        ]
    if least < ENOUGH:
        return [
            f"{least} seeds {whose}: too few to rank methods by. Intervals from so few "
            "runs are too narrow: from 5 runs of a normal distribution, what should hold the true "
            "mean 95 times in 100 holds it about 85 times."
        ]
    return []


def _runs(runs: Sequence[Scores], value: str) -> list[str]:
    named = ", ".join(dict.fromkeys(f"{group.item}: {group.metric}" for group in runs))
    if value == "best":
        return [
            f"A run's score is the best of its validations, a maximum and not the last ({named}): "
            "chosen on the rows it is scored on, so a little too good, for every method alike. "
            "rxf report --value last takes the last.",
        ]
    return [f"A run's score is that of its last validation ({named})."]


def _baselines(runs: Sequence[Scores]) -> list[str]:
    known = [f"{g.item} {g.baseline:.1f}" for g in runs if g.baseline is not None]
    unknown = [group.item for group in runs if group.baseline is None]
    told = []
    if known:
        told.append(
            "Failed: stopped with an error, or its best validation not above the majority baseline "
            f"({', '.join(known)})."
        )
    if unknown:
        told.append(
            f"No one majority baseline is known of {', '.join(unknown)}: a run is judged by the "
            "baseline of its own record, and where that has none only an error counts as failed."
        )
    return told


def _missing(summaries: Sequence[Summary]) -> list[str]:
    told = [
        f"{s.n - s.values} of {s.n} of {s.method} on {s.scores.item}"
        for s in summaries
        if s.values < s.n
    ]
    if not told:
        return []
    return [
        f"Without any score: {'; '.join(told)}. They count in n and among the failed, and in no "
        "other figure, which are so much too good."
    ]


def _figures(has_runs: bool) -> list[str]:
    best = (
        " Best of k: the expected best of k runs (mean over all choices of k of the n runs, "
        "without replacement). Max of n: the best of all n runs; it grows with n and compares "
        "only methods of equal n."
        if has_runs
        else ""
    )
    return [
        "[95 %]: percentile bootstrap over seeds, of the median, the mean and the mean "
        "difference. It says nothing of other held-out rows, whose choice adds to the doubt." + best
    ]


def _comparisons(comparisons: Sequence[Comparison], control: str) -> list[str]:
    if not comparisons:
        return [f"No method shares a seed with {control}: there is no comparison."]
    pairs = max(c.pairs for c in comparisons)
    told = [
        f"Against {control}: seeds that both have. p: two-sided, changing the signs of the "
        "differences (exact up to 12 seeds); with "
        f"{pairs} {_seeds(pairs)} it cannot be below {smallest_p(pairs):.3g}. "
        f"{len(comparisons)} comparisons, p is not corrected for their number.",
        "P(better): the share of all pairs of a run of the method and one of "
        f"{control} in which the method's is better, a tie counted half; its interval resamples "
        "the runs of either, and [1, 1] means that these few did not overlap, not certainty.",
    ]
    return told


def _seeds(count: int) -> str:
    return "seed" if count == 1 else "seeds"


def _probes(scores: Sequence[Scores], control: str) -> list[str]:
    kinds = dict.fromkeys(group.kind for group in scores)
    told = {
        RUN: "s/update: the median over a run's log, then over runs; other work on the machine "
        "shows in it. MiB: the largest resident memory of the process, Python and torch included; "
        "what is on a GPU is not in it.",
        "generalization": "Generalization: encoder frozen, a linear layer trained on each task "
        "(figure 3 of Aghajanyan et al. 2020, which shows no numbers).",
        "degradation": "Degradation: the source task probed after each further fine-tuning "
        "(figure 4).",
        "retention": "Retention: each task probed in each cycle of fine-tuning (figure 5).",
        "collapse": "Collapse: measures of the representation. P(greater) and differences say "
        f"which way a method differs from {control}, not which is better.",
    }
    low = ["At baseline: probes at or below the majority baseline of what is probed."]
    has_low = any(kind not in (RUN, "collapse") for kind in kinds)
    return [told[kind] for kind in kinds if kind in told] + (low if has_low else [])
