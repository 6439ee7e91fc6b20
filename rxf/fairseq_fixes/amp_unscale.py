"""``--amp`` takes the loss scale out of the gradients once.

Symptom: on CUDA, ``AMPOptimizer.clip_grad_norm`` unscales torch's optimizer, and ``step``
hands fairseq's wrapper around it to the scaler.  The scaler keeps its books per object,
takes the wrapper for one not yet unscaled and divides again: with a scale of 128, a
gradient of [1, 2, 3] is stepped on as [0.0078, 0.0156, 0.0234] (measured with torch's
scaler for the CPU).  Adam hides most of that; SGD and an Adam with a larger eps do not.

Why this mends it: the scaler steps the object that clipping unscaled.  Where nothing was
clipped, the scaler unscales it in the step itself.
"""

from typing import Callable

from fairseq.optim import AMPOptimizer

from rxf.fairseq_fixes import Fix
from rxf.fairseq_fixes.patching import wrap


def _apply() -> None:
    wrap(AMPOptimizer, "step", _step)


def _step(_original: Callable, self: AMPOptimizer) -> None:
    self.scaler.step(self.optimizer)
    self.scaler.update()


FIX = Fix(
    name="amp-unscale",
    symptom="--amp divides gradients by the loss scale twice",
    reference="measured on fairseq 0.12.2",
    apply=_apply,
)
