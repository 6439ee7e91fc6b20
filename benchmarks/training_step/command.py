"""The benchmark's command: measure, say it, draw it, save it."""

import argparse
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import torch

from benchmarks import harness
from benchmarks.training_step import measure, picture, tables, targets
from benchmarks.training_step.asked import MODULE, chosen, effort, growths, parser, settings
from benchmarks.training_step.measure import Measured
from rxf.errors import UserError

__all__ = ["Results", "main", "run"]

QUICK_NOTE = (
    "--quick: tiny models and 2 rounds.  It shows that every piece runs; its figures say nothing."
)


@dataclass
class Results:
    """What was measured so far.

    Attributes:
        threads: of each process.
        blocks: the settings that were asked for.
        growth: or, what grew -> its values and the figures at each.
    """

    threads: int
    blocks: list[Measured] = field(default_factory=list)
    growth: picture.Growth = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        grown = {
            by: {"values": list(values), "blocks": [one.as_dict() for one in found]}
            for by, (values, found) in self.growth.items()
        }
        blocks = [block.as_dict() for block in self.blocks]
        return {"threads": self.threads, "blocks": blocks, "growth": grown}


def run(
    args: argparse.Namespace, say: Callable[[str], None], keep: Callable[[Results], None]
) -> None:
    """Measure all that is asked for; each table is said, and all so far kept, when it is there.

    Raises:
        UserError: flags that mean nothing, before anything is measured; a peer that cannot
            train here.
    """
    base, how = settings(args), effort(args)
    growing = growths(args, base)
    wanted = [(setting, chosen(args, setting)) for setting in base]
    _check_outputs(args)
    results = Results(how.threads)
    if args.quick:
        say(QUICK_NOTE)
    for steps in growing:
        found = [measure.measure(wanted[0][1], setting, how) for setting in steps.settings]
        results.growth[steps.by] = (steps.values, found)
        keep(results)
        say(f"\n{base[0].name()}\n\n{tables.growth(steps.by, steps.values, found)}")
    for setting, who in [] if growing else wanted:
        results.blocks.append(measure.measure(who, setting, how))
        keep(results)
        _say_block(results.blocks[-1], say)
    if not growing:
        device = "gpu" if torch.cuda.is_available() else "cpu"
        say("\n" + targets.table(device, results.blocks))


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
            _make_folder(flag, path)
    if args.picture:
        picture.check(args.picture)


def _make_folder(flag: str, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{flag} {path}: {error.strerror}: give another file") from None


def main(argv: Optional[list[str]] = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    args = parser().parse_args(words)
    command = shlex.join(["python", "-m", MODULE, *words])

    def keep(results: Results) -> None:
        harness.save(args.json, command, results.as_dict())
        if args.picture:
            picture.draw(args.picture, results.blocks, results.growth)

    try:
        run(args, lambda text: print(text, flush=True), keep)
    except UserError as error:
        print(f"training_step: error: {error}", file=sys.stderr)
        return 1
    return 0
