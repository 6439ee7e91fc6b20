"""Which checkpoints a probe looks at: named one by one, or those of a sweep's runs."""

import argparse
import re
from pathlib import Path
from typing import Any, NamedTuple, Optional

from rxf.errors import UserError
from rxf.lab.files import read_json

__all__ = ["PRETRAINED", "Checkpoint", "add_checkpoint_arguments", "checkpoints_of"]

PRETRAINED = "pretrained"
BEST = "checkpoint_best.pt"
RECORD = "run.json"
_METHOD_AND_SEED = re.compile(r"(?:.*/)?(?P<method>[^/]+?)(?:[/-]seed-|/)(?P<seed>\d+)$")


class Checkpoint(NamedTuple):
    """A model's file.

    Attributes:
        name: what tables call it; no two have the same.
        path: of the file.
        method: what it was fine-tuned by; None where neither a record beside the file nor the
            name tells.
        seed: likewise.
        source: the task that it was fine-tuned on; None where no record tells.
    """

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
        help=f"a fine-tuned checkpoint, any number of times; a {RECORD} beside it tells method "
        "and seed, else NAME as METHOD/SEED or METHOD-seed-N",
    )
    parser.add_argument(
        "--sweep",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help=f"every finished run below DIR (a {RECORD} with {BEST} beside it); any number of "
        "times",
    )


def checkpoints_of(args: argparse.Namespace) -> list[Checkpoint]:
    """The pre-trained model, then what ``--checkpoint`` and ``--sweep`` name.

    Args:
        args: of :func:`add_checkpoint_arguments`.

    Raises:
        UserError: a name without a file, a file that is not there, one name twice, or a
            sweep without a finished run.
    """
    found = [Checkpoint(PRETRAINED, _existing(args.pretrained, "--pretrained"))]
    found += [_from_word(word) for word in args.checkpoint]
    for folder in args.sweep:
        found += _from_sweep(folder)
    names = [checkpoint.name for checkpoint in found]
    twice = [name for number, name in enumerate(names) if name in names[:number]]
    if twice:
        raise UserError(f"two checkpoints are called {twice[0]}: give each its own name")
    return found


def _existing(path: Path, flag: str) -> Path:
    if not path.is_file():
        raise UserError(f"{flag} {path}: does not exist or is no file: correct the path")
    return path


def _from_word(word: str) -> Checkpoint:
    name, _, path = word.partition("=")
    if not name or not path:
        raise UserError(f"--checkpoint {word}: give NAME=FILE, as in plain/1=runs/plain/best.pt")
    file = _existing(Path(path), f"--checkpoint {name}")
    record = _record(file.parent) or {}
    told = _METHOD_AND_SEED.match(name)
    if "method" in record or told is None:
        return _with_record(name, file, record)
    return Checkpoint(name, file, told["method"], int(told["seed"]))


def _from_sweep(folder: Path) -> list[Checkpoint]:
    found = [_of_run(path.parent) for path in sorted(folder.rglob(RECORD))]
    kept = [checkpoint for checkpoint in found if checkpoint is not None]
    if not kept:
        raise UserError(
            f"--sweep {folder}: holds no finished run with its {BEST}: name the folder that the "
            "sweep wrote its runs to"
        )
    return sorted(kept, key=lambda c: (str(c.source), str(c.method), c.seed or 0, c.name))


def _of_run(folder: Path) -> Optional[Checkpoint]:
    record = _record(folder)
    if record is None:
        path = folder / RECORD
        raise UserError(f"--sweep: {path} cannot be read: delete it to run it again")
    if record.get("status") != "finished" or not (folder / BEST).is_file():
        return None
    name = "{task}/{method}/seed-{seed}".format_map({**dict.fromkeys(_TOLD), **record})
    return _with_record(name, folder / BEST, record)


_TOLD = ("task", "method", "seed")


def _record(folder: Path) -> Optional[dict[str, Any]]:
    """What the run in this folder has left, or None."""
    record = read_json(folder / RECORD)
    return record if isinstance(record, dict) else None


def _with_record(name: str, path: Path, record: dict[str, Any]) -> Checkpoint:
    task, method, seed = (record.get(key) for key in _TOLD)
    return Checkpoint(name, path, method, seed, task)
