"""``rxf probe``: what fine-tuning does to a representation.

generalization          a linear layer on other tasks, on a frozen encoder (figure 3)
degradation, retention  the same along a chain of fine-tunings (figures 4 and 5)
collapse                measures that need no probe (rxf.lab.collapse)

encoder       a checkpoint without its heads: read, built, kept
task_data     a prepared task: rows, targets, metric
features      the vectors that a head is given
linear        the linear layer
probing       one checkpoint on tasks; what is kept on disk
results       what is written and printed
chains        fine-tunings one after another, several chains at a time

Each imports only from those above it.
"""

import argparse
import importlib
import logging
import sys
import warnings

__all__ = ["STOPPED", "add_arguments", "parse", "run"]

STOPPED = 130

PROBES = {
    "generalization": ("rxf.lab.probe.generalization", "a linear layer on other tasks (figure 3)"),
    "degradation": ("rxf.lab.probe.degradation", "the source task along a chain (figure 4)"),
    "retention": ("rxf.lab.probe.retention", "the tasks of a cycle, probed in turn (figure 5)"),
    "collapse": ("rxf.lab.collapse", "representations measured without a probe"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    known = parser.add_subparsers(dest="probe", metavar="PROBE", required=True)
    for name, (_, summary) in PROBES.items():
        known.add_parser(name, help=summary, add_help=False)


def parse(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    """The arguments of one probe; in ``flags`` what follows a ``--``, for fairseq-train."""
    ours, flags = _split(words)
    name = parser.parse_known_args(ours)[0].probe
    module, summary = PROBES[name]
    own = argparse.ArgumentParser(prog=f"{parser.prog} {name}", description=summary)
    importlib.import_module(module).add_arguments(own)
    args = own.parse_args([word for index, word in enumerate(ours) if index != ours.index(name)])
    if flags and not hasattr(args, "methods"):
        own.error(f"{flags[0]}: nothing is trained here, so nothing can follow --")
    args.probe, args.flags = name, flags
    return args


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in words:
        return words, []
    end = words.index("--")
    return words[:end], words[end + 1 :]


def run(args: argparse.Namespace) -> int:
    """Run the probe; the exit status, 130 where it was interrupted."""
    logging.getLogger("fairseq").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="hydra")
    try:
        return int(importlib.import_module(PROBES[args.probe][0]).run(args))
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return STOPPED
