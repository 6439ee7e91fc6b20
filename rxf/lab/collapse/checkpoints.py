"""The checkpoints that are compared: named one by one, or those of a sweep's runs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

from rxf.errors import UserError

__all__ = ["PRETRAINED", "Checkpoint", "gather"]

PRETRAINED = "pretrained"
BEST = "checkpoint_best.pt"
RECORD = "run.json"


class Checkpoint(NamedTuple):
    """A model to be measured.

    Attributes:
        name: what tables call it; no two have the same.
        path: of the file.
        method: what it was fine-tuned by, where a record beside the file says so.
        seed: likewise.
        source: the task that it was fine-tuned on, likewise.
    """

    name: str
    path: Path
    method: Optional[str] = None
    seed: Optional[int] = None
    source: Optional[str] = None


def gather(pretrained: Path, named: Sequence[str], sweeps: Sequence[Path]) -> list[Checkpoint]:
    """All checkpoints, the pre-trained one first.

    Args:
        pretrained: the file of ``--pretrained``.
        named: ``NAME=FILE``, as often as ``--checkpoint`` is given.
        sweeps: folders with finished runs somewhere below.

    Raises:
        UserError: a file is not there, a name is there twice, or a sweep has no run with a
            checkpoint.
    """
    found = [Checkpoint(PRETRAINED, _existing(pretrained, "--pretrained"))]
    found += [_named(words) for words in named]
    for folder in sweeps:
        found += _of_sweep(folder)
    names = [checkpoint.name for checkpoint in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"--checkpoint {twice[0]}: two checkpoints have this name: give another")
    return found


def _existing(path: Path, flag: str) -> Path:
    if not path.is_file():
        raise UserError(f"{flag} {path}: does not exist or is no file: correct the path")
    return path


def _named(words: str) -> Checkpoint:
    name, _, path = words.partition("=")
    if not name or not path:
        raise UserError(f"--checkpoint {words}: give NAME=FILE, as in plain=runs/plain/best.pt")
    file = _existing(Path(path), f"--checkpoint {name}")
    return _with_record(name, file, _record(file.parent))


def _of_sweep(folder: Path) -> list[Checkpoint]:
    found = []
    for record in sorted(folder.rglob(RECORD)):
        path, facts = record.parent / BEST, _record(record.parent)
        if facts.get("status") == "finished" and path.is_file():
            name = record.parent.relative_to(folder).as_posix()
            found.append(_with_record(name, path, facts))
    if not found:
        raise UserError(
            f"--sweep {folder}: holds no finished run with a {BEST}: name the folder that the "
            "sweep wrote its runs to"
        )
    return found


def _record(folder: Path) -> dict[str, Any]:
    try:
        facts = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _with_record(name: str, path: Path, facts: dict[str, Any]) -> Checkpoint:
    return Checkpoint(name, path, facts.get("method"), facts.get("seed"), facts.get("task"))
