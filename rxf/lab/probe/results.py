"""What a probe leaves: ``probe.json``, and a table in the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from rxf.lab.files import write_json
from rxf.lab.runs import versions

__all__ = ["RESULTS", "mean_table", "text_table", "write_results"]

RESULTS = "probe.json"

Row = dict[str, Any]


def write_results(out: Path, kind: str, settings: Row, rows: Sequence[Row]) -> Path:
    """Write ``probe.json``: kind, settings, versions and rows; its path."""
    content = {"kind": kind, "settings": settings, "versions": versions(), "rows": list(rows)}
    write_json(out / RESULTS, content)
    return out / RESULTS


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns, the first one to the left."""
    table = [list(header), *map(list, rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    table.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in table
    )


def mean_table(
    corner: str, columns: Mapping[str, Mapping[str, Sequence[float]]], names: Sequence[str]
) -> str:
    """A line for each of ``names``, a column for each method: mean and number of values.

    Args:
        corner: heads the first column.
        columns: method -> name of a line -> values over the seeds.
        names: of the lines, in their order.
    """
    rows = [[name, *[_mean(found.get(name)) for found in columns.values()]] for name in names]
    return text_table([corner, *columns], rows)


def _mean(values: Optional[Sequence[float]]) -> str:
    if not values:
        return "-"
    return f"{sum(values) / len(values):.1f} ({len(values)})"
