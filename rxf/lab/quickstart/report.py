"""What the runs show: pure functions from records to figures, a table and files.

A run counts as failed if it stopped with an error, or if its best value is at or below
the majority baseline: it has then learned nothing.  A run without any value is in n and
among the failed, and not in median, maximum and standard deviation.
"""

import csv
import io
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

__all__ = ["Summary", "has_failed", "markdown", "summarise", "terminal", "write_files"]

Record = dict[str, Any]

# Logs round: 146 of 277 rows may stand there as 52.708, a little above itself.
ROUNDING = 0.005


class Summary(NamedTuple):
    """One method over its seeds; ``sd`` is the sample's (n - 1), None below two values."""

    method: str
    n: int
    median: Optional[float]
    maximum: Optional[float]
    sd: Optional[float]
    failed: int
    seconds_per_update: Optional[float]


def has_failed(record: Record, baseline: float) -> bool:
    """See the module's text."""
    best = record["best"]
    return record["status"] == "failed" or best is None or best <= baseline + ROUNDING


def summarise(records: Sequence[Record], baseline: float) -> list[Summary]:
    """One summary a method, in the order in which the methods first appear."""
    methods = list(dict.fromkeys(record["method"] for record in records))
    return [
        _summary(method, [r for r in records if r["method"] == method], baseline)
        for method in methods
    ]


def _summary(method: str, records: list[Record], baseline: float) -> Summary:
    values = [r["best"] for r in records if r["best"] is not None and math.isfinite(r["best"])]
    pace = [r["seconds_per_update"] for r in records if r["seconds_per_update"] is not None]
    return Summary(
        method=method,
        n=len(records),
        median=statistics.median(values) if values else None,
        maximum=max(values, default=None),
        sd=statistics.stdev(values) if len(values) > 1 else None,
        failed=sum(has_failed(record, baseline) for record in records),
        seconds_per_update=statistics.median(pace) if pace else None,
    )


_HEADER = ("method", "n", "median", "max", "sd", "failed", "s/update")


def _cells(summary: Summary) -> tuple[str, ...]:
    def number(value: Optional[float], digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    return (
        summary.method,
        str(summary.n),
        number(summary.median, 1),
        number(summary.maximum, 1),
        number(summary.sd, 2),
        f"{summary.failed} of {summary.n}",
        number(summary.seconds_per_update, 3),
    )


def terminal(summaries: Sequence[Summary]) -> str:
    """The table with aligned columns."""
    rows = [_HEADER, *map(_cells, summaries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def markdown(summaries: Sequence[Summary]) -> str:
    rows = [_HEADER, ("---", *["---:"] * (len(_HEADER) - 1)), *map(_cells, summaries)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def notes(metric: str, baseline: float, rows: int) -> list[str]:
    """How the table is to be read; ``rows`` is the size of the valid set."""
    return [
        f"{metric} in percent on {rows} held-out rows, the best of each run's validations: chosen "
        "on the same rows, so a little too good, for every method alike.",
        f"Failed: stopped with an error, or not above the majority baseline of {baseline:.1f}.",
        "s/update: median over the training logs; other work on the machine shows in it.",
    ]


def caution(summaries: Sequence[Summary]) -> str:
    """What so few seeds allow to be said."""
    n = min(summary.n for summary in summaries)
    return (
        f"{n} seed{'' if n == 1 else 's'} a method: too few to rank methods by, and the "
        "difference may be nil. --seeds 20 runs more; finished runs are kept."
    )


def write_files(
    out: Path, records: Sequence[Record], summaries: Sequence[Summary], facts: Record, text: str
) -> list[Path]:
    """results.json (everything), results.csv (a line a run) and results.md; their paths."""
    everything = {**facts, "summary": [s._asdict() for s in summaries], "runs": list(records)}
    contents = {
        "results.json": json.dumps(everything, indent=1),
        "results.csv": _csv(records, facts["baseline"]),
        "results.md": f"{markdown(summaries)}\n\n{text}\n",
    }
    for name, content in contents.items():
        (out / name).write_text(content)
    return [out / name for name in contents]


_COLUMNS = (
    *("task", "method", "seed", "metric", "best", "last", "failed", "seconds_per_update"),
    *("wall_seconds", "status", "error"),
)


def _csv(records: Sequence[Record], baseline: float) -> str:
    table = io.StringIO()
    writer = csv.DictWriter(table, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow({**record, "failed": has_failed(record, baseline)})
    return table.getvalue()
