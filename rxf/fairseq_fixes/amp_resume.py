"""``--amp`` resumes with the loss scale that it had.

Symptom: a checkpoint of ``--amp`` does not hold the scaler's state, so a resume starts
again at the initial loss scale and counts the updates to its next growth from 0: 4, 4, 4
where the uninterrupted run has 8, 16, 16 (measured).  ``--fp16`` saves its loss scale.

Why this mends it: scale and counter lie beside the optimizer's state, under a key of their
own that torch, and so stock fairseq, passes over.  How the scale grows stays what this
run's flags say.  A file without them is read as before, and ``--reset-optimizer`` leaves
them in the file.
"""

from typing import Any, Callable

from fairseq.optim import AMPOptimizer

from rxf.fairseq_fixes import Fix
from rxf.fairseq_fixes.patching import wrap

_KEY = "amp_scaler"
# What the scaler has learnt; the rest of its state are settings.
_LEARNT = ("scale", "_growth_tracker")


def _apply() -> None:
    wrap(AMPOptimizer, "state_dict", _state_dict)
    wrap(AMPOptimizer, "load_state_dict", _load_state_dict)


def _state_dict(original: Callable, self: AMPOptimizer) -> dict[str, Any]:
    scaler = self.scaler.state_dict()
    # Without CUDA the scaler is off, and its state empty.
    learnt = {name: scaler[name] for name in _LEARNT if name in scaler}
    return {**original(self), **({_KEY: learnt} if learnt else {})}


def _load_state_dict(
    original: Callable, self: AMPOptimizer, state: dict[str, Any], *args: Any, **kwargs: Any
) -> None:
    original(self, state, *args, **kwargs)
    if _KEY in state:
        self.scaler.load_state_dict({**self.scaler.state_dict(), **state[_KEY]})


FIX = Fix(
    name="amp-resume",
    symptom="a resume with --amp starts again at the initial loss scale",
    reference="measured on fairseq 0.12.2",
    apply=_apply,
)
