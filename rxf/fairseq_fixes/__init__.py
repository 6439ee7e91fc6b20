"""Defects of fairseq mended from outside: one file a defect, each with an off switch.

Every module named in :data:`MODULES` holds one :data:`FIX`.  ``RXF_FIXES=off`` turns
all of them off, ``RXF_FIXES=name,other-name`` the named ones; `rxf doctor` lists them.
"""

import importlib
import os
from dataclasses import dataclass
from typing import Callable

from rxf.errors import UserError

__all__ = ["Fix", "all_fixes", "apply_all", "status"]

# In this order they are applied.
MODULES: list[str] = [
    "user_dir",
    "bf16",
    "validate_criterion",
    "damaged_last",
    "checkpoint_loading",
    "restore_file",
    "best_score",
    "atomic_checkpoints",
    "finished_run",
    "criterion_state",
    "criterion_hooks",
    "ema_restore",
    "stale_copies",
    "float_targets",
    "sentence_task",
    "crash_file",
    "nan_detector",
    "fp16_overflow_cpu",
    "cpu_distributed",
    "background_loading",
    "numpy_seed",
    "ngram_blocking",
    "denoising_flags",
    "hydra_bart",
    "amp_unscale",
    "amp_resume",
    "optimizer_mismatch",
    "fused_adam",
]


@dataclass(frozen=True)
class Fix:
    """One defect of fairseq 0.12.2 and its mend.

    Attributes:
        name: what ``RXF_FIXES`` and `rxf doctor` call it, in lower case with hyphens.
        symptom: what a user sees without it, in one sentence.
        reference: fairseq's issue or pull request, or where it was measured.
        apply: puts the mend in place; called at most once in a process.
    """

    name: str
    symptom: str
    reference: str
    apply: Callable[[], None]


_applied: set[str] = set()


def all_fixes() -> list[Fix]:
    """Every fix there is, in the order in which they are applied."""
    return [importlib.import_module(f"{__name__}.{module}").FIX for module in MODULES]


def apply_all() -> None:
    """Apply every fix that ``RXF_FIXES`` leaves on and that is not yet in place.

    Raises:
        UserError: ``RXF_FIXES`` names a fix that does not exist.
    """
    off = _switched_off()
    for fix in all_fixes():
        if fix.name not in off and fix.name not in _applied:
            fix.apply()
            _applied.add(fix.name)


def status() -> dict[str, bool]:
    """Name of each fix and whether it is in place in this process."""
    return {fix.name: fix.name in _applied for fix in all_fixes()}


def _switched_off() -> set[str]:
    asked = {name.strip() for name in os.environ.get("RXF_FIXES", "").split(",")} - {"", "on"}
    known = {fix.name for fix in all_fixes()}
    if "off" in asked:
        return known
    unknown = sorted(asked - known)
    if unknown:
        names = ", ".join(sorted(known))
        raise UserError(f"RXF_FIXES names no fix called {unknown[0]}: use off, or any of {names}")
    return asked
