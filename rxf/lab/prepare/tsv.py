"""Literal TSV files, as GLUE ships them: a tab always separates and a quote is just a letter.

Python's csv module is not used: its only part in this would be to split at tabs, and it
refuses the lone carriage returns that web text contains.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from rxf.errors import UserError
from rxf.lab.prepare.lines import read_lines

__all__ = ["Table", "TsvRow", "drop_limit_check", "read_table"]

# Official files have a few broken lines in hundreds of thousands.  More than that
# means that the file is not what it is taken for.
DROP_LIMIT = 0.01


@dataclass(frozen=True)
class TsvRow:
    """The wanted columns of one line; ``line`` counts from 1, the header included."""

    line: int
    values: tuple[str, ...]


@dataclass
class Table:
    """The rows of one file.

    Attributes:
        path: the file.
        found: number of rows in the file, broken ones included.
        rows: the rows kept.
        dropped: why each of the others was left out, as ``FILE:LINE: REASON``.
    """

    path: Path
    found: int
    rows: list[TsvRow] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    def at(self, line: int) -> str:
        """Where a line is, in the form that editors and terminals can jump to."""
        return f"{self.path}:{line}"


def read_table(path: Path, wanted: Sequence[str], headerless: Sequence[str] = ()) -> Table:
    """Read the ``wanted`` columns; rows with a wrong number of fields go to ``dropped``.

    Args:
        headerless: names of all the file's columns, if it has no header line.
    """
    lines = _read_rows(path)
    columns = list(headerless) or lines[0].split("\t")
    places = _find_columns(path, columns, wanted)
    first = 0 if headerless else 1
    table = Table(path, found=len(lines) - first)
    for number, line in enumerate(lines[first:], start=first + 1):
        fields = line.split("\t")
        if len(fields) == len(columns):
            table.rows.append(TsvRow(number, tuple(fields[place].strip() for place in places)))
        else:
            reason = f"{len(fields)} tab-separated fields where {len(columns)} are due"
            table.dropped.append(f"{table.at(number)}: {reason}")
    if not table.found:
        raise UserError(f"{path}: has a header and no rows: get the official file again")
    return table


def drop_limit_check(table: Table, limit: float = DROP_LIMIT) -> None:
    """Raise if more than ``limit`` of the table's rows were dropped."""
    dropped = len(table.dropped)
    if dropped > limit * table.found:
        raise UserError(
            f"{table.dropped[0]} ({dropped} of {table.found} rows are broken; at most "
            f"{100 * limit:g} % may be): mend the rows or get the official file again"
        )


def _read_rows(path: Path) -> list[str]:
    """All lines but the blank ones at the end."""
    lines = list(read_lines(path))
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise UserError(f"{path}: is empty: get the official file again")
    return lines


def _find_columns(path: Path, columns: Sequence[str], wanted: Iterable[str]) -> list[int]:
    places: list[Optional[int]] = [
        columns.index(name) if name in columns else None for name in wanted
    ]
    missing = [name for name, place in zip(wanted, places, strict=True) if place is None]
    if missing:
        raise UserError(
            f"{path}:1: no column {missing[0]!r} in the header {_short(' | '.join(columns))!r}: "
            "the official file names its columns in its first line"
        )
    return [place for place in places if place is not None]


def _short(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
