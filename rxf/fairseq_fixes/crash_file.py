"""Bad input leaves no ``crash.pt`` behind.

Symptom: whatever a criterion raises in its forward pass, the trainer first saves the
whole model and optimizer as ``crash.pt``: for a wrong flag some gigabytes of the weights
that training was to start from.

Why this mends it: a :class:`~rxf.errors.UserError` says that nothing went wrong which a
checkpoint could help to understand; every other error is saved as ever.
"""

import sys
from typing import Any, Callable

from fairseq.trainer import Trainer

from rxf.errors import UserError
from rxf.fairseq_fixes import Fix
from rxf.fairseq_fixes.patching import wrap


def _apply() -> None:
    wrap(Trainer, "save_checkpoint", _save_checkpoint)


def _save_checkpoint(original: Callable, self: Trainer, *args: Any, **kwargs: Any) -> None:
    if not isinstance(sys.exc_info()[1], UserError):
        original(self, *args, **kwargs)


FIX = Fix(
    name="crash-file",
    symptom="a wrong flag that a criterion finds leaves a crash.pt of the whole model",
    reference="measured on fairseq 0.12.2",
    apply=_apply,
)
