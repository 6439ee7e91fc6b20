"""The tasks and methods of a sweep, by fairseq's config groups; checked before any work."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rxf.errors import UserError
from rxf.lab.asked import check_classes, methods_of, settings_of
from rxf.lab.fine_tuning import spelt_out
from rxf.lab.prepared import Prepared, read_prepared
from rxf.lab.sweep.groups import Group, names
from rxf.methods import registry
from rxf.methods.registry import Method

__all__ = ["Choice", "choices", "read_tasks"]

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
        return spelt_out(self.settings)


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
    found = methods_of(wanted)
    for method in found:
        for task in tasks:
            check_classes(method, task)
    own = settings_of(settings, found)
    return [_choice(method, own.get(method.name, {}), model) for method in found]


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
