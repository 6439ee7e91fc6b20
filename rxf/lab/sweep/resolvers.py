"""Arithmetic that a sweep's YAML may do: ``${share:...}`` and ``${updates_of:...}``."""

import math
from collections.abc import Sequence

from omegaconf import OmegaConf

__all__ = ["install", "share", "updates_of"]


def share(whole: int, part: float) -> int:
    """``part`` of ``whole``, at least 1."""
    return max(1, round(int(whole) * float(part)))


def updates_of(epochs: float, rows: int, batch: int, update_freq: Sequence[int]) -> int:
    """Updates that ``epochs`` take in one process, at least 1; an epoch's last may be smaller."""
    micro_batches = math.ceil(rows / batch)
    return max(1, round(epochs * math.ceil(micro_batches / update_freq[0])))


def install() -> None:
    """Tell OmegaConf; a second call does nothing."""
    for resolver in (share, updates_of):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)
