"""Whether two trainings have left the same checkpoints."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from rxf.fairseq_fixes.checkpoint_allow_list import CheckpointRefused
from tests.support import load_checkpoint, used_parameters

__all__ = ["differences", "updates_of"]

# What a damaged file is refused with: torch seeks to before its start, if it is short.
REFUSED = (CheckpointRefused, OSError)

# Left by a training that failed, for a person to look at.
CRASH = "crash.pt"


def differences(run: Path, twin: Path, may_be_damaged: str = "") -> list[str]:
    """What differs, in words; empty for the same files with the same content.

    Compared are the parameters that the forward pass uses, the state of the criterion, the
    optimizer and the scheduler, the number of updates, the best score and the place in the
    data.  Clocks and meters are not.

    Args:
        run: the folder of a training that was interrupted.
        twin: of one that was not.
        may_be_damaged: a file that was damaged from outside, which the run may not have
            written again; it must then be refused.
    """
    names, wanted = (
        {path.name for path in folder.iterdir() if path.name != CRASH} for folder in (run, twin)
    )
    found = [f"{name} is missing" for name in sorted(wanted - names)]
    found += [f"{name} is left over" for name in sorted(names - wanted)]
    for name in sorted(names & wanted):
        found += _of_file(run / name, twin / name, name == may_be_damaged)
    return found


def _of_file(run: Path, twin: Path, may_be_damaged: bool) -> list[str]:
    try:
        got = dict(_flat(_state(run)))
    except REFUSED as error:
        return [] if may_be_damaged else [f"{run.name}: {error}"]
    wanted = dict(_flat(_state(twin)))
    if got.keys() != wanted.keys():
        return [f"{run.name}: {sorted(got.keys() ^ wanted.keys())[:3]} in one of them only"]
    unequal = [name for name in wanted if not _same(got[name], wanted[name])]
    return [f"{run.name}: {len(unequal)} differ, {unequal[:3]}"] if unequal else []


def _state(path: Path) -> dict[str, Any]:
    state = load_checkpoint(path)
    extra, history = state["extra_state"], state["optimizer_history"][-1]
    return {
        "model": used_parameters(state["model"]),
        "criterion": state.get("criterion"),
        "optimizer": state["last_optimizer_state"],
        "history": history,
        "extra": {name: extra.get(name) for name in ("train_iterator", "best", "val_loss")},
    }


def updates_of(path: Path) -> int:
    """Of a checkpoint; -1 where it is missing or cannot be read."""
    try:
        return int(load_checkpoint(path)["optimizer_history"][-1]["num_updates"])
    except REFUSED:
        return -1


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}")
    elif isinstance(value, (list, tuple)):
        for key, item in enumerate(value):
            yield from _flat(item, f"{name}.{key}")
    else:
        yield name, value


def _same(one: Any, other: Any) -> bool:
    if torch.is_tensor(one) and torch.is_tensor(other):
        return one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and bool(one == other)
