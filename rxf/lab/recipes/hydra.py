"""A ``fairseq-train`` command as a config for ``fairseq-hydra-train``.

Task, criterion, optimizer, schedule and model are written out from fairseq's dataclasses and
parsers, since Hydra composes before fairseq imports the plugin: what is not in the file it
takes for a mistake.  Of the other groups only what the command says is written; Hydra itself
knows the rest of them.
"""

import argparse
import ast
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import yaml
from fairseq.dataclass.configs import FairseqConfig
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from fairseq.tasks import TASK_DATACLASS_REGISTRY

from rxf.errors import UserError
from rxf.lab.sweep import groups
from rxf.lab.sweep.groups import CHOSEN, TYPED, Group

__all__ = ["MISSING", "config", "text"]

# What the command line has to give.  Not "???": where fairseq has a default, Hydra takes that
# instead, and training would start from random weights.  This leads nowhere, and says so.
MISSING = "${give_on_the_command_line}"
_PATHS = {
    "common": ["user_dir"],
    "task": ["data"],
    "checkpoint": ["save_dir", "finetune_from_model"],
}
_ORDER = (*TYPED, *CHOSEN, "model")
# A group's _name is a flag of the command.
_FLAG_OF = {**{group: group for group in CHOSEN}, "model": "arch"}


def config(words: Sequence[str]) -> dict[str, Group]:
    """Group -> settings, for the flags of a command.

    Args:
        words: flags and values, without DATA and without paths.

    Raises:
        UserError: no group knows one of the flags, or a choice has no dataclass.
    """
    said = _said(words)
    made: dict[str, Group] = {group: _typed_group(group, said) for group in TYPED}
    for group in CHOSEN:
        own = {**_values(_dataclass(group, said[group]), said), "_name": said[group]}
        made[group] = groups.complete(group, own)
    made["model"] = _model(words, said["arch"])
    _check_all_known(said, made)
    for group, names in _PATHS.items():
        made[group] |= dict.fromkeys(names, MISSING)
    return {group: made[group] for group in _ORDER if made[group]}


def text(made: Mapping[str, Group], header: Sequence[str]) -> str:
    """A config as YAML, under comment lines."""
    dumped = yaml.safe_dump(dict(made), sort_keys=False, width=100)
    return "".join(f"# {line}".rstrip() + "\n" for line in header) + dumped


def _said(words: Sequence[str]) -> dict[str, Any]:
    """Flag in Python's spelling -> the word behind it, or True."""
    said: dict[str, Any] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name = word[2:].replace("-", "_")
            said[name] = True
        else:
            said[name] = word
    return said


def _typed_group(group: str, said: Mapping[str, Any]) -> Group:
    return _values(FairseqConfig.__dataclass_fields__[group].default, said)


def _dataclass(group: str, name: str) -> Any:
    groups.names(group, name)  # refuses what it does not know
    if group == "task":
        return TASK_DATACLASS_REGISTRY[name]
    return groups.REGISTRIES[group]["dataclass_registry"][name]


def _values(dataclass: Any, said: Mapping[str, Any]) -> Group:
    """What was said of a dataclass's fields, in their types.

    A field that is the same field of another group (``${common.seed}``) follows that one.
    """
    found = {}
    for entry in fields(dataclass):
        default = str(entry.default)
        follows = default.startswith("${") and default.endswith(f".{entry.name}}}")
        if entry.name in said and not follows:
            found[entry.name] = _of_type(said[entry.name], str(entry.type))
    return found


def _of_type(word: Any, kind: str) -> Any:
    if word is True:
        return True
    if "List" in kind:
        value = ast.literal_eval(word)
        number = float if "float" in kind else int
        return [number(one) for one in (value if isinstance(value, (list, tuple)) else [value])]
    for number in (int, float):
        if number.__name__ in kind:
            return number(word)
    return word


def _model(words: Sequence[str], arch: str) -> Group:
    """Everything that the architecture's flags may say, as the command and the arch have it."""
    if arch not in ARCH_MODEL_REGISTRY:
        raise UserError(f"--arch {arch}: fairseq knows no such architecture")
    parser = argparse.ArgumentParser(
        add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS
    )
    ARCH_MODEL_REGISTRY[arch].add_args(parser)
    model, _ = parser.parse_known_args(list(words))
    ARCH_CONFIG_REGISTRY[arch](model)
    return {**_flags_with_defaults(arch), **vars(model), "_name": arch}


def _flags_with_defaults(arch: str) -> Group:
    """The others are for their reader to fill in: null would stand in its way."""
    parser = argparse.ArgumentParser(add_help=False)
    ARCH_MODEL_REGISTRY[arch].add_args(parser)
    every: Namespace = parser.parse_args([])
    return {name: value for name, value in vars(every).items() if value is not None}


def _check_all_known(said: Mapping[str, Any], made: Mapping[str, Group]) -> None:
    known = {name for values in made.values() for name in values} | set(_FLAG_OF.values())
    strangers = sorted(set(said) - known)
    if strangers:
        flag = strangers[0].replace("_", "-")
        raise UserError(f"--{flag}: no group of fairseq's configuration has it")
