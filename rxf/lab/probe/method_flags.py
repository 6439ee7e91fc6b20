"""The methods of a chain as flags of ``fairseq-train``, checked by its own parser."""

from collections.abc import Sequence
from typing import Any, NoReturn

from fairseq import options

import rxf  # noqa: F401  (registers what the commands name)
from rxf.errors import UserError
from rxf.lab.asked import methods_of, settings_of
from rxf.lab.fine_tuning import spelt_out, train_command
from rxf.methods import registry

__all__ = ["check_command", "method_flags"]


def method_flags(names: str, settings: Sequence[str]) -> dict[str, list[str]]:
    """Method -> its flags of ``fairseq-train``.

    Args:
        names: joined by commas.
        settings: METHOD.NAME=VALUE, each.

    Raises:
        UserError: see :mod:`rxf.lab.asked`.
    """
    methods = methods_of(names)
    own = settings_of(settings, methods)
    flags = {m.name: {**registry.flags(m, "sentences"), **own.get(m.name, {})} for m in methods}
    return {name: spelt_out(values) for name, values in flags.items()}


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
