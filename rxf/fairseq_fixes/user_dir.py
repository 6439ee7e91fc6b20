"""``--user-dir`` may name this package in any way, once it is imported.

Symptom: a process that has imported rxf and then meets ``--user-dir`` with another
spelling of the same folder (a symlink, another mount of the checkout) gets "not
globally unique", or imports the package a second time under the link's name and then
"Cannot register duplicate ..." (fairseq#2815 made the names global).

Why this mends it: a path that ends, links followed, in the folder that is imported
needs nothing more.  A different copy is an error that names both, because a process
can hold only one.
"""

import os
from typing import Any, Callable, Optional

from fairseq import utils

import rxf
from rxf.errors import UserError
from rxf.fairseq_fixes import Fix
from rxf.fairseq_fixes.patching import wrap


def _apply() -> None:
    wrap(utils, "import_user_module", _import_user_module)


def _import_user_module(original: Callable, args: Any) -> None:
    asked = _folder(getattr(args, "user_dir", None))
    if asked is None:
        original(args)
        return
    ours = {os.path.realpath(path) for path in rxf.__path__}
    if asked in ours:
        return
    if os.path.basename(asked) == "rxf":
        raise UserError(
            f"--user-dir {args.user_dir} is {asked}, but this process has already imported "
            f"rxf from {', '.join(sorted(ours))}: give that path (`rxf path` prints it)"
        )
    original(args)


def _folder(user_dir: Optional[str]) -> Optional[str]:
    """The folder that fairseq takes ``user_dir`` for, links followed; None if there is none."""
    if user_dir is None:
        return None
    beside = os.path.dirname(utils.__file__)
    candidates = [user_dir, os.path.join(beside, user_dir), os.path.join(beside, "..", user_dir)]
    return next((os.path.realpath(path) for path in candidates if os.path.exists(path)), None)


FIX = Fix(
    name="user-dir",
    symptom="--user-dir with another spelling of the imported folder is 'not globally unique'",
    reference="fairseq#2815",
    apply=_apply,
)
