"""What the project wants to reach, and whether what was measured does."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Optional

from benchmarks.training_step.measure import Measured
from benchmarks.training_step.setting import Setting
from benchmarks.training_step.tables import markdown

__all__ = ["TARGETS", "Target", "table"]

CPU_ROBERTA = Setting("roberta_base", 4, 768, 50_265, 8, "128", None, "fp32")
CPU_BART = Setting("bart_base", 2, 768, 50_265, 8, "128:64", None, "fp32")
GPU_ROBERTA = Setting("roberta_large", 24, 1024, 50_265, 8, "rte", None, "fp16")
GPU_BART = Setting("bart_large", 12, 1024, 50_265, None, "cnndm", 2048, "fp16")


class Target(NamedTuple):
    """A limit on a peer's ratio to stock plain.

    Attributes:
        device: "cpu" or "gpu".
        setting: where; how many batches there are is no matter.
        peer: its key.
        figure: "ratio" (of time) or "memory_ratio".
        limit: the ratio is to be this at most.
    """

    device: str
    setting: Setting
    peer: str
    figure: str
    limit: float


TARGETS = (
    Target("cpu", CPU_ROBERTA, "r3f", "ratio", 2.0),
    Target("cpu", CPU_ROBERTA, "clean", "ratio", 1.4),
    Target("cpu", CPU_ROBERTA, "recompute", "ratio", 2.5),
    Target("cpu", CPU_ROBERTA, "recompute", "memory_ratio", 1.15),
    Target("cpu", CPU_BART, "r3f", "ratio", 1.8),
    Target("cpu", CPU_BART, "r3f", "memory_ratio", 1.15),
    Target("cpu", CPU_BART, "recompute", "memory_ratio", 1.0),
    Target("gpu", GPU_ROBERTA, "r3f", "ratio", 1.15),
    Target("gpu", GPU_BART, "r3f", "ratio", 1.6),
    Target("gpu", GPU_BART, "r3f", "memory_ratio", 1.0),
)
NAMES = {"ratio": "time", "memory_ratio": "peak memory"}


def table(device: str, measured: Sequence[Measured]) -> str:
    """Each target with what was measured on this device ("cpu" or "gpu")."""
    head = ["where", "setting", "peer", "of fairseq plain", "at most", "measured"]
    rows = []
    for target in TARGETS:
        value = _value(target, measured) if target.device == device else None
        told = "not measured" if value is None else _judged(value, target.limit)
        what = [target.device, target.setting.name(), target.peer, NAMES[target.figure]]
        rows.append([*what, f"{target.limit:g}", told])
    return markdown(head, rows)


def _judged(value: float, limit: float) -> str:
    return f"{value:.2f}, {'reached' if value <= limit else 'missed'}"


def _value(target: Target, measured: Sequence[Measured]) -> Optional[float]:
    for block in measured:
        here = replace(block.setting, batches=target.setting.batches)
        # The ratios are to the first peer, whoever that is.
        first = next(iter(block.figures))
        if here == target.setting and first == "fairseq-plain":
            value: Optional[float] = block.figures.get(target.peer, {}).get(target.figure)
            return value
    return None
