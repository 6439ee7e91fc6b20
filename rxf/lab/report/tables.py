"""Tables: their cells as text, and the same cells for a terminal, Markdown and LaTeX.

One table a kind: the scores of each method, then each method against the control, then
what an update costs.
"""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Optional, Union

from rxf.lab.report.scores import RUN
from rxf.lab.report.statistics import Interval
from rxf.lab.report.summary import Comparison, Summary

__all__ = [
    "Table",
    "comparison_table",
    "cost_table",
    "csv_text",
    "flat",
    "latex",
    "markdown",
    "score_table",
    "terminal",
]

NONE = "-"
LATEX_SPECIAL = {
    **{sign: "\\" + sign for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",
}


# What the last column of scores counts; a measure of the representation has no baseline.
_LOW: dict[str, tuple[str, ...]] = {RUN: ("failed",), "collapse": ()}


class Table(NamedTuple):
    """Cells as text; the first ``words`` columns are words, the others figures."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    words: int = 2


def score_table(kind: str, summaries: Sequence[Summary], best_of: Sequence[int]) -> Table:
    """n, median, mean, deviation, range, expected best of k, failed runs."""
    ks = best_of if kind == RUN else ()
    header = [
        *(_item_name(kind), "method", "n", "median [95 %]", "mean [95 %]", "sd"),
        *("min", "max of n", *(f"best of {k}" for k in ks), *_LOW.get(kind, ("at baseline",))),
    ]
    rows = [_score(s, ks)[: len(header)] for s in summaries]
    return Table(f"{_capital(kind)}: scores", tuple(header), rows)


def _item_name(kind: str) -> str:
    names = {RUN: "task", "generalization": "probed", "collapse": "measure"}
    return names.get(kind, "probed, when")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _score(s: Summary, ks: Sequence[int]) -> tuple[str, ...]:
    digits = _digits(s)
    return (
        *(s.scores.item, s.method, str(s.n)),
        _with_interval(s.median, s.median_interval, digits),
        _with_interval(s.mean, s.mean_interval, digits),
        _number(s.sd, digits + 1),
        _number(s.minimum, digits),
        _number(s.maximum, digits),
        *(_number(s.best_of[k], digits) for k in ks),
        f"{s.failed} of {s.n}" if _can_fail(s) else NONE,
    )


def _can_fail(s: Summary) -> bool:
    """A run can stop with an error; a probe can only be at a baseline that is known."""
    return s.scores.kind == RUN or s.scores.baseline is not None


def comparison_table(kind: str, control: str, comparisons: Sequence[Comparison]) -> Table:
    """Mean difference, p, seeds ahead and probability of improvement."""
    better = "greater" if kind == "collapse" else "better"
    header = (
        *(_item_name(kind), "method", "seeds", f"minus {control} [95 %]", "p"),
        *(f"{better} on", f"P({better}) [95 %]"),
    )
    return Table(
        f"{_capital(kind)}: against {control} over the same seeds",
        header,
        [_comparison(c) for c in comparisons],
    )


def _comparison(c: Comparison) -> tuple[str, ...]:
    digits = _digits(c)
    ties = f", {c.ties} equal" if c.ties else ""
    return (
        *(c.scores.item, c.method, str(c.pairs)),
        _with_interval(c.difference, c.interval, digits + 1, sign="+"),
        _number(c.p, 4),
        f"{c.ahead} of {c.pairs}{ties}",
        _with_interval(c.probability, c.probability_interval, 2),
    )


def cost_table(summaries: Sequence[Summary], control: str) -> Table:
    """Seconds an update and memory, and their ratios to the control."""
    ratio = f"x {control}"
    header = ("task", "method", "s/update", ratio, "MiB", ratio)
    rows: list[tuple[str, ...]] = [
        (
            *(s.scores.item, s.method, _number(s.seconds, 4), _number(s.seconds_ratio, 2)),
            *(_number(s.mib, 0), _number(s.mib_ratio, 2)),
        )
        for s in summaries
    ]
    return Table("Cost of an update", header, rows)


def _digits(figures: Union[Summary, Comparison]) -> int:
    """A percentage wants one digit, a cosine or a ratio of bits three."""
    return 1 if figures.scores.unit == "%" else 3


def _number(value: Optional[float], digits: int, sign: str = "") -> str:
    if value is None:
        return NONE
    text = f"{value:{sign}.{digits}f}"
    # -0.0 for what rounds to nothing would look like a loss.
    return text.replace("-", sign, 1) if float(text) == 0 else text


def _with_interval(
    value: Optional[float], interval: Optional[Interval], digits: int, sign: str = ""
) -> str:
    middle = _number(value, digits, sign)
    if interval is None:
        return middle
    low, high = (_number(end, digits, sign) for end in interval)
    return f"{middle} [{low}, {high}]"


# ------------------------------------------------------------------------ as text


def terminal(table: Table) -> str:
    """Aligned columns below the title; an item is named once, above its methods."""
    rows = [table.header, *_once(table.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.header))]
    lines = ["  ".join(_aligned(row, widths, table.words)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([table.title, *lines])


def _aligned(row: Sequence[str], widths: Sequence[int], words: int) -> list[str]:
    return [
        cell.ljust(width) if column < words else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]


def _once(rows: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    blanked, before = [], None
    for row in rows:
        blanked.append(row if row[0] != before else ("", *row[1:]))
        before = row[0]
    return blanked


def markdown(table: Table) -> str:
    """A GitHub table; a bar in a name does not end its cell."""
    rule = ("---",) * table.words + ("---:",) * (len(table.header) - table.words)
    rows = [table.header, rule, *table.rows]
    lines = ["| " + " | ".join(_escape(cell, {"|": r"\|"}) for cell in row) + " |" for row in rows]
    return "\n".join([f"### {table.title}", "", *lines])


def latex(table: Table) -> str:
    """A table for the package booktabs."""
    columns = "l" * table.words + "r" * (len(table.header) - table.words)
    rows = [_latex_row(row) for row in _once(table.rows)]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\small",
            rf"\caption{{{_escape(table.title, LATEX_SPECIAL)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            *(r"\toprule", _latex_row(table.header), r"\midrule", *rows, r"\bottomrule"),
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _latex_row(row: Sequence[str]) -> str:
    return " & ".join(_escape(cell, LATEX_SPECIAL) for cell in row) + r" \\"


def _escape(text: str, special: dict[str, str]) -> str:
    """Letter by letter, so that what an escape brings in is not escaped again."""
    return "".join(special.get(letter, letter) for letter in text)


# ---------------------------------------------------------------------------- CSV


def flat(figures: Union[Summary, Comparison]) -> dict[str, Any]:
    """All figures of one line of ``summary.csv``, intervals as two columns."""
    scores, rest = figures.scores, figures._asdict()
    del rest["scores"]
    line: dict[str, Any] = {
        "kind": scores.kind,
        "item": scores.item,
        "metric": scores.metric,
        "baseline": scores.baseline,
    }
    for name, value in rest.items():
        line.update(_FLATTENED.get(name, _as_it_is)(name, value))
    return line


def _as_it_is(name: str, value: Any) -> dict[str, Any]:
    return {name: value}


def _ends(name: str, value: Optional[Interval]) -> dict[str, Any]:
    low, high = value if value is not None else (None, None)
    return {f"{name}_low": low, f"{name}_high": high}


def _by_k(name: str, value: dict[int, Optional[float]]) -> dict[str, Any]:
    return {f"expected_{name}_{k}": best for k, best in value.items()}


_FLATTENED: dict[str, Callable[[str, Any], dict[str, Any]]] = {
    **dict.fromkeys(
        ("interval", "mean_interval", "median_interval", "probability_interval"), _ends
    ),
    "best_of": _by_k,
}


def csv_text(lines: Sequence[dict[str, Any]]) -> str:
    """The lines, under every name that one of them has."""
    names = list(dict.fromkeys(name for line in lines for name in line))
    table = io.StringIO()
    writer = csv.DictWriter(table, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return table.getvalue()
