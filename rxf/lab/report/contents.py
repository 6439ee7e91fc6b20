"""What a report says, before it is put into any form."""

from collections.abc import Sequence
from typing import NamedTuple

from rxf.lab.report.notes import notes
from rxf.lab.report.records import Found
from rxf.lab.report.scores import RUN, Scores, all_scores
from rxf.lab.report.summary import Comparison, Summary, compare, summarise
from rxf.lab.report.tables import Table, comparison_table, cost_table, score_table

__all__ = ["Choices", "Report", "build"]


class Choices(NamedTuple):
    """What can be chosen.

    Attributes:
        control: the method that others are compared with.
        value: ``best`` or ``last`` of a run's validations.
        best_of: the k of "best of k".
    """

    control: str = "plain"
    value: str = "best"
    best_of: tuple[int, ...] = (5,)


class Report(NamedTuple):
    """``tables`` are those to be read, ``details`` those by layer, long and many."""

    title: str
    choices: Choices
    found: Found
    scores: list[Scores]
    summaries: list[Summary]
    comparisons: list[Comparison]
    tables: list[Table]
    details: list[Table]
    notes: list[str]


def build(title: str, found: Found, choices: Choices, more_notes: Sequence[str] = ()) -> Report:
    """Work out everything.

    Args:
        title: of the report.
        found: what it is on.
        choices: see there.
        more_notes: put before the report's own.
    """
    control = choices.control
    scores = all_scores(found, control, choices.value)
    summaries = [s for group in scores for s in summarise(group, control, choices.best_of)]
    comparisons = [c for group in scores for c in compare(group, control)]
    told = notes(scores, summaries, comparisons, control, choices.value)
    kinds = dict.fromkeys(group.kind for group in scores)
    tables = [t for kind in kinds for t in _tables(kind, choices, summaries, comparisons, False)]
    details = [t for kind in kinds for t in _tables(kind, choices, summaries, comparisons, True)]
    return Report(
        title,
        choices,
        found,
        scores,
        summaries,
        comparisons,
        tables,
        details,
        [*more_notes, *told],
    )


def _tables(
    kind: str,
    choices: Choices,
    summaries: Sequence[Summary],
    comparisons: Sequence[Comparison],
    by_layer: bool,
) -> list[Table]:
    """Of one kind: either what is of layers, or all else."""
    mine = [s for s in summaries if _belongs(s.scores, kind, by_layer)]
    pairs = [c for c in comparisons if _belongs(c.scores, kind, by_layer)]
    found = [score_table(kind, mine, choices.best_of)] if mine else []
    found += [comparison_table(kind, choices.control, pairs)] if pairs else []
    found += [cost_table(mine, choices.control)] if mine and kind == RUN else []
    return found


def _belongs(scores: Scores, kind: str, by_layer: bool) -> bool:
    return scores.kind == kind and (scores.facts.get("layer") is not None) == by_layer
