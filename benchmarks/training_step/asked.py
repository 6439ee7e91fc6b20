"""What the command line asks for: flags, and what they come to."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch

from benchmarks.training_step import peers
from benchmarks.training_step.measure import Effort
from benchmarks.training_step.setting import GROWTHS, MODELS, PRECISIONS, Setting, grown
from rxf.errors import UserError

__all__ = ["MODULE", "Steps", "chosen", "effort", "growths", "parser", "settings"]

MODULE = "benchmarks.training_step"
# On a CPU some layers stand for all: they cost what they cost, and there is time for rounds.
CPU_LAYERS = {"roberta_base": 4, "bart_base": 2}
QUICK = {"layers": 1, "width": 64, "vocabulary": 1000, "batch": 4, "lengths": "16"}
QUICK_VALUES = {"batch": (2, 4), "length": (8, 16), "vocabulary": (500, 1000), "size": (1, 2)}


class Parser(argparse.ArgumentParser):
    """One line for a wrong flag, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"training_step: error: {message}\n")


class Steps(NamedTuple):
    """One workload at several values of one thing."""

    by: str
    values: Sequence[int]
    settings: list[Setting]


def parser() -> Parser:
    made = Parser(
        prog=f"python -m {MODULE}",
        description="One update through fairseq's trainer, peers side by side.",
    )
    _add_workload(made)
    _add_effort(made)
    out = made.add_argument_group("output")
    out.add_argument("--json", type=Path, metavar="FILE", help="every round, and the machine")
    out.add_argument("--picture", type=Path, metavar="FILE", help="bars and lines (matplotlib)")
    return made


def _add_workload(made: Parser) -> None:
    group = made.add_argument_group("workload")
    group.add_argument(
        "--model",
        metavar="A[,B]",
        help=f"from {', '.join(MODELS)} (default: roberta_base,bart_base; large on a GPU)",
    )
    group.add_argument(
        "--layers",
        type=_positive,
        help="default: all; on a CPU 4 of RoBERTa-base, 2+2 of BART-base",
    )
    group.add_argument("--width", type=_positive, help="of an embedding; heads have 64")
    group.add_argument("--vocabulary", type=_positive, help="default: 50265")
    group.add_argument("--batch", type=_positive, help="rows (default: 8 without --max-tokens)")
    group.add_argument("--max-tokens", type=_positive, help="default: 2048 with --lengths cnndm")
    group.add_argument(
        "--lengths",
        help="rte or sst2 (measured), cnndm (limits), N, or SOURCE:TARGET; default: 128 and "
        "128:64, on a GPU rte and cnndm",
    )
    group.add_argument(
        "--precision",
        metavar="A[,B]",
        help=f"from {', '.join(PRECISIONS)} (default: fp32; fp16 on a GPU)",
    )
    group.add_argument(
        "--grow",
        metavar="A[,B]",
        help=f"in place of one workload, several: from {', '.join(GROWTHS)}",
    )
    group.add_argument("--values", metavar="N,N", help="that --grow takes, of one thing only")


def _add_effort(made: Parser) -> None:
    group = made.add_argument_group("peers and effort")
    group.add_argument(
        "--peers",
        metavar="A[,B]",
        help="all, or keys; the first is what the others are compared with",
    )
    group.add_argument(
        "--also",
        action="append",
        default=[],
        metavar='"TITLE: [NAME=VALUE ...] [FLAGS ...]"',
        help="another peer: R3F packed with these variables and flags",
    )
    group.add_argument("--rounds", type=_positive, help="default: 7")
    group.add_argument("--warm-up", type=_count, help="turns before them (default: 2)")
    group.add_argument(
        "--batches",
        type=_positive,
        help="distinct batches, and updates in a "
        "turn (default: 1 of a fixed length on a CPU, else 8)",
    )
    group.add_argument("--at-once", type=_positive, help="processes that live together")
    group.add_argument("--threads", type=_positive, help="default: all processors")
    group.add_argument("--no-memory", action="store_true")
    group.add_argument("--no-parts", action="store_true")
    group.add_argument("--quick", action="store_true", help="tiny, to see that it runs")


def _positive(text: str) -> int:
    return _whole(text, 1)


def _count(text: str) -> int:
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    if not text.isdigit() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text}: a whole number of {least} or more")
    return int(text)


# ------------------------------------------------------------------------ settings


