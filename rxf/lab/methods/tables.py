"""The registry as tables: Markdown for the README, plain lines for a terminal."""

import re
from collections.abc import Sequence
from pathlib import Path

from rxf.lab.methods.surface import KINDS, Flag, borrowed_from, own_flags, switch
from rxf.methods import registry
from rxf.methods.registry import PLAIN, Method

__all__ = ["markdown", "readme", "terminal"]

ARXIV = re.compile(r"^(.*) \(arXiv ([\d.]+)\)$")
NONE = "–"
COSTS = ("extra forwards", "extra backwards", "extra memory")
LEGEND = (
    "Extra is what an update takes beyond plain fine-tuning; P is one fp32 copy of the "
    "parameters, act\nthe activations of one pass."
)


def terminal() -> str:
    """For each method its name, what it does, and what turns it on."""
    blocks = []
    for method in (PLAIN, *registry.methods()):
        lines = [f"{method.name:<11}{method.summary}"]
        for kind in KINDS:
            typed = switch(method, kind)
            lines += [f"           {kind + ':':<12} {typed}"] if typed else []
        lines += [f"           {'recipe:':<12} {method.recipe}"] if method.recipe else []
        blocks.append("\n".join(lines))
    return "\n".join(blocks)


def readme() -> str:
    """What the README has between its markers: which to take, and what turns it on."""
    table = _table(
        ["method", "what it does", "turned on by", *COSTS, "when to use it", "paper"],
        [_in_short(method) for method in (PLAIN, *registry.methods())],
    )
    return f"{table}\n\n{LEGEND}\n"


def markdown() -> str:
    """All that is known of the methods: which to take, then what to type."""
    known = (PLAIN, *registry.methods())
    comparison = _table(
        ["method", "what it does", *COSTS, "needs", "when to use it", "paper"],
        [_comparison(method) for method in known],
    )
    surface = _table(
        ["method", "sentences", "generation", "flags of its own (default)"],
        [_surface(method) for method in known],
    )
    return f"{comparison}\n\n{LEGEND}\n\n{surface}\n"


def _in_short(method: Method) -> list[str]:
    summary, *costs, _, when, paper = _comparison(method)[1:]
    sentences, generation = _surface(method)[1:3]
    typed = sentences if generation in (NONE, "the same") else f"{sentences}, or {generation}"
    return [_linked(method), summary, typed, *costs, when, paper]


def _comparison(method: Method) -> list[str]:
    cost = method.cost
    costs = [cost.forwards, cost.backwards, cost.memory]
    told = [method.summary, *costs, method.needs, method.when]
    return [_linked(method), *map(_flags_as_code, told), _paper(method)]


def _flags_as_code(text: str) -> str:
    return re.sub(r"(?<![`\w])(--[a-z0-9][\w-]*)", r"`\1`", text)


def _surface(method: Method) -> list[str]:
    typed = [switch(method, kind) for kind in KINDS]
    cells = [f"`{words}`" if words else NONE for words in typed]
    if typed[0] == typed[1]:
        cells[1] = "the same"
    if method.recipe:
        cells = [f"recipe `{method.recipe}`", NONE]
    return [method.title, *cells, _flags(method) or NONE]


def _linked(method: Method) -> str:
    if method is PLAIN:
        return method.title
    root = Path(__file__).resolve().parents[3]
    card = registry.folder(method) / "README.md"
    return f"[{method.title}]({card.relative_to(root).as_posix()})"


def _paper(method: Method) -> str:
    found = ARXIV.match(method.paper)
    if not found:
        return method.paper or NONE
    return f"[{found[1]}](https://arxiv.org/abs/{found[2]})"


def _flags(method: Method) -> str:
    """The flags of its own; for generation those that are new, or other than for sentences."""
    if method is PLAIN:
        return ""
    kinds = [kind for kind in KINDS if getattr(method, kind) is not None]
    seen: list[Flag] = []
    parts = []
    for kind in kinds:
        home = borrowed_from(method, kind)
        of_kind = [flag for flag in own_flags(method, kind) if not _same(flag, seen)]
        cells = ([f"those of {home.title}"] if home and not seen else []) + _cells(of_kind)
        if cells:
            parts.append((f"{kind}: " if seen else "") + ", ".join(cells))
        seen += of_kind
    return "; ".join(parts)


def _same(flag: Flag, seen: Sequence[Flag]) -> bool:
    return flag[:2] in [other[:2] for other in seen]


def _cells(flags: Sequence[Flag]) -> list[str]:
    return [f"`{flag.name}` {flag.default}" for flag in flags]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )
