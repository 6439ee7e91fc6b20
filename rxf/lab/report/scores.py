"""What is compared: runs and probe rows in one form, scores by method and seed."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Optional, Union

from rxf.errors import UserError
from rxf.lab.report.records import Found, Record

__all__ = ["PRETRAINED", "RUN", "Score", "Scores", "all_scores", "has_failed", "run_scores"]

RUN = "fine-tuning"
PRETRAINED = "pretrained"

# Logs round: 146 of 277 rows may stand there as 52.708, a little above itself.
ROUNDING = 0.005


class Score(NamedTuple):
    """One run, or one checkpoint probed.

    Attributes:
        seed: of the run, or the checkpoint's name where no seed is known: what pairs.
        value: None where there is none.
        failed: what :func:`has_failed` says.
        seconds: an update.
        mib: at the most, in memory.
    """

    seed: Union[int, str]
    value: Optional[float]
    failed: bool
    seconds: Optional[float] = None
    mib: Optional[float] = None


class Scores(NamedTuple):
    """One thing that was measured, for every method.

    Attributes:
        kind: :data:`RUN` or the kind of a probe.
        item: in words, unique within its kind: the task, or what was probed when.
        metric: name.
        unit: "%" or the measure's own.
        direction: 1 where higher is better, -1 where lower is, 0 where neither.
        baseline: of always giving the commonest label; None where unknown or not one.
        facts: step, cycle, layer and so on, for pictures.
        methods: scores by the method's name, the control first.
    """

    kind: str
    item: str
    metric: str
    unit: str
    direction: int
    baseline: Optional[float]
    facts: dict[str, Any]
    methods: dict[str, list[Score]]

    @property
    def is_part(self) -> bool:
        """Whether it is of a layer or a component, and not of the whole model."""
        return any(self.facts.get(name) is not None for name in ("layer", "component"))


def has_failed(record: Record) -> bool:
    """Whether a run stopped with an error, or learned nothing: at or below its baseline.

    Where the record names no baseline only an error counts.
    """
    if record["status"] != "finished" or record["best"] is None:
        return True
    return _is_low(record["best"], record.get("baseline"), record.get("maximize", True))


def _is_low(value: Optional[float], baseline: Optional[float], maximize: bool = True) -> bool:
    if value is None or baseline is None:
        return False
    return value <= baseline + ROUNDING if maximize else value >= baseline - ROUNDING


def all_scores(found: Found, control: str, value: str = "best") -> list[Scores]:
    """Everything found, fine-tuning first.

    Args:
        found: by :func:`rxf.lab.report.records.find`.
        control: the method that stands first.
        value: ``best`` or ``last`` of a run's validations.
    """
    probes = [
        scores
        for kind, grouping in _PROBES.items()
        for scores in _probe_scores(kind, found.rows.get(kind, []), grouping, control)
    ]
    return [*run_scores(found.runs, control, value), *probes]


def run_scores(runs: Sequence[Record], control: str, value: str = "best") -> list[Scores]:
    """One a task; see :func:`all_scores`."""
    groups = _grouped(runs, lambda record: record["task"])
    return [_of_task(task, group, control, value) for task, group in groups.items()]


def _of_task(task: str, runs: list[Record], control: str, value: str) -> Scores:
    maximize = bool(runs[0].get("maximize", True))
    methods: dict[str, list[Score]] = {}
    for record in runs:
        score = Score(
            record["seed"],
            record[value],
            has_failed(record),
            record.get("seconds_per_update"),
            record.get("peak_mib"),
        )
        methods.setdefault(record["method"], []).append(score)
    return Scores(
        kind=RUN,
        item=task,
        metric=runs[0]["metric"],
        unit="%" if maximize else "",
        direction=1 if maximize else -1,
        baseline=_common(runs),
        facts={},
        methods=_ordered(methods, control),
    )


def _common(rows: Sequence[Record]) -> Optional[float]:
    """The baseline, where all that name one name the same."""
    named = {row["baseline"] for row in rows if row.get("baseline") is not None}
    return named.pop() if len(named) == 1 else None


def _ordered(methods: dict[str, list[Score]], control: str) -> dict[str, list[Score]]:
    places = {PRETRAINED: 0, control: 1}
    return {name: methods[name] for name in sorted(methods, key=lambda m: places.get(m, 2))}


def _grouped(rows: Iterable[Record], key: Callable[[Record], Any]) -> dict[Any, list[Record]]:
    groups: dict[Any, list[Record]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def _unit(unit: str) -> str:
    return "" if unit == "1" else unit


class _Grouping(NamedTuple):
    """``facts`` tell one thing measured from another, ``item`` says it in words."""

    facts: tuple[str, ...]
    item: Callable[[Record], str]


def _source(row: Record) -> str:
    return f", after {row['source']}" if row.get("source") else ""


def _measured(row: Record) -> str:
    layer = "" if row.get("layer") is None else f", layer {row['layer']}"
    component = "" if row.get("component") is None else f", {row['component']}"
    return f"{row['measure']}{layer}{component}{_source(row)}"


_PROBES = {
    "generalization": _Grouping(("task", "source"), lambda row: row["task"] + _source(row)),
    "degradation": _Grouping(
        ("probed", "step", "trained_on"),
        lambda row: f"{row['probed']}, step {row['step']}: after {row['trained_on']}",
    ),
    "retention": _Grouping(
        ("probed", "cycle", "step", "trained_on"),
        lambda row: f"{row['probed']}, cycle {row['cycle']}: after {row['trained_on']}",
    ),
    "collapse": _Grouping(("measure", "layer", "component", "source"), _measured),
}


def _probe_scores(
    kind: str, rows: Sequence[Record], grouping: _Grouping, control: str
) -> list[Scores]:
    _check_chain(kind, rows)
    if "source" in grouping.facts:
        rows = _pretrained_beside_each_source(rows)
    groups = _grouped(rows, lambda row: tuple(row.get(fact) for fact in grouping.facts))
    return [
        _of_probe(kind, dict(zip(grouping.facts, key, strict=True)), group, grouping, control)
        for key, group in groups.items()
    ]


def _check_chain(kind: str, rows: Sequence[Record]) -> None:
    """One line in a picture is one course of training.

    Raises:
        UserError: two probes of one kind went other ways.
    """
    steps: dict[tuple, Record] = {}
    for row in rows if kind in ("degradation", "retention") else ():
        key = (row["probed"] if kind == "degradation" else None, row.get("cycle"), row["step"])
        other = steps.setdefault(key, row)
        if other["trained_on"] != row["trained_on"]:
            raise UserError(
                f"{row['folder']}: step {row['step']} trains on {row['trained_on']} here and on "
                f"{other['trained_on']} in {other['folder']}: report on them one at a time"
            )


def _pretrained_beside_each_source(rows: Sequence[Record]) -> list[Record]:
    """The pre-trained model comes from no source task, and is compared with those of each."""
    sources = list(dict.fromkeys(row["source"] for row in rows if row.get("source")))
    return [
        {**row, "source": source}
        for row in rows
        for source in ([row["source"]] if row.get("source") else sources or [None])
    ]


def _of_probe(
    kind: str, facts: dict[str, Any], rows: list[Record], grouping: _Grouping, control: str
) -> Scores:
    methods: dict[str, dict[Union[int, str], Score]] = {}
    for row in rows:
        name = row.get("method") or row["checkpoint"]
        seed = row.get("seed")
        seed = row.get("checkpoint", "?") if seed is None else seed
        score = Score(seed, row["value"], _is_low(row["value"], row["baseline"]))
        methods.setdefault(name, {})[seed] = score
    is_score = kind != "collapse"
    return Scores(
        kind=kind,
        item=grouping.item(rows[0]),
        metric=rows[0]["metric"] if is_score else rows[0]["measure"],
        unit="%" if is_score else _unit(rows[0]["unit"]),
        direction=int(is_score),
        baseline=_common(rows),
        facts=facts,
        methods=_ordered({name: list(by.values()) for name, by in methods.items()}, control),
    )
