"""NaN gradients end a run with the error that says so.

Symptom: where gradients are NaN or infinite, fairseq runs the batch once more with hooks on
every module, to tell which one was the first, and then raises ``FloatingPointError: gradients
are Nan/Inf``.  With RoBERTa, BART and every transformer the run ends in ``StopIteration``
instead, from inside torch: a backward hook of the old kind looks for a tensor among the values
of a module's output, and the encoder's is a dictionary of lists.

Why this mends it: such a module gets no hook for the backward pass; those of its layers, which
tell more, stay.
"""

from typing import Any, Callable

from fairseq.models import FairseqEncoder
from fairseq.nan_detector import NanDetector
from torch import nn

from rxf.fairseq_fixes import Fix
from rxf.fairseq_fixes.patching import wrap


def _apply() -> None:
    wrap(NanDetector, "add_hooks", _add_hooks)


def _add_hooks(original: Callable, self: Any, module: nn.Module) -> None:
    backward = self.backward
    self.backward = backward and not isinstance(module, FairseqEncoder)
    try:
        original(self, module)
    finally:
        self.backward = backward


FIX = Fix(
    name="nan-detector",
    symptom="a run whose gradients are NaN ends in StopIteration",
    reference="measured on fairseq 0.12.2 with torch 2.13",
    apply=_apply,
)
