"""What a report says, before it is put into any form."""

from collections.abc import Sequence
from typing import NamedTuple

from rxf.lab.report.notes import caution, notes
from rxf.lab.report.records import Found
from rxf.lab.report.scores import RUN, Scores, all_scores
from rxf.lab.report.summary import Comparison, Summary, compare, summarise
from rxf.lab.report.tables import Table, comparison_table, cost_table, score_table

__all__ = ["Choices", "Report", "Section", "build"]


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


class Section(NamedTuple):
    """One kind; ``tables`` are those to be read, ``details`` those of parts of a model."""

    kind: str
    tables: list[Table]
    details: list[Table]


class Report(NamedTuple):
    """``cautions`` are to be read first, ``notes`` tell what the figures are."""

    title: str
    choices: Choices
    found: Found
    scores: list[Scores]
    summaries: list[Summary]
    comparisons: list[Comparison]
    sections: list[Section]
    cautions: list[str]
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
    sections = [
        Section(
            kind,
            _tables(kind, choices, summaries, comparisons, parts=False),
            _tables(kind, choices, summaries, comparisons, parts=True),
        )
        for kind in kinds
    ]
    return Report(
        title,
        choices,
        found,
        scores,
        summaries,
        comparisons,
        sections,
        caution(summaries),
        [*more_notes, *told],
    )


def _tables(
    kind: str,
    choices: Choices,
    summaries: Sequence[Summary],
    comparisons: Sequence[Comparison],
    parts: bool,
) -> list[Table]:
    """Of one kind: either what is of parts of a model, or what is of the whole."""
    mine = [s for s in summaries if s.scores.kind == kind and s.scores.is_part == parts]
    pairs = [c for c in comparisons if c.scores.kind == kind and c.scores.is_part == parts]
    found = [score_table(kind, mine, choices.best_of)] if mine else []
    found += [comparison_table(kind, choices.control, pairs)] if pairs else []
    found += [cost_table(mine, choices.control)] if mine and kind == RUN else []
    return found
