"""Which checkpoints are probed: named on the command line, or those of a sweep."""

import argparse
import json
import re
from pathlib import Path
from typing import Any, NamedTuple, Optional

from rxf.errors import UserError

__all__ = ["PRETRAINED", "Named", "add_checkpoint_arguments", "named_checkpoints"]

PRETRAINED = "pretrained"
BEST = "checkpoint_best.pt"
_METHOD_AND_SEED = re.compile(r"(?:.*/)?(?P<method>[^/]+?)(?:[/-]seed-|/)(?P<seed>\d+)$")


class Named(NamedTuple):
    """A checkpoint to probe; method, seed and source task are None where nothing tells them."""

    name: str
    path: Path
    method: Optional[str] = None
    seed: Optional[int] = None
    source: Optional[str] = None


def add_checkpoint_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags that name checkpoints."""
    parser.add_argument(
        "--pretrained",
        type=Path,
        required=True,
        metavar="FILE",
        help="the model before any fine-tuning",
    )
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="a fine-tuned checkpoint, any number of times; NAME as METHOD/SEED or "
        "METHOD-seed-N tells method and seed",
    )
    parser.add_argument(
        "--sweep",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help=f"every finished run below DIR (a run.json with {BEST} beside it)",
    )


def named_checkpoints(args: argparse.Namespace) -> list[Named]:
    """The pre-trained model, then what ``--checkpoint`` and ``--sweep`` name.

    Raises:
        UserError: a name without a file, a file that is not there, one name twice, or a
            sweep without a finished run.
    """
    found = [Named(PRETRAINED, args.pretrained)]
    found += [_from_word(word) for word in args.checkpoint]
    for folder in args.sweep:
        found += _from_sweep(folder)
    seen: set[str] = set()
    for checkpoint in found:
        if checkpoint.name in seen:
            raise UserError(f"two checkpoints are called {checkpoint.name}: give each its own name")
        seen.add(checkpoint.name)
        if not checkpoint.path.is_file():
            flag = "--pretrained" if checkpoint.name == PRETRAINED else "--checkpoint"
            raise UserError(f"{flag} {checkpoint.path}: there is no such file")
    return found


def _from_word(word: str) -> Named:
    name, _, path = word.partition("=")
    if not name or not path:
        raise UserError(f"--checkpoint {word}: give NAME=FILE")
    told = _METHOD_AND_SEED.match(name)
    if told is None:
        return Named(name, Path(path))
    return Named(name, Path(path), told["method"], int(told["seed"]))


def _from_sweep(folder: Path) -> list[Named]:
    if not folder.is_dir():
        raise UserError(f"--sweep {folder}: there is no such folder")
    found = [_from_record(path) for path in sorted(folder.rglob("run.json"))]
    kept = [checkpoint for checkpoint in found if checkpoint is not None]
    if not kept:
        raise UserError(f"--sweep {folder}: holds no run.json of a finished run with its {BEST}")
    return sorted(kept, key=lambda c: (str(c.source), str(c.method), c.seed or 0, c.name))


def _from_record(path: Path) -> Optional[Named]:
    best = path.with_name(BEST)
    try:
        record: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        raise UserError(f"--sweep: {path} cannot be read: delete it to run it again") from None
    if record.get("status") != "finished" or not best.is_file():
        return None
    task, method, seed = (record.get(name) for name in ("task", "method", "seed"))
    return Named(f"{task}/{method}/seed-{seed}", best, method, seed, task)
