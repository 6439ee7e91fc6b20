"""A resume whose flags train other parameters says so.

Symptom: where a run goes on with a flag that adds, takes out or freezes parameters,
torch's optimizer refuses the saved state with a traceback that names neither the file nor a
flag.

Why this mends it: the same refusal in one line, with the file and both ways out.
"""

from typing import Any, Callable

from fairseq.trainer import Trainer

from rxf.errors import UserError
from rxf.fairseq_fixes import Fix
from rxf.fairseq_fixes.patching import wrap

# What torch's Optimizer.load_state_dict says of groups, and of their parameters.
_MISMATCHES = ("different number of parameter groups", "doesn't match the size of optimizer's")


def _apply() -> None:
    wrap(Trainer, "load_checkpoint", _load_checkpoint)


def _load_checkpoint(
    original: Callable, self: Trainer, filename: str, *args: Any, **kwargs: Any
) -> Any:
    try:
        return original(self, filename, *args, **kwargs)
    except ValueError as error:
        if not any(known in str(error) for known in _MISMATCHES):
            raise
        raise UserError(
            f"{filename}: its optimizer state is of other parameters than are trained now: give "
            "the flags that the run started with (those of criterion, head and frozen parameters "
            "decide), or --reset-optimizer"
        ) from None


FIX = Fix(
    name="optimizer-mismatch",
    symptom="a resume that trains other parameters ends in torch's traceback",
    reference="measured on fairseq 0.12.2",
    apply=_apply,
)
