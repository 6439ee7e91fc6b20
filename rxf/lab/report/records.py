"""What is read: every ``run.json`` and ``probe.json`` below some folders."""

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

from rxf.errors import UserError

__all__ = ["Found", "Record", "checked_runs", "find"]

Record = dict[str, Any]

_WORDS = re.compile(r"(\d+)")

# What of a probe's row does not say what was probed.
_FIGURES = {"value", "baseline", "seconds", "folder"}
_RUN_KEYS = {"task": str, "method": str, "seed": int, "metric": str, "status": str}
_PROBE_KEYS: dict[str, dict[str, type]] = {
    "generalization": {"checkpoint": str, "task": str, "metric": str},
    "degradation": {"method": str, "step": int, "trained_on": str, "probed": str, "metric": str},
    "retention": {
        "method": str,
        "cycle": int,
        "step": int,
        "trained_on": str,
        "probed": str,
        "metric": str,
    },
    "collapse": {"checkpoint": str, "measure": str, "unit": str},
}


class Found(NamedTuple):
    """``rows`` are those of each kind of probe; both have a ``folder`` that says whence.

    ``warnings`` name what was left out, a line each.
    """

    runs: list[Record]
    rows: dict[str, list[Record]]
    warnings: list[str]


def find(folders: Sequence[Path]) -> Found:
    """Read all there is below ``folders``; what cannot be read is left out and named.

    Raises:
        UserError: a folder is not there, nothing at all is found, or the records of one
            task disagree in their metric.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"DIR {folder}: there is no such folder")
    warnings: list[str] = []
    runs = [record for path in _paths(folders, "run.json") for record in _run(path, warnings)]
    rows: dict[str, list[Record]] = {}
    for path in _paths(folders, "probe.json"):
        _add_probe(path, rows, warnings)
    if not runs and not rows:
        raise UserError(_nothing(folders, warnings))
    once = {kind: _once(found, warnings) for kind, found in rows.items()}
    return Found(checked_runs(runs, warnings), once, warnings)


def checked_runs(runs: Iterable[Record], warnings: list[str]) -> list[Record]:
    """The runs with one record a task, method and seed, and one setting a method's name.

    Args:
        runs: in the order in which methods are to be shown.
        warnings: gets a line for what was run twice, and for what was told apart.

    Raises:
        UserError: the records of one task disagree in their metric.
    """
    named = _told_apart(list(runs), warnings)
    _check_metrics(named)
    kept: dict[tuple, Record] = {}
    for record in named:
        key = (record["task"], record["method"], record["seed"])
        other = kept.get(key)
        if other is None:
            kept[key] = record
            continue
        old, new = sorted((other, record), key=lambda r: str(r.get("ended") or ""))
        warnings.append(
            f"{_whence(old)}: seed {key[2]} of {key[1]} on {key[0]} stands in "
            f"{_whence(new)} too: the later one is taken"
        )
        kept[key] = new
    return list(kept.values())


def _paths(folders: Sequence[Path], name: str) -> list[Path]:
    """Each file once, where folders overlap; in the order of names, seed-10 after seed-9."""
    found = {path.resolve(): path for folder in folders for path in folder.rglob(name)}
    return sorted(found.values(), key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts numbers within names by their size."""
    return [(int(word), "") if word.isdigit() else (-1, word) for word in _WORDS.split(str(path))]


def _nothing(folders: Sequence[Path], warnings: list[str]) -> str:
    where = ", ".join(map(str, folders))
    why = f" ({warnings[0]})" if warnings else ""
    return (
        f"DIR {where}: no run.json and no probe.json to be read below it{why}: name the folder "
        "of a sweep, a probe or the quickstart"
    )


