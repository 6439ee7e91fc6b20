"""The `rxf` command.  Each subcommand lives beside its code and is imported when called."""

import argparse
import importlib
import os
import sys
from typing import NamedTuple, Optional

from rxf.errors import install_excepthook

__all__ = ["main"]

# As a shell has it of a program that SIGPIPE ended.
BROKEN_PIPE = 141


class Subcommand(NamedTuple):
    """``module`` holds ``add_arguments(parser)`` and ``run(args) -> exit status``.

    One that hands flags on to fairseq also holds ``parse(parser, words) -> args``.
    """

    name: str
    module: str
    help: str


SUBCOMMANDS = [
    Subcommand("doctor", "rxf.lab.doctor", "versions, fixes, and proof that the noise arrives"),
    Subcommand("methods", "rxf.lab.methods", "the methods: what turns each on, what it costs"),
    Subcommand("prepare", "rxf.lab.prepare", "official data files to fairseq's binary form"),
    Subcommand("rouge", "rxf.lab.rouge", "ROUGE-1/2/L of summaries, as the papers report them"),
    Subcommand("bleu", "rxf.lab.bleu", "BLEU and chrF of translations, with their signatures"),
    Subcommand("generate", "rxf.lab.generate", "a checkpoint's hypotheses for a split, as text"),
    Subcommand("evaluate", "rxf.lab.evaluate", "scores and predictions of a sentence checkpoint"),
    Subcommand("report", "rxf.lab.report", "tables, pictures and a page from runs and probes"),
    Subcommand("sweep", "rxf.lab.sweep", "methods x tasks x seeds, as a Hydra multirun"),
    Subcommand("probe", "rxf.lab.probe", "what fine-tuning does to a representation"),
    Subcommand("convert", "rxf.lab.convert", "checkpoints from and to Hugging Face transformers"),
    Subcommand("path", "rxf.lab.path", "the folder to give to --user-dir"),
]


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rxf", description="Stable fine-tuning with fairseq.")
    known = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", required=True)
    for subcommand in SUBCOMMANDS:
        known.add_parser(subcommand.name, help=subcommand.help, add_help=False)
    return parser


def main(argv: Optional[list[str]] = None) -> int:
    """Run one subcommand; returns its exit status."""
    install_excepthook()
    chosen, rest = build_parser().parse_known_args(argv)
    entry = next(s for s in SUBCOMMANDS if s.name == chosen.subcommand)
    module = importlib.import_module(entry.module)
    parser = argparse.ArgumentParser(prog=f"rxf {entry.name}", description=entry.help)
    module.add_arguments(parser)
    parse = getattr(module, "parse", argparse.ArgumentParser.parse_args)
    try:
        status = int(module.run(parse(parser, rest)))
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads has seen enough (`rxf methods | head`).  Python flushes once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return status
