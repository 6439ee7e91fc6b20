"""Files that appear whole or not at all, and folders that one command holds at a time."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from rxf.errors import UserError

__all__ = ["held", "read_json", "write_json", "written"]


@contextlib.contextmanager
def written(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of ``path`` at the end.

    A command that is killed leaves the old file or the new one, and nobody reads half of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    yield aside
    os.replace(aside, path)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file whole or not at all."""
    with written(path) as aside:
        aside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """What the file holds, or None where it is missing or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def held(path: Path, busy: str) -> Iterator[TextIO]:
    """Hold a lock file; a process that inherits the open file holds it too.

    Args:
        path: of the lock file.
        busy: what to say where another process holds it.

    Raises:
        UserError: one does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(busy) from None
        yield lock