def _read(path: Path, check: Callable[[Any], Optional[str]], warnings: list[str]) -> Any:
    """The file's content, or None and a warning."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        warnings.append(f"{path}: cannot be read ({str(error)[:120]}): left out")
        return None
    wrong = check(content)
    if wrong:
        warnings.append(f"{path}: {wrong}: left out")
        return None
    return content


def _run(path: Path, warnings: list[str]) -> list[Record]:
    record = _read(path, lambda content: _wrong(content, _RUN_KEYS), warnings)
    # A step of a probe's chain starts from what the step before left: probe.json tells of it.
    if record is None or record.get("probe"):
        return []
    numbers = ("best", "last", "baseline", "seconds_per_update", "peak_mib")
    return [
        {**record, **{key: _number(record.get(key)) for key in numbers}, "folder": str(path.parent)}
    ]


def _number(value: Any) -> Optional[float]:
    """None for what is no finite number: a run that diverged writes NaN."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def _wrong(content: Any, keys: dict[str, type]) -> Optional[str]:
    if not isinstance(content, dict):
        return "is no record"
    bad = [key for key, kind in keys.items() if not isinstance(content.get(key), kind)]
    return f"says nothing of {', '.join(bad)}" if bad else None


def _add_probe(path: Path, rows: dict[str, list[Record]], warnings: list[str]) -> None:
    content = _read(path, _wrong_probe, warnings)
    if content is None:
        return
    kept = []
    for number, row in enumerate(content["rows"], 1):
        wrong = _wrong(row, _PROBE_KEYS[content["kind"]])
        if wrong:
            warnings.append(f"{path}: row {number} {wrong}: left out")
            continue
        numbers = {key: _number(row.get(key)) for key in ("value", "baseline")}
        kept.append({**row, **numbers, "folder": str(path.parent)})
    if kept:
        rows.setdefault(content["kind"], []).extend(kept)


def _once(rows: list[Record], warnings: list[str]) -> list[Record]:
    """Of what was probed twice, the row of the later file; one warning for two files."""
    kept: dict[str, Record] = {}
    told: dict[str, None] = {}
    for row in rows:
        # Where method and seed are known, the checkpoint's name is only a name.
        known = row.get("method") is not None and row.get("seed") is not None
        rest = _FIGURES | ({"checkpoint"} if known else set())
        key = json.dumps({k: v for k, v in sorted(row.items()) if k not in rest})
        if key in kept:
            told[
                f"{kept[key]['folder']}: figures of its probe.json stand in {row['folder']} too: "
                "those are taken"
            ] = None
        kept[key] = row
    warnings += told
    return list(kept.values())


def _wrong_probe(content: Any) -> Optional[str]:
    wrong = _wrong(content, {"kind": str, "rows": list})
    if wrong or content["kind"] in _PROBE_KEYS:
        return wrong
    return f"kind {content['kind']} is unknown, choose among {', '.join(_PROBE_KEYS)}"


def _whence(record: Record) -> str:
    return str(record.get("folder", "a record"))


def _check_metrics(runs: list[Record]) -> None:
    first: dict[str, Record] = {}
    for record in runs:
        other = first.setdefault(record["task"], record)
        if record["metric"] != other["metric"]:
            raise UserError(
                f"{_whence(record)}: {record['task']} is scored by {record['metric']} here and "
                f"by {other['metric']} in {_whence(other)}: report on them one at a time"
            )


def _told_apart(runs: list[Record], warnings: list[str]) -> list[Record]:
    """Two settings of a method are two methods: r3f and r3f#2."""
    known: dict[tuple[str, str], dict[str, str]] = {}
    named = []
    for record in runs:
        settings = json.dumps(record.get("method_flags"), sort_keys=True)
        names = known.setdefault((record["task"], record["method"]), {})
        if settings not in names:
            number = len(names) + 1
            names[settings] = record["method"] + (f"#{number}" if number > 1 else "")
            if number > 1:
                warnings.append(
                    f"{names[settings]} on {record['task']} is {record['method']} "
                    f"with other settings: {settings}"
                )
        named.append({**record, "method": names[settings]})
    return named
