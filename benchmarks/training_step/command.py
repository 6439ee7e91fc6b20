"""The benchmark's command: measure, say it, draw it, save it."""

import argparse
import shlex
import sys
from collections.abc import Callable
from typing import Any, Optional

import torch

from benchmarks import harness
from benchmarks.training_step import measure, picture, tables, targets
from benchmarks.training_step.asked import MODULE, chosen, effort, growths, parser, settings
from benchmarks.training_step.measure import Measured
from rxf.errors import UserError

__all__ = ["main", "run"]

QUICK_NOTE = (
    "--quick: tiny models and 2 rounds.  It shows that every piece runs; its figures say nothing."
)


def run(args: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure all that is asked for, say it, draw it, and return it for JSON.

    Raises:
        UserError: flags that mean nothing, before anything is measured; a peer that cannot
            train here.
    """
    base, how = settings(args), effort(args)
    growing = growths(args, base)
    wanted = [(setting, chosen(args, setting)) for setting in base]
    _check_outputs(args)
    if args.quick:
        say(QUICK_NOTE)
    blocks: list[Measured] = []
    lines: picture.Growth = {}
    for steps in growing:
        found = [measure.measure(wanted[0][1], setting, how) for setting in steps.settings]
        lines[steps.by] = (steps.values, found)
        say(f"\n{base[0].name()}\n\n{tables.growth(steps.by, steps.values, found)}")
    for setting, who in [] if growing else wanted:
        blocks.append(measure.measure(who, setting, how))
        _say_block(blocks[-1], say)
    if not growing:
        say("\n" + targets.table("gpu" if torch.cuda.is_available() else "cpu", blocks))
    if args.picture:
        picture.draw(args.picture, blocks, lines)
    grown = {
        by: {"values": list(values), "blocks": [one.as_dict() for one in found]}
        for by, (values, found) in lines.items()
    }
    told = {"threads": how.threads, "blocks": [block.as_dict() for block in blocks]}
    return {**told, "growth": grown}


def _say_block(block: Measured, say: Callable[[str], None]) -> None:
    say(f"\n{tables.heading(block)}\n\n{tables.main(block)}")
    shares = tables.parts(block)
    if shares:
        say(f"\nParts of an update, timed in a pass of their own:\n\n{shares}")


def _check_outputs(args: argparse.Namespace) -> None:
    for flag, path in (("--json", args.json), ("--picture", args.picture)):
        if path is not None and path.is_dir():
            raise UserError(f"{flag} {path}: is a folder: give a file")
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)


def main(argv: Optional[list[str]] = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    args = parser().parse_args(words)
    try:
        figures = run(args, lambda text: print(text, flush=True))
        harness.save(args.json, f"python -m {MODULE} {shlex.join(words)}".strip(), figures)
    except UserError as error:
        print(f"training_step: error: {error}", file=sys.stderr)
        return 1
    return 0
