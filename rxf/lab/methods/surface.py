"""What a user types for a method, read off what it registers with fairseq."""

import argparse
import contextlib
import importlib
import inspect
import io
import sys
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from enum import Enum
from typing import Any, NamedTuple, Optional

from rxf.methods import registry
from rxf.methods.registry import Method

__all__ = [
    "KINDS",
    "Flag",
    "borrowed_from",
    "fairseq_knows",
    "flag_of_field",
    "own_flags",
    "switch",
]

# What a method may be for, and what fairseq-train needs besides to read its flags.
KINDS = {
    "sentences": ["--task", "sentence_prediction", "--arch", "roberta"],
    "generation": ["--task", "translation", "--arch", "transformer"],
}
# Flags that choose a class of fairseq's registries by its name.
CHOICES = ("criterion", "optimizer")


class Flag(NamedTuple):
    """A flag in the command line's spelling.

    Attributes:
        name: ``--eps``.
        default: its value as a user would type it; "off" for one without a value, "none"
            for one that has no value unless it is given.
        help: what ``fairseq-train --help`` says.
    """

    name: str
    default: str
    help: str


def switch(method: Method, kind: str) -> Optional[str]:
    """The flags that turn ``method`` on for a kind of :data:`KINDS`; None where it has it not."""
    values = getattr(method, kind)
    return None if values is None else " ".join(_words(values))


def own_flags(method: Method, kind: str) -> list[Flag]:
    """The flags that ``method`` brings along, in the order in which they are declared.

    These are the fields of what it registers that a class in ``rxf/methods`` declares, or
    gives another default than the class below it, and what it adds to models.

    Args:
        method: one that has the kind.
        kind: of :data:`KINDS`.
    """
    classes = [] if borrowed_from(method, kind) else _config_classes(method, kind)
    of_fields = [flag_of_field(entry) for cls in classes for entry in _declared_here(cls)]
    return of_fields + (_flags_of_models(method) if kind == "sentences" else [])


def borrowed_from(method: Method, kind: str) -> Optional[Method]:
    """The other method whose criterion or optimizer this one is a setting of, if any."""
    for cls in _config_classes(method, kind):
        homes = [m for m in registry.methods() if cls.__module__.startswith(_package(m) + ".")]
        if homes and homes[0] is not method:
            return homes[0]
    return None


def fairseq_knows(method: Method, kind: str) -> bool:
    """Whether fairseq-train would read the method's flags in this process.

    Those of :func:`switch` and of :func:`own_flags` are put to its own parser, and the
    modules that they need must have been imported.
    """
    from fairseq import options

    if not all(f"{_package(method)}.{name}" in sys.modules for name in method.registers):
        return False
    words = ["data", *KINDS[kind], *_words(registry.flags(method, kind))]
    # The parser prints to both and ends the process where it does not know a flag.
    quiet = io.StringIO()
    with contextlib.redirect_stderr(quiet), contextlib.redirect_stdout(quiet):
        try:
            for flag in own_flags(method, kind):
                words += _words_of(flag)
            options.parse_args_and_arch(options.get_training_parser(), words)
        except (SystemExit, LookupError):
            return False
    return True


def _words_of(flag: Flag) -> list[str]:
    if flag.default == "none":
        return []
    return [flag.name] if flag.default == "off" else [flag.name, flag.default]


def _words(values: Any) -> list[str]:
    words = []
    for name, value in values.items():
        words.append(_spelt(name))
        if value is not True:
            words.append(_text(value))
    return words


def _spelt(name: str) -> str:
    return "--" + name.replace("_", "-")


def _package(method: Method) -> str:
    if method is registry.PLAIN:
        return "rxf.methods"
    return f"rxf.methods.{registry.folder(method).name}"


# ------------------------------------------------------------------- dataclass configs


def _config_classes(method: Method, kind: str) -> list[type]:
    """The configs of the criterion and of the optimizer that the method names itself.

    Raises:
        LookupError: fairseq has no criterion or optimizer of that name.
    """
    from fairseq.registry import REGISTRIES

    values = getattr(method, kind)
    return [REGISTRIES[c]["dataclass_registry"][values[c]] for c in CHOICES if c in values]


def _declared_here(config: type) -> Iterator[Field]:
    ours = [cls for cls in config.__mro__ if cls.__module__.startswith("rxf.methods.")]
    names = {name for cls in ours for name in inspect.get_annotations(cls)}
    for entry in fields(config):  # type: ignore[arg-type]
        if entry.name in names:
            yield entry


def flag_of_field(entry: Field) -> Flag:
    """The flag that fairseq makes of a field of a dataclass."""
    factory = entry.default_factory
    default = entry.default if factory is MISSING else factory()
    return Flag(_spelt(entry.name), _default_text(default), entry.metadata.get("help", ""))


def _default_text(value: Any) -> str:
    if value is None:
        return "none"
    return "off" if value is False else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}".replace("e-0", "e-").replace("e+0", "e")
    if isinstance(value, Enum):
        return str(value.value)
    return str(value)


# ----------------------------------------------------------------------- flags of models


def _flags_of_models(method: Method) -> list[Flag]:
    """What the ``add_flags(parser)`` of the method's modules adds to models."""
    parser = argparse.ArgumentParser(add_help=False)
    for name in method.registers:
        module = importlib.import_module(f"{_package(method)}.{name}")
        getattr(module, "add_flags", _no_flags)(parser)
    return [
        Flag(action.option_strings[0], _default_text(action.default), action.help or "")
        for action in parser._actions
    ]


def _no_flags(parser: argparse.ArgumentParser) -> None:
    """Of a module that adds nothing to models."""
