"""One kind of error for what a user can mend, shown as one line.

fairseq prints a traceback for everything.  For a wrong flag or file the traceback
hides the one line that matters, so a :class:`UserError` that ends the process is
printed as that line alone, and the exit status is 1 as ever.
"""

import sys
from types import TracebackType
from typing import Optional

__all__ = ["UserError", "install_excepthook"]


class UserError(ValueError):
    """Bad input: the message names the flag or file, and what to do about it."""


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
