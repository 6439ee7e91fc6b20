"""Made-up records and probes, written as the sweep and the probes write them."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BASELINE = 50.0
METHODS = {"plain": (0.0, 0.010), "r3f": (3.0, 0.021), "r4f": (1.0, 0.022)}


def record(method: str, seed: int, best: Any, pace: Any = 0.02, **more: Any) -> dict[str, Any]:
    """One run's record; ``error=`` makes it a failed one."""
    status = "failed" if "error" in more else "finished"
    return {
        "task": "polarity",
        "metric": "accuracy",
        "maximize": True,
        "method": method,
        "method_flags": ["--" + method],
        "seed": seed,
        "best": best,
        "last": best,
        "baseline": BASELINE,
        "status": status,
        "error": None,
        "seconds_per_update": pace,
        "peak_mib": 400.0,
        "wall_seconds": 3.0,
        **more,
    }


def write_run(root: Path, made: dict[str, Any]) -> Path:
    """As ``root/TASK/METHOD/seed-N/run.json``."""
    path = root / made["task"] / made["method"] / f"seed-{made['seed']}" / "run.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(made))
    return path


def write_probe(folder: Path, kind: str, rows: Sequence[dict[str, Any]]) -> Path:
    path = folder / "probe.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"kind": kind, "settings": {}, "versions": {}, "rows": list(rows)}))
    return path


def write_everything(root: Path, seeds: int = 5) -> Path:
    """A sweep over two tasks and a probe of each kind, some runs of it failed."""
    source = random.Random(1)
    for task, level in (("polarity", 80.0), ("topic", 60.0)):
        for method, (gain, pace) in METHODS.items():
            for seed in range(1, seeds + 1):
                best = 50.0 if (task, method, seed) == ("topic", "plain", 2) else None
                best = level + gain + source.gauss(0, 3) if best is None else best
                write_run(root, record(method, seed, best, pace, task=task))
    write_run(root, record("r4f", seeds + 1, None, None, error="ValueError: <no> & $value_"))
    for kind, rows in _PROBES.items():
        write_probe(root / kind, kind, rows(source))
    return root


def _score(source: random.Random, method: str, level: float) -> dict[str, Any]:
    value = level + METHODS.get(method, (0.0, 0.0))[0] + source.gauss(0, 1)
    return {"metric": "accuracy", "value": value, "baseline": BASELINE}


def _generalization(source: random.Random) -> list[dict[str, Any]]:
    tasks = {"agreement": 75.0, "tense": 90.0, "agent": 62.0}
    rows: list[dict[str, Any]] = [
        {"checkpoint": "pretrained", "method": None, "seed": None, "source": None, "task": task}
        | _score(source, "pretrained", level)
        for task, level in tasks.items()
    ]
    for method in METHODS:
        for seed in (1, 2, 3):
            named = {"checkpoint": f"{method}-{seed}", "method": method, "seed": seed}
            rows += [
                {**named, "source": "polarity", "task": task, **_score(source, method, level)}
                for task, level in tasks.items()
            ]
    return rows


def _degradation(source: random.Random) -> list[dict[str, Any]]:
    chain = ["polarity", "topic", "tense"]
    return [
        {"method": method, "seed": seed, "step": step, "trained_on": task, "probed": "polarity"}
        | _score(source, method, 85.0 - 5 * step)
        for method in METHODS
        for seed in (1, 2, 3)
        for step, task in enumerate(chain)
    ]


def _retention(source: random.Random) -> list[dict[str, Any]]:
    tasks = ["polarity", "topic"]
    return [
        {
            "method": method,
            "seed": seed,
            "cycle": cycle,
            "step": step,
            "trained_on": task,
            "probed": tasks[step % 2],
            **_score(source, method, 80.0 - 2 * cycle),
        }
        for method in METHODS
        for seed in (1, 2, 3)
        for cycle in (1, 2, 3)
        for step, task in enumerate(tasks, 1)
    ]


def _collapse(source: random.Random) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for method in METHODS:
        for seed in (1, 2, 3):
            named = {"checkpoint": f"{method}-{seed}", "method": method, "seed": seed}
            bits = {"measure": "forgotten", "layer": None, "unit": "bits a masked token"}
            rows.append({**named, **bits, "value": 0.4 + source.gauss(0, 0.05)})
            rows += [
                {**named, "measure": "CKA", "layer": layer, "unit": ""}
                | {"value": 1 - 0.05 * layer + source.gauss(0, 0.01)}
                for layer in range(3)
            ]
    return rows


_PROBES = {
    "generalization": _generalization,
    "degradation": _degradation,
    "retention": _retention,
    "collapse": _collapse,
}
