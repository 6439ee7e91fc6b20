"""`rxf report`: what runs and probes show, in a terminal, in files and on one page."""

import argparse
from pathlib import Path

__all__ = ["FORMATS", "add_arguments", "run"]

FORMATS = ("csv", "json", "md", "tex", "png", "html")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="every run.json and probe.json below it is read",
    )
    parser.add_argument("--out", type=Path, help="folder of the report (report/ in the first DIR)")
    parser.add_argument(
        "--format",
        default=",".join(FORMATS),
        metavar="LIST",
        help=f"some of {','.join(FORMATS)} (all)",
    )
    parser.add_argument("--control", help="the method that others are compared with (plain)")
    parser.add_argument(
        "--value", choices=("best", "last"), default="best", help="of a run's validations (best)"
    )
    parser.add_argument(
        "--best-of",
        default="5",
        metavar="K",
        help="expected best of K runs, or of several: 2,5,10 (5)",
    )


def run(args: argparse.Namespace) -> int:
    """Read, report, write; returns the exit status."""
    # numpy and scipy are slow to import, and `rxf report --help` needs neither.
    from rxf.lab.report.command import report

    return report(args)
