"""The work behind `rxf report`: flags checked, everything read, shown and written."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rxf.errors import UserError
from rxf.lab.report import FORMATS, tables
from rxf.lab.report.contents import Choices, Report, build
from rxf.lab.report.files import write
from rxf.lab.report.records import find

__all__ = ["listed", "report", "show"]


def report(args: argparse.Namespace) -> int:
    """See the module's text; returns the exit status.

    Raises:
        UserError: a flag or a folder is not as it should be.
    """
    formats = _formats(args.format)
    best_of = tuple(_whole(word) for word in args.best_of.split(","))
    choices = Choices(args.control or "plain", args.value, best_of)
    found = find(args.folders)
    built = build(_title(args.folders), found, choices)
    if args.control is not None:
        _check_control(built)
    show(built)
    out = args.out or args.folders[0] / "report"
    print(f"\nIn {out}: " + ", ".join(listed(write(built, out, formats), out)))
    return 0


def _formats(text: str) -> list[str]:
    chosen = [word.strip() for word in text.split(",")]
    unknown = [word for word in chosen if word not in FORMATS]
    if unknown:
        raise UserError(f"--format {unknown[0]}: unknown; choose among {','.join(FORMATS)}")
    return [name for name in FORMATS if name in chosen]


def _whole(word: str) -> int:
    try:
        number = int(word)
    except ValueError:
        number = 0
    if number < 1:
        raise UserError(f"--best-of {word}: must be a whole number from 1 on, or several: 2,5,10")
    return number


def _title(folders: Sequence[Path]) -> str:
    return "Report on " + ", ".join(folder.resolve().name for folder in folders)


def _check_control(built: Report) -> None:
    methods = dict.fromkeys(method for group in built.scores for method in group.methods)
    if built.choices.control not in methods:
        raise UserError(
            f"--control {built.choices.control}: no run is of it; there are {', '.join(methods)}"
        )


def show(built: Report) -> None:
    """Tables and notes in the terminal, warnings first."""
    for warning in built.found.warnings:
        print(f"rxf report: warning: {warning}", file=sys.stderr)
    for table in (table for section in built.sections for table in section.tables):
        print(f"\n{tables.terminal(table)}")
    print("\n" + "\n".join(f"* {note}" for note in [*built.cautions, *built.notes]))
    if any(section.details for section in built.sections):
        print("The tables by layer and component are in the files.")


def listed(written: Sequence[Path], out: Path) -> list[str]:
    """The files by their names in ``out``, the pictures by their folder alone."""
    names = [path.relative_to(out) for path in written]
    pictures = dict.fromkeys(f"{name.parent}/" for name in names if name.suffix == ".png")
    return [str(name) for name in names if name.suffix != ".png"] + list(pictures)
