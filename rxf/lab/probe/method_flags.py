"""The methods of a command, their settings and seeds, all checked before anything runs."""

import re
from collections.abc import Sequence
from typing import Any, NoReturn

from fairseq import options

import rxf  # noqa: F401  (registers what the commands name)
from rxf.errors import UserError
from rxf.lab.fine_tuning import spelt_out, train_command
from rxf.lab.prepared import Prepared
from rxf.methods import registry

__all__ = ["check_command", "check_method", "method_flags", "seeds_of"]

_SETTING = re.compile(r"(?P<method>\w+)\.(?P<flag>[\w-]+)=(?P<value>.+)")
_WORDS = {"true": True, "false": False}


def method_flags(names: str, settings: Sequence[str]) -> dict[str, list[str]]:
    """Method -> its flags of ``fairseq-train``.

    Args:
        names: joined by commas.
        settings: METHOD.FLAG=VALUE, each.

    Raises:
        UserError: an unknown method, one that is a script of its own, or a setting that is
            none or is of no method here.
    """
    values = {name: _flags(name) for name in _listed("--methods", names)}
    for word in settings:
        told = _SETTING.fullmatch(word)
        if told is None:
            raise UserError(f"--set {word}: give METHOD.FLAG=VALUE, as r3f.r3f_lambda=0.1")
        if told["method"] not in values:
            raise UserError(f"--set {word}: {told['method']} is not among --methods {names}")
        flag = told["flag"].replace("-", "_")
        values[told["method"]][flag] = _WORDS.get(told["value"], told["value"])
    return {name: spelt_out(flags) for name, flags in values.items()}


def _listed(flag: str, text: str) -> list[str]:
    found = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not found:
        raise UserError(f"{flag} {text!r}: names nothing")
    return found


def _flags(name: str) -> dict[str, Any]:
    try:
        method = registry.find(name)
    except KeyError:
        known = [m.name for m in (registry.PLAIN, *registry.methods()) if m.sentences is not None]
        raise UserError(f"--methods {name}: unknown; choose among {', '.join(known)}") from None
    if method.sentences is None:
        where = f": it is a script of its own, {method.recipe}" if method.recipe else ""
        raise UserError(f"--methods {name}: no flag of fairseq-train turns it on{where}")
    return registry.flags(method, "sentences")


def seeds_of(text: str) -> list[int]:
    """``1-3,7`` as 1, 2, 3, 7.

    Raises:
        UserError: it is neither numbers nor ranges.
    """
    found: list[int] = []
    for word in _listed("--seeds", text):
        told = re.fullmatch(r"(\d+)(?:-(\d+))?", word)
        first, last = (int(told[1]), int(told[2] or told[1])) if told else (1, 0)
        if last < first:
            raise UserError(f"--seeds {text}: give numbers and ranges, as 1-3 or 1,2,7")
        found += range(first, last + 1)
    return list(dict.fromkeys(found))


def check_method(name: str, task: Prepared) -> None:
    """Refuse a method for classes where the task is a regression.

    Raises:
        UserError: it is.
    """
    if registry.find(name).classes_only and "--regression-target" in task.flags:
        raise UserError(f"--methods {name}: takes classes only, and {task.name} is a regression")


def check_command(command: Sequence[str]) -> None:
    """Let fairseq's parser read a command of ``fine_tune_command``.

    Raises:
        UserError: a flag that does not exist, or a value that does not fit.
    """
    parser = options.get_training_parser()
    parser.error = _refuse  # type: ignore[method-assign]
    words = list(command[len(train_command()) :])
    args, unknown = options.parse_args_and_arch(parser, input_args=words, parse_known=True)
    if unknown:
        raise UserError(f"{unknown[0]}: no flag of fairseq-train with {_choices(args)}")


def _choices(args: Any) -> str:
    return f"--criterion {args.criterion} --optimizer {args.optimizer} --arch {args.arch}"


def _refuse(message: str) -> NoReturn:
    raise UserError(f"{message} (flags of fairseq-train: after --, or by --set)")
