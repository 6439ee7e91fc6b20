"""One kind of error for what a user can mend, shown as one line.

fairseq prints a traceback for everything.  For a wrong flag or file the traceback
hides the one line that matters, so a :class:`UserError` that ends the process is
printed as that line alone, and the exit status is 1 as ever.
"""

import math
import sys
from types import TracebackType
from typing import Optional

__all__ = ["UserError", "check_choice", "check_number", "install_excepthook"]


class UserError(ValueError):
    """Bad input: the message names the flag or file, and what to do about it."""


def check_number(flag: str, value: float, holds: bool, wanted: str) -> None:
    """Refuse a number that means nothing.

    Args:
        flag: that gave it.
        value: the number.
        holds: whether it is in its range.
        wanted: the range in words, to end "must be a finite number".

    Raises:
        UserError: it is not in its range, or not finite.
    """
    if not (math.isfinite(value) and holds):
        raise UserError(f"{flag} {value}: must be a finite number {wanted}")


def check_choice(flag: str, value: object, known: tuple[str, ...]) -> None:
    """Refuse a word that is none of ``known``: argparse does for the command line, not for YAML.

    Raises:
        UserError: it is unknown.
    """
    if str(value) not in known:
        raise UserError(f"{flag} {value}: unknown; choose {' or '.join(known)}")


def install_excepthook() -> None:
    """Print a :class:`UserError` that nobody caught as one line; leave all else as it was.

    Called where rxf is imported as a plugin, and by the `rxf` command.  A second call
    does nothing.
    """
    previous = sys.excepthook
    if getattr(previous, "is_rxf_hook", False):
        return

    def hook(
        kind: type[BaseException], error: BaseException, trace: Optional[TracebackType]
    ) -> None:
        if issubclass(kind, UserError):
            print(f"rxf: error: {error}", file=sys.stderr)
        else:
            previous(kind, error, trace)

    hook.is_rxf_hook = True  # type: ignore[attr-defined]
    sys.excepthook = hook
