"""Settings, orders and figures for the tests."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Optional

from benchmarks import harness
from benchmarks.training_step import peers
from benchmarks.training_step.measure import Measured
from benchmarks.training_step.setting import Setting

SENTENCES = Setting("roberta_base", 1, 16, 60, 3, "9", None, "fp32")
PAIRS = replace(SENTENCES, model="bart_base", lengths="9:5")


def order(setting: Setting, key: str, folder: Path, *words: str) -> dict[str, Any]:
    """What a worker is told."""
    peer = peers.known(setting.pairs)[key]
    told = {**asdict(peer), "needs_file": peer.needs_file, "words": words}
    return {
        "setting": setting.as_dict(),
        "peer": told,
        "warm_up": 0,
        "folder": str(folder / key),
    }


def measured(
    seconds: dict[str, list[float]],
    setting: Setting = SENTENCES,
    mib: Optional[dict[str, float]] = None,
) -> Measured:
    """Figures as :func:`measure` makes them, the first peer being the reference."""
    first = next(iter(seconds.values()))
    facts = {"parameters": 1234, "tokens": 27.0, "shapes": [[3, 9]]}
    result = Measured(setting, facts)
    for key, own in seconds.items():
        figures = {"title": key.upper(), **harness.compared(own, first), "tokens_per_second": 9.0}
        if mib:
            figures |= {"peak_mib": mib[key], "memory_ratio": mib[key] / next(iter(mib.values()))}
        result.figures[key] = figures
    return result