def settings(args: argparse.Namespace) -> list[Setting]:
    """A setting for each model and precision.

    Raises:
        UserError: a flag that does not suit the others, or this machine.
    """
    gpu = torch.cuda.is_available()
    size = "large" if gpu else "base"
    names = _listed("--model", args.model or f"roberta_{size},bart_{size}", MODELS)
    precisions = _listed("--precision", args.precision or ("fp16" if gpu else "fp32"), PRECISIONS)
    for precision in precisions:
        if precision in ("fp16", "amp") and not gpu:
            raise UserError(f"--precision {precision}: needs a GPU; a CPU trains fp32 and bf16")
    found = [_setting(args, name, precision) for name in names for precision in precisions]
    for setting in found:
        _checked(setting)
    return found


def _listed(flag: str, text: str, known: Any) -> list[str]:
    words = list(dict.fromkeys(text.split(",")))
    for word in words:
        if word not in known:
            raise UserError(f"{flag} {word}: unknown; choose from {', '.join(known)}")
    return words


def _setting(args: argparse.Namespace, name: str, precision: str) -> Setting:
    gpu = torch.cuda.is_available()
    model = MODELS[name]
    quick = QUICK if args.quick else {}

    def asked(flag: str, default: Any) -> Any:
        given = getattr(args, flag)
        return given if given is not None else quick.get(flag, default)

    numbers = "128:64" if model.pairs else "128"
    lengths = asked("lengths", ("cnndm" if model.pairs else "rte") if gpu else numbers)
    if model.pairs and lengths.isdigit():
        lengths = f"{lengths}:{max(int(lengths) // 2, 3)}"
    limit = args.max_tokens or (2048 if lengths == "cnndm" and not args.batch else None)
    several = gpu or lengths in ("rte", "sst2", "cnndm")
    return Setting(
        model=name,
        layers=asked("layers", model.layers if gpu else CPU_LAYERS.get(name, model.layers)),
        width=asked("width", model.width),
        vocabulary=asked("vocabulary", 50_265),
        batch=args.batch if limit else asked("batch", 8),
        lengths=lengths,
        max_tokens=limit,
        precision=precision,
        batches=args.batches or (8 if several and not args.quick else 1),
    )


def _checked(setting: Setting) -> Setting:
    try:
        setting.check()
    except ValueError as error:
        told = str(error)
        if not told.startswith("--"):
            told = f"--lengths {told} (for {setting.model})"
        raise UserError(told) from None
    if setting.width % 64 and setting.width > 64:
        raise UserError(f"--width {setting.width}: a multiple of 64, the width of a head")
    if setting.vocabulary < 10:
        raise UserError(f"--vocabulary {setting.vocabulary}: 10 or more")
    return setting


def effort(args: argparse.Namespace) -> Effort:
    """How much is to be measured.

    Raises:
        UserError: ``--at-once`` leaves no room for two.
    """
    if args.at_once == 1:
        raise UserError("--at-once 1: each peer takes turns with the first: 2 or more")
    return Effort(
        rounds=args.rounds or (2 if args.quick else 7),
        warm_up=args.warm_up if args.warm_up is not None else (1 if args.quick else 2),
        at_once=args.at_once,
        memory=not args.no_memory,
        parts=not args.no_parts and not args.grow,
        threads=args.threads or len(os.sched_getaffinity(0)),
    )


def chosen(args: argparse.Namespace, setting: Setting) -> list[peers.Peer]:
    """The peers of this setting.

    Raises:
        UserError: a name that nobody has, or two have.
    """
    default = peers.GROWTH if args.grow else peers.QUICK if args.quick else peers.MAIN
    found = peers.chosen(args.peers, setting.pairs, default)
    found += [peers.additional(text, setting.pairs) for text in args.also]
    titles = [peer.title for peer in found]
    for title in titles:
        if titles.count(title) > 1:
            raise UserError(f"--also {title}: another peer has this title")
    return found


def growths(args: argparse.Namespace, base: Sequence[Setting]) -> list[Steps]:
    """What ``--grow`` asks for.

    Raises:
        UserError: more than one workload to begin with, or values that mean nothing.
    """
    if not args.grow:
        if args.values:
            raise UserError("--values: says what --grow takes: give that too")
        return []
    if len(base) > 1:
        raise UserError("--grow: give one --model and one --precision")
    found = []
    for by in _listed("--grow", args.grow, GROWTHS):
        values = _values(args, by)
        steps = [_checked(grown(base[0], by, value)) for value in values]
        found.append(Steps(by, values, steps))
    return found


def _values(args: argparse.Namespace, by: str) -> Sequence[int]:
    if args.values is None:
        return QUICK_VALUES[by] if args.quick else GROWTHS[by][torch.cuda.is_available()]
    if "," in args.grow:
        raise UserError("--values: are of one thing: give --grow only one")
    try:
        return [_positive(word) for word in args.values.split(",")]
    except argparse.ArgumentTypeError as error:
        raise UserError(f"--values {error}") from None
