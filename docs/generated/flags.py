"""docs/flags.md: every flag that rxf adds to fairseq-train, read off the configurations."""

import argparse
import inspect
import re
import sys
import types
from collections.abc import Iterator
from dataclasses import Field, fields
from enum import Enum
from itertools import chain
from typing import Any, NamedTuple, Union, get_args, get_origin

from docs.markdown import slug

__all__ = ["Choice", "choices", "page"]

INTRODUCTION = """# Flags

Every flag that `fairseq-train --user-dir rxf` knows beyond fairseq's own, and its name in the
YAML of `fairseq-hydra-train`. A flag and a name in YAML are the same word: `--r3f-lambda 0.7`
is `r3f_lambda: 0.7` below `criterion:`, a flag without a value (a switch) is `true` or `false`.

**In YAML write the whole group out**, as the blocks below have it: Hydra composes the
configuration before fairseq imports the plugin, so a key that is not in the file can neither be
found by the task (`InterpolationKeyError: criterion.regression_target`) nor be overridden on the
command line ("is not in struct"). `common.user_dir` must be an absolute path there (`rxf path`
prints it), since Hydra changes the folder. `rxf sweep` writes such files by itself.

Which flags make which method: [The methods](methods.md). What each subcommand of `rxf` takes:
[Commands](commands.md).
"""
HEAD = ["| flag | in YAML | type | default | what it does |", "|---|---|---|---|---|"]
TITLES = {
    "criterion": "Criterions",
    "optimizer": "Optimizers",
    "lr_scheduler": "Learning-rate schedulers",
    "task": "Tasks",
}
ROLE = re.compile(r":\w+:`~?([^`<]+)`")


class Choice(NamedTuple):
    """A class that rxf registers with fairseq and that a flag chooses by its name.

    Attributes:
        kind: that flag without dashes, also the group in YAML: "criterion".
        name: what is typed behind it.
        registered: the class.
        config: the dataclass of its flags.
    """

    kind: str
    name: str
    registered: type
    config: type


def choices() -> list[Choice]:
    """Everything that rxf registers and that has a dataclass, by kind and name."""
    from fairseq.registry import REGISTRIES
    from fairseq.tasks import TASK_DATACLASS_REGISTRY, TASK_REGISTRY

    import rxf  # noqa: F401  (registers them)

    known = {
        kind: (entry["registry"], entry["dataclass_registry"])
        for kind, entry in REGISTRIES.items()
        if kind in TITLES
    }
    known["task"] = (TASK_REGISTRY, TASK_DATACLASS_REGISTRY)
    return [
        Choice(kind, name, classes[name], configs[name])
        for kind, (classes, configs) in known.items()
        for name in sorted(configs)
        if configs[name].__module__.startswith("rxf.")
    ]


def page() -> str:
    """The page, as Markdown."""
    found = choices()
    parts = [INTRODUCTION]
    shared: dict[type, None] = {}
    for kind, title in TITLES.items():
        of_kind = [choice for choice in found if choice.kind == kind]
        if of_kind:
            parts.append(f"## {title}\n")
            parts += [_section(choice) for choice in of_kind]
            homes = (_homes(choice.config, "shared") for choice in of_kind)
            shared |= dict.fromkeys(chain.from_iterable(homes))
    parts.append("## Shared by several of these\n")
    parts += [_shared_section(home) for home in shared]
    parts.append(_models())
    return "\n".join(parts)


# ----------------------------------------------------------------- whose a field is


def _home(config: type, name: str) -> type:
    """The class that declares a field, the most derived one that does."""
    return next(cls for cls in config.__mro__ if name in inspect.get_annotations(cls))


def _belonging(home: type) -> str:
    """Whether a class is a method's own, shared by several in rxf, or fairseq's."""
    if not home.__module__.startswith("rxf."):
        return "fairseq"
    return "own" if home.__module__.startswith("rxf.methods.") else "shared"


def _homes(config: type, belonging: str) -> list[type]:
    homes = dict.fromkeys(_home(config, entry.name) for entry in _fields(config))
    return [home for home in homes if _belonging(home) == belonging]


def _fields(config: type) -> Iterator[Field]:
    for entry in fields(config):  # type: ignore[arg-type]
        # Of what is another setting's value (`lr`) that other setting has the flag.
        if entry.name != "_name" and not str(entry.default).startswith("${"):
            yield entry


def _declared(config: type, belonging: str) -> list[Field]:
    return [e for e in _fields(config) if _belonging(_home(config, e.name)) == belonging]


# ------------------------------------------------------------------------- sections


def _section(choice: Choice) -> str:
    lines = [f"### {choice.name}\n", f"`--{choice.kind.replace('_', '-')} {choice.name}`"]
    lines[-1] += f": {_first_line(choice.registered)} {_card(choice)}\n"
    own = _declared(choice.config, "own")
    if own:
        lines += [*HEAD, *map(_row, own), ""]
    for home in _homes(choice.config, "shared"):
        lines.append(f"Also: {_link(home)}.")
    stock = _declared(choice.config, "fairseq")
    if stock:
        cells = ", ".join(f"`{_flag(entry).name}` ({_flag(entry).default})" for entry in stock)
        lines.append(f"Of fairseq's own: {cells}.")
    return "\n".join([*lines, "", _yaml(choice)])


def _shared_section(home: type) -> str:
    entries = [entry for entry in _fields(home) if _home(home, entry.name) is home]
    return "\n".join([f"### {_title(home)}\n", *HEAD, *map(_row, entries), ""])


def _title(home: type) -> str:
    return _first_line(home).rstrip(".").replace("`", "").replace("*", "\\*")


def _link(home: type) -> str:
    title = _title(home)
    return f"[{title}](#{slug(title)})"


def _card(choice: Choice) -> str:
    """A link to the card of the method whose folder holds the class, if it is one's."""
    module = choice.registered.__module__
    if not module.startswith("rxf.methods."):
        return ""
    return f"[Card](../{'/'.join(module.split('.')[:3])}/README.md)."


def _yaml(choice: Choice) -> str:
    """The whole group with its defaults."""
    import yaml

    from rxf.lab.sweep.groups import complete

    values = complete(choice.kind, {"_name": choice.name})
    ordered = {"_name": choice.name, **values}
    text = yaml.safe_dump({choice.kind: ordered}, sort_keys=False)
    return f"```yaml\n{text}```\n"


def _models() -> str:
    """What is added to the flags of models, by the modules that do it."""
    modules = [m for name, m in sorted(sys.modules.items()) if name.startswith("rxf.")]
    adding = [getattr(m, "add_flags", None) for m in modules]
    parser = argparse.ArgumentParser(add_help=False)
    for module, add_flags in zip(modules, adding, strict=True):
        if add_flags is not None and add_flags.__module__ == module.__name__:
            add_flags(parser)
    lines = [
        "## Models\n",
        "On RoBERTa, XLM-R and BART, in YAML below `model:`. fairseq's own",
        "`--spectral-norm-classification-head` turns R4F on.\n",
        *HEAD,
        *(_row_of_action(action) for action in parser._actions),
        "",
    ]
    return "\n".join(lines)


# ----------------------------------------------------------------------------- cells


def _flag(entry: Field) -> Any:
    from rxf.lab.methods.surface import flag_of_field

    return flag_of_field(entry)


def _row(entry: Field) -> str:
    flag = _flag(entry)
    cells = [
        f"`{flag.name}`",
        f"`{entry.name}`",
        _type(entry.type),
        f"`{flag.default}`" if flag.default not in ("off", "none") else flag.default,
        _cell(flag.help),
    ]
    return f"| {' | '.join(cells)} |"


def _row_of_action(action: argparse.Action) -> str:
    switch = action.nargs == 0
    default = "off" if action.default is False else f"`{action.default}`"
    kind = "switch" if switch else _one_of(list(action.choices or [])) or "text"
    cells = [f"`{action.option_strings[0]}`", f"`{action.dest}`", kind, default]
    return f"| {' | '.join([*cells, _cell(action.help or '')])} |"


def _type(kind: Any) -> str:
    """A field's type in words."""
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(each for each in get_args(kind) if each is not type(None))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _one_of([member.value for member in kind])
    names = {bool: "switch", int: "whole number", float: "number", str: "text"}
    return names.get(kind, "Python value in quotes")


def _one_of(words: list[Any]) -> str:
    return " or ".join(f"`{word}`" for word in words)


def _cell(text: str) -> str:
    """Help as a cell: flags as code, no character that a table or HTML would take."""
    flags = re.sub(r"(?<![\w`-])(--[a-z][\w-]*)", r"`\1`", " ".join(text.split()))
    return flags.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def _first_line(cls: type) -> str:
    line = (inspect.getdoc(cls) or "").strip().split("\n\n")[0]
    return ROLE.sub(r"`\1`", " ".join(line.split())).replace("``", "`")
