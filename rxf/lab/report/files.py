"""The files of a report."""

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rxf.errors import UserError
from rxf.lab.files import written
from rxf.lab.report import tables
from rxf.lab.report.contents import Report
from rxf.lab.report.records import Record
from rxf.lab.report.scores import has_failed
from rxf.lab.runs import versions

if TYPE_CHECKING:
    from rxf.lab.report.pictures import Picture

__all__ = ["write"]

NO_MATPLOTLIB = "matplotlib is not installed, so there are no pictures: pip install 'rxf[plots]'"
PICTURES = "pictures"
_RUN_COLUMNS = (
    *("task", "method", "seed", "metric", "maximize", "best", "last", "baseline", "failed"),
    *("status", "error", "updates", "seconds_per_update", "wall_seconds", "cpu_seconds"),
    *("peak_mib", "ended", "folder"),
)
_Album = dict[str, list["Picture"]]


def write(report: Report, out: Path, formats: Sequence[str]) -> list[Path]:
    """Write the report into ``out`` in some formats; returns the paths of its files.

    Without matplotlib, which is an extra of rxf's, there are no pictures, and a line says so.

    Raises:
        UserError: ``out`` cannot be written to.
    """
    album = _album(report) if {"png", "html"} & set(formats) else {}
    contents: dict[str, bytes] = {}
    for name in formats:
        contents.update(_WRITERS[name](report, album, formats))
    try:
        for name, content in contents.items():
            _replace(out / name, content)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written to ({error.strerror})") from None
    return [out / name for name in contents]


def _can_draw() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def _album(report: Report) -> _Album:
    if not _can_draw():
        print(f"rxf report: warning: {NO_MATPLOTLIB}", file=sys.stderr)
        return {}
    from rxf.lab.report.pictures import album

    return album(report.scores, report.summaries, report.choices.control, report.choices.value)


def _replace(path: Path, content: bytes) -> None:
    """At once, so that who has the old file open never sees half of a new one."""
    with written(path) as aside:
        aside.write_bytes(content)


def _csv(report: Report, album: _Album, formats: Sequence[str]) -> dict[str, bytes]:
    """A line a run, a line a probe row, a line a method: what other programs read."""
    texts = {
        "results.csv": [_run_line(record) for record in report.found.runs],
        "probes.csv": [
            {"kind": kind, **row} for kind, rows in report.found.rows.items() for row in rows
        ],
        "summary.csv": [tables.flat(summary) for summary in report.summaries],
        "comparisons.csv": [tables.flat(comparison) for comparison in report.comparisons],
    }
    return {name: tables.csv_text(lines).encode() for name, lines in texts.items() if lines}


def _run_line(record: Record) -> Record:
    line = {**record, "failed": has_failed(record)}
    return {name: line.get(name) for name in _RUN_COLUMNS}


def _json(report: Report, album: _Album, formats: Sequence[str]) -> dict[str, bytes]:
    everything = {
        "title": report.title,
        **report.choices._asdict(),
        "versions": versions(),
        "cautions": report.cautions,
        "notes": report.notes,
        "warnings": report.found.warnings,
        "summary": [tables.flat(summary) for summary in report.summaries],
        "comparisons": [tables.flat(comparison) for comparison in report.comparisons],
        "runs": report.found.runs,
        "probes": report.found.rows,
    }
    return {"results.json": json.dumps(everything, indent=1).encode()}


def _markdown(report: Report, album: _Album, formats: Sequence[str]) -> dict[str, bytes]:
    parts = [f"# {report.title}"]
    parts += [_bullets([*report.found.warnings, *report.cautions])]
    for section in report.sections:
        drawn = album.get(section.kind, []) if "png" in formats else []
        parts += [tables.markdown(table) for table in section.tables]
        parts += [f"![{_alt(p.alt)}]({PICTURES}/{p.name}.png)" for p in drawn]
        parts += [tables.markdown(table) for table in section.details]
    parts += [_bullets(report.notes)]
    return {"results.md": ("\n\n".join(filter(None, parts)) + "\n").encode()}


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"* {line}" for line in lines)


def _alt(text: str) -> str:
    return text.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")


def _latex(report: Report, album: _Album, formats: Sequence[str]) -> dict[str, bytes]:
    parts = ["% \\usepackage{booktabs}"]
    told = [*report.found.warnings, *report.cautions, *report.notes]
    parts += [f"% {' '.join(line.split())}" for line in told]
    for section in report.sections:
        parts += [tables.latex(table) for table in [*section.tables, *section.details]]
    return {"results.tex": ("\n".join(parts) + "\n").encode()}


def _pictures(report: Report, album: _Album, formats: Sequence[str]) -> dict[str, bytes]:
    drawn = [picture for pictures in album.values() for picture in pictures]
    return {f"{PICTURES}/{picture.name}.png": picture.png for picture in drawn}


def _html(report: Report, album: _Album, formats: Sequence[str]) -> dict[str, bytes]:
    from rxf.lab.report.page import page

    return {"report.html": page(report, album, "" if _can_draw() else NO_MATPLOTLIB).encode()}


_WRITERS = {
    "csv": _csv,
    "json": _json,
    "md": _markdown,
    "tex": _latex,
    "png": _pictures,
    "html": _html,
}
