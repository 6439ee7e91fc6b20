"""What methods there are: the one list that tables, tests, `rxf doctor` and sweeps go by.

Each folder beside this file is a method, and its ``__init__.py`` says so as ``METHOD``.
Adding a method means adding a folder: nothing else names it.
"""

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

__all__ = ["PLAIN", "Cost", "Method", "find", "flags", "folder", "methods", "register_all"]


@dataclass(frozen=True)
class Cost:
    """What an update costs beyond one of plain fine-tuning, in the words of a table.

    Attributes:
        forwards: extra forward passes.
        backwards: extra backward passes.
        memory: extra memory; "P" is one fp32 copy of the parameters, "act" the activations
            of one pass.
    """

    forwards: str = "0"
    backwards: str = "0"
    memory: str = "0"


@dataclass(frozen=True)
class Method:
    """One method.

    Attributes:
        name: what tables, pictures and ``rxf sweep`` call it, in lower case.
        title: as its paper writes it.
        paper: authors and year, with the arXiv number.
        year: of the paper; tables are ordered by it.
        summary: what it does, in one line without a full stop.
        when: when to use it, likewise.
        needs: what it needs besides data and a pre-trained model.
        cost: see :class:`Cost`.
        registers: modules of its folder that ``--user-dir rxf`` imports; one that has an
            ``install()`` gets it called, one that adds flags to models does so in an
            ``add_flags(parser)``, which tables read.
        sentences: flag -> value that turns it on in sentence prediction; None where it does
            not apply.  Flags in Python's spelling: ``{"criterion": "sentence_prediction_r3f"}``.
        generation: likewise for translation and summarization.
        plain_at: flag -> value at which it takes the stock path: one forward pass and fairseq's
            own loss, bit for bit.  None where there is no such value.
        not_additive: why an update of 1 x 8 rows is not one of 2 x 4; None where it is.
        classes_only: True where regression is refused.
        tiny: flag -> value that the shared tests need to see it at work on tiny data.
        recipe: script, from the repo's root, where the method is a course of runs.
    """

    name: str
    title: str
    paper: str
    year: int
    summary: str
    when: str
    needs: str = "nothing"
    cost: Cost = field(default_factory=Cost)
    registers: tuple[str, ...] = ()
    sentences: Optional[Mapping[str, Any]] = None
    generation: Optional[Mapping[str, Any]] = None
    plain_at: Optional[Mapping[str, Any]] = None
    not_additive: Optional[str] = None
    classes_only: bool = False
    tiny: Mapping[str, Any] = field(default_factory=dict)
    recipe: Optional[str] = None


# What the others are compared with: the same metrics, no method.
PLAIN = Method(
    name="plain",
    title="plain fine-tuning",
    paper="",
    year=0,
    summary="the task loss alone",
    when="as the control of every comparison",
    sentences={"criterion": "sentence_prediction_r3f", "r3f_lambda": 0.0},
    generation={"criterion": "label_smoothed_cross_entropy_r3f", "r3f_lambda": 0.0},
)


@functools.cache
def _packages() -> dict[str, Method]:
    """Dotted name of each method's folder -> the method, by year and name."""
    package = importlib.import_module("rxf.methods")
    names = [f"rxf.methods.{m.name}" for m in pkgutil.iter_modules(package.__path__) if m.ispkg]
    found = [(name, importlib.import_module(name).METHOD) for name in names]
    return dict(sorted(found, key=lambda item: (item[1].year, item[1].name)))


def methods() -> tuple[Method, ...]:
    """Every method but plain fine-tuning, by year and name.

    Raises:
        AttributeError: a folder beside this file has no ``METHOD``.
    """
    return tuple(_packages().values())


def find(name: str) -> Method:
    """The method of this name, ``plain`` among them.

    Raises:
        KeyError: there is none.
    """
    return {method.name: method for method in (PLAIN, *methods())}[name]


def flags(method: Method, kind: str) -> dict[str, Any]:
    """Every flag that turns ``method`` on, its criterion included.

    Args:
        method: one that has the kind.
        kind: "sentences" or "generation".
    """
    own, plain = getattr(method, kind), getattr(PLAIN, kind)
    return dict(own) if "criterion" in own else {**plain, **own}


def folder(method: Method) -> Path:
    """The folder that holds ``method`` and its card."""
    package = next(name for name, known in _packages().items() if known is method)
    return Path(str(importlib.import_module(package).__file__)).parent


def register_all() -> None:
    """Import what fairseq is to know of each method."""
    names = [f"{package}.{name}" for package, m in _packages().items() for name in m.registers]
    for module in [importlib.import_module(name) for name in names]:
        install = getattr(module, "install", None)
        if install is not None:
            install()
