"""Which pictures a report has, and in which order."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rxf.lab.report.pictures.cost import cost
from rxf.lab.report.pictures.groups import groups
from rxf.lab.report.pictures.lines import Scale, lines
from rxf.lab.report.pictures.seeds import seeds
from rxf.lab.report.pictures.style import Look, Picture, looks
from rxf.lab.report.scores import RUN, Scores
from rxf.lab.report.summary import Summary

__all__ = ["album"]


def album(
    scores: Sequence[Scores], summaries: Sequence[Summary], control: str, value: str
) -> dict[str, list[Picture]]:
    """The pictures by kind, as in ``scores``.

    Args:
        scores: everything that was measured.
        summaries: all of theirs.
        control: gets the first colour.
        value: ``best`` or ``last``, of a run's validations.
    """
    methods = dict.fromkeys(method for group in scores for method in group.methods)
    look = looks(sorted(methods, key=lambda method: method != control))
    by_item = _grouped(summaries, lambda s: (s.scores.kind, s.scores.item))

    def strips(chosen: Iterable[Scores]) -> list[Picture]:
        return [seeds(g, by_item[g.kind, g.item], look, value) for g in chosen]

    found: dict[str, list[Picture]] = {}
    for kind, chosen in _grouped(scores, lambda group: group.kind).items():
        if kind == RUN:
            costs = [
                cost(g, by_item[kind, g.item], look, value)
                for g in chosen
                if any(s.seconds and s.median is not None for s in by_item[kind, g.item])
            ]
            found[kind] = [*strips(chosen), *costs]
        elif kind == "generalization":
            found[kind] = [*_generalization(chosen, look), *strips(chosen)]
        elif kind == "collapse":
            whole = [group for group in chosen if not group.is_part]
            found[kind] = [*_layers(chosen, look), *strips(whole)]
        else:
            found[kind] = _CHAINS[kind](chosen, look)
    return found


def _grouped(items: Iterable[Any], key: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def _generalization(scores: Sequence[Scores], look: dict[str, Look]) -> list[Picture]:
    """As figure 3 of Aghajanyan et al. 2020: what is probed by method, one a source task."""
    pictures = []
    for source, chosen in _grouped(scores, lambda g: g.facts["source"]).items():
        after = f" after {source}" if source else ""
        labels = [group.facts["task"] for group in chosen]
        title = f"Generalization{after}: probes of {len(chosen)} tasks"
        pictures.append(groups(chosen, look, labels, f"generalization-{source or ''}", title))
    return pictures


def _degradation(scores: Sequence[Scores], look: dict[str, Look]) -> list[Picture]:
    """As figure 4: the source task's score after each step, one picture a source."""
    pictures = []
    for probed, chosen in _grouped(scores, lambda g: g.facts["probed"]).items():
        steps = sorted(chosen, key=lambda g: g.facts["step"])
        places = [float(group.facts["step"]) for group in steps]
        ticks = [group.facts["trained_on"] for group in steps]
        scale = Scale("fine-tuned on, one after the other", places, ticks)
        title = f"Degradation: {probed} probed after each step"
        pictures.append(lines(steps, scale, look, f"degradation-{probed}", title))
    return pictures


def _retention(scores: Sequence[Scores], look: dict[str, Look]) -> list[Picture]:
    """As figure 5: a task's score by cycle, one picture a task."""
    pictures = []
    for probed, chosen in _grouped(scores, lambda g: g.facts["probed"]).items():
        steps = sorted(chosen, key=lambda g: (g.facts["cycle"], g.facts["step"]))
        pictures.append(
            lines(
                steps,
                _cycles(steps),
                look,
                f"retention-{probed}",
                f"Retention: {probed} probed in each cycle",
            )
        )
    return pictures


def _cycles(steps: Sequence[Scores]) -> Scale:
    """A place a cycle; a task that is probed several times in a cycle has a place each time."""
    cycles = [group.facts["cycle"] for group in steps]
    if len(set(cycles)) == len(cycles):
        return Scale("cycle", [float(cycle) for cycle in cycles], [str(cycle) for cycle in cycles])
    ticks = [f"{group.facts['cycle']}\n{group.facts['trained_on']}" for group in steps]
    return Scale(
        "cycle, and what was last trained on", [float(i) for i in range(len(steps))], ticks
    )


def _layers(scores: Sequence[Scores], look: dict[str, Look]) -> list[Picture]:
    """A measure over the layers."""
    pictures = []
    layered = [group for group in scores if group.facts["layer"] is not None]
    for (measure, source), chosen in _grouped(
        layered, lambda g: (g.metric, g.facts["source"])
    ).items():
        after = f" after {source}" if source else ""
        layers = sorted(chosen, key=lambda g: g.facts["layer"])
        places = [float(group.facts["layer"]) for group in layers]
        scale = Scale("layer", places, [str(group.facts["layer"]) for group in layers])
        name, title = f"collapse-{measure}{after}", f"Collapse{after}: {measure} by layer"
        pictures.append(lines(layers, scale, look, name, title))
    return pictures


_CHAINS = {"degradation": _degradation, "retention": _retention}
