"""What is asked for: tasks, methods with their settings, seeds; checked before any work."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from rxf.errors import UserError
from rxf.lab.prepared import Prepared, read_prepared
from rxf.lab.sweep.groups import Group, names
from rxf.methods import registry
from rxf.methods.registry import Method

__all__ = ["Choice", "choices", "parse_seeds", "read_tasks"]

_RANGE = re.compile(r"^(\d+)(?:-(\d+))?$")
_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*$")


class Choice(NamedTuple):
    """A method and everything that turns it on, by fairseq's config groups.

    Attributes:
        method: of the registry.
        settings: name -> value, the criterion among them.
        groups: the same in "criterion", "optimizer" and "model".
    """

    method: Method
    settings: Group
    groups: dict[str, Group]

    @property
    def flags(self) -> list[str]:
        """As ``fairseq-train`` would be told."""
        words = []
        for name, value in self.settings.items():
            words.append("--" + name.replace("_", "-"))
            words += [] if value is True else [str(value)]
        return words


def parse_seeds(text: str) -> list[int]:
    """``1-3,7`` as 1, 2, 3, 7; a seed that is named twice counts once.

    Raises:
        UserError: it is no such list.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = _RANGE.match(part.strip())
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise UserError(f"--seeds {text}: give numbers and ranges, as in 1-5 or 1,2,7-9")
        seeds += range(int(match[1]), int(match[2] or match[1]) + 1)
    return list(dict.fromkeys(seeds))


def read_tasks(folders: Sequence[Path]) -> list[Prepared]:
    """The prepared tasks.

    Raises:
        UserError: a folder is none, or two have one name, or a name cannot be a folder's.
    """
    tasks = [read_prepared(folder.resolve()) for folder in folders]
    for name, count in Counter(task.name for task in tasks).items():
        if count > 1:
            raise UserError(f"--tasks: {count} folders hold the task {name}: name one of them")
        if not _NAME.match(name):
            raise UserError(f"--tasks: the task's name {name!r} is to be a folder's: rename it")
    return tasks


def choices(
    wanted: str, settings: Sequence[str], tasks: Sequence[Prepared], model: Mapping[str, Any]
) -> list[Choice]:
    """The methods of ``--methods`` with the settings of ``--set``.

    Args:
        wanted: names with commas between them.
        settings: ``METHOD.NAME=VALUE`` each.
        tasks: that the methods must apply to.
        model: all that the model's flags may say.

    Raises:
        UserError: an unknown method or setting, or a method that cannot be swept over.
    """
    found = [_find(name.strip()) for name in dict.fromkeys(wanted.split(","))]
    for method in found:
        _check_tasks(method, tasks)
    own = _settings(settings, [method.name for method in found])
    return [_choice(method, own.get(method.name, {}), model) for method in found]


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


def _check_tasks(method: Method, tasks: Sequence[Prepared]) -> None:
    if not method.classes_only:
        return
    for task in tasks:
        if "--regression-target" in task.flags:
            raise UserError(
                f"--methods {method.name}: is for classes, and {task.name} is a regression: "
                "leave out the one or the other"
            )


def _settings(given: Sequence[str], methods: Sequence[str]) -> dict[str, Group]:
    found: dict[str, Group] = {}
    for text in given:
        match = re.match(r"^([\w-]+)\.(\w+)=(.+)$", text)
        if not match:
            raise UserError(f"--set {text}: write METHOD.NAME=VALUE, as in r3f.r3f_lambda=0.1")
        if match[1] not in methods:
            raise UserError(f"--set {text}: {match[1]} is none of --methods {','.join(methods)}")
        found.setdefault(match[1], {})[match[2]] = _value(match[3])
    return found


def _value(text: str) -> Any:
    """YAML takes 1e-5 for a word, as it lacks a point."""
    try:
        return float(text) if re.match(r"^[+-]?\d+e[+-]?\d+$", text) else yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _choice(method: Method, own: Group, model: Mapping[str, Any]) -> Choice:
    settings = {**registry.flags(method, "sentences"), **own}
    chosen = {group: settings[group] for group in ("criterion", "optimizer") if group in settings}
    groups: dict[str, Group] = {group: {"_name": name} for group, name in chosen.items()}
    known: dict[str, set[str]] = {"model": set(model)}
    known |= {group: names(group, name) for group, name in chosen.items()}
    for name, value in settings.items():
        if name in chosen:
            continue
        home = next((group for group, fields in known.items() if name in fields), None)
        if home is None:
            raise UserError(
                f"--set {method.name}.{name}: {method.name} has no such setting; "
                f"`rxf methods` lists them, and {method.name} knows "
                f"{', '.join(sorted(known['criterion'] | known.get('optimizer', set())))}"
            )
        groups.setdefault(home, {})[name] = value
    return Choice(method, settings, groups)
