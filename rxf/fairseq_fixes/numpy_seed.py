"""Threads that draw seeded numbers take turns.

Symptom: two runs of ``masked_lm`` (or denoising) with the same flags and seed come to different
weights, and a resumed one to others again.  fairseq seeds numpy's global generator, draws, and
sets it back; the threads that load batches ahead, one for training and one for validation, do
that at the same time and draw from each other's seed, or set back what the other one had.
Masks then hang on the clock.  (Measured: with ``--data-buffer-size 0``, no such thread, the runs
are equal.)

Why this mends it: whoever has seeded the generator holds a lock until it is set back.  A process
that is forked meanwhile, a worker of a data loader, starts with a lock of its own.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any, Callable

from fairseq.data import data_utils

from rxf.fairseq_fixes import Fix
from rxf.fairseq_fixes.patching import wrap

_lock = threading.RLock()


def _apply() -> None:
    wrap(data_utils, "numpy_seed", _numpy_seed)
    os.register_at_fork(after_in_child=_renew)


def _renew() -> None:
    global _lock
    _lock = threading.RLock()


@contextlib.contextmanager
def _numpy_seed(original: Callable, seed: Any, *additional: Any) -> Iterator[None]:
    with _lock, original(seed, *additional):
        yield


FIX = Fix(
    name="numpy-seed",
    symptom="two runs of masked_lm with the same seed mask other words",
    reference="measured on fairseq 0.12.2",
    apply=_apply,
)
