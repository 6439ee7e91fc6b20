"""What commands over many runs are asked for: methods, their settings, seeds.

All of it is checked before anything runs.
"""

import re
from collections.abc import Sequence
from typing import Any

import yaml

from rxf.errors import UserError
from rxf.lab.prepared import Prepared
from rxf.methods import registry
from rxf.methods.registry import Method

__all__ = ["check_classes", "methods_of", "seeds_of", "settings_of"]

_RANGE = re.compile(r"(\d+)(?:-(\d+))?")
_SETTING = re.compile(r"(?P<method>\w+)\.(?P<name>[\w-]+)=(?P<value>.+)")
# YAML takes 1e-5 for a word, as it lacks a point.
_POWER = re.compile(r"[+-]?\d+e[+-]?\d+")


def methods_of(text: str) -> list[Method]:
    """The methods that ``--methods`` names, with commas between; each for sentence tasks.

    Raises:
        UserError: none is named, one is unknown, or is no setting of one training.
    """
    return [_find(name) for name in _listed("--methods", text)]


def seeds_of(text: str) -> list[int]:
    """``1-3,7`` as 1, 2, 3, 7; a seed that is named twice counts once.

    Raises:
        UserError: it is neither numbers nor ranges.
    """
    seeds: list[int] = []
    for word in text.split(","):
        told = _RANGE.fullmatch(word.strip())
        if told is None or int(told[2] or told[1]) < int(told[1]):
            raise UserError(f"--seeds {text}: give numbers and ranges, as in 1-5 or 1,2,7-9")
        seeds += range(int(told[1]), int(told[2] or told[1]) + 1)
    return list(dict.fromkeys(seeds))


def settings_of(words: Sequence[str], methods: Sequence[Method]) -> dict[str, dict[str, Any]]:
    """Method -> setting -> value, from ``--set METHOD.NAME=VALUE`` of any number.

    Names are in Python's spelling, values as YAML reads them.

    Raises:
        UserError: a word is no such thing, or of a method that is not asked for.
    """
    found: dict[str, dict[str, Any]] = {}
    known = [method.name for method in methods]
    for word in words:
        told = _SETTING.fullmatch(word)
        if told is None:
            raise UserError(f"--set {word}: write METHOD.NAME=VALUE, as in r3f.r3f_lambda=0.1")
        if told["method"] not in known:
            raise UserError(
                f"--set {word}: {told['method']} is none of --methods {','.join(known)}"
            )
        name = told["name"].replace("-", "_")
        found.setdefault(told["method"], {})[name] = _value(told["value"])
    return found


def check_classes(method: Method, task: Prepared) -> None:
    """Refuse a method for classes where the task is a regression.

    Raises:
        UserError: it is.
    """
    if method.classes_only and "--regression-target" in task.flags:
        raise UserError(
            f"--methods {method.name}: takes classes only, and {task.name} is a regression: leave "
            "out the one or the other"
        )


def _listed(flag: str, text: str) -> list[str]:
    found = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not found:
        raise UserError(f"{flag} {text!r}: names nothing")
    return found


def _find(name: str) -> Method:
    try:
        method = registry.find(name)
    except KeyError:
        known = [m.name for m in (registry.PLAIN, *registry.methods()) if m.sentences is not None]
        raise UserError(f"--methods {name}: unknown; choose among {', '.join(known)}") from None
    if method.sentences is None:
        way = f"run {method.recipe}" if method.recipe else "leave it out"
        kind = "a course of several trainings" if method.recipe else "not for sentence tasks"
        raise UserError(f"--methods {name}: is {kind}: {way}")
    return method


def _value(text: str) -> Any:
    try:
        return float(text) if _POWER.fullmatch(text) else yaml.safe_load(text)
    except yaml.YAMLError:
        return text
