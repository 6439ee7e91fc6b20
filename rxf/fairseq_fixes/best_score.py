"""Each run starts without a best score.

Symptom: fairseq keeps the best validation score and the patience counter as attributes
of two functions and never resets them.  With several runs in one process (Hydra's basic
launcher, a notebook) a run that scores below an earlier one writes no
``checkpoint_best.pt``, and may stop early at its first validation.

Why this mends it: ``load_checkpoint`` is called once at the start of a run, and sets
the score again where the run resumes.
"""

import sys
from typing import Any, Callable

from fairseq import checkpoint_utils

from rxf.fairseq_fixes import Fix
from rxf.fairseq_fixes.patching import wrap


def _apply() -> None:
    wrap(checkpoint_utils, "load_checkpoint", _load_checkpoint)


def _load_checkpoint(original: Callable, *args: Any, **kwargs: Any) -> Any:
    forget()
    return original(*args, **kwargs)


def forget() -> None:
    """Drop the best score and the patience counter of earlier runs in this process."""
    # Importing fairseq_cli.train for this would cost what no run has used.
    command = sys.modules.get("fairseq_cli.train")
    functions = [checkpoint_utils.save_checkpoint, getattr(command, "should_stop_early", None)]
    for function in functions:
        for name in ("best", "num_runs"):
            if hasattr(function, name):
                delattr(function, name)


FIX = Fix(
    name="best-score",
    symptom="the best score of one run is taken for that of the next one in the same process",
    reference="measured on fairseq 0.12.2",
    apply=_apply,
)
