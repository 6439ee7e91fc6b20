"""A probe: a linear layer on the features of one checkpoint, for one task after another.

What is computed is kept below OUT: ``cells/`` holds the score of each checkpoint and task,
``features/`` the features where they are worth keeping.  Both are named by the bytes of the
checkpoint and of the task, so that a changed file is never taken for the old one.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ContextManager, Optional

import torch
from torch import nn

from rxf.errors import UserError
from rxf.lab.files import held, read_json, write_json
from rxf.lab.prepared import Prepared
from rxf.lab.probe import features
from rxf.lab.probe.encoder import Encoder, build, file_fingerprint, read_encoder
from rxf.lab.probe.features import Features
from rxf.lab.probe.linear import LinearProbe, fit_classes, fit_numbers
from rxf.lab.probe.task_data import TaskData, check_vocabulary, open_task, task_fingerprint

__all__ = ["Prober", "add_probe_arguments", "locked"]

# Of how features and layers are computed: another number forgets what was kept.
VERSION = 1

Cell = dict[str, Any]


def add_probe_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags that all probes have."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for all results")
    parser.add_argument(
        "--batch-tokens",
        type=int,
        default=4096,
        metavar="N",
        help="tokens a batch when features are computed (%(default)s)",
    )
    parser.add_argument("--cpu", action="store_true", help="leave a GPU alone")


class Prober:
    """Scores checkpoints on tasks, each once.

    Args:
        out: the folder for what is kept.
        args: of :func:`add_probe_arguments`.
        keep_features: write them to disk: pays where a task is probed again.
    """

    def __init__(self, out: Path, args: argparse.Namespace, keep_features: bool) -> None:
        if args.batch_tokens < 1:
            raise UserError(f"--batch-tokens {args.batch_tokens}: must be 1 or more")
        self.out = out
        self.batch_tokens = args.batch_tokens
        on_gpu = torch.cuda.is_available() and not args.cpu
        self.device = torch.device("cuda" if on_gpu else "cpu")
        self.keep_features = keep_features
        self._tasks: dict[Path, str] = {}

    def check(self, path: Path, prepared: Prepared, flag: str) -> None:
        """Refuse a checkpoint that cannot be probed on this task, before any work.

        Raises:
            UserError: see :func:`read_encoder` and :func:`check_vocabulary`.
        """
        encoder = read_encoder(path, flag)
        check_vocabulary(encoder, open_task(prepared, encoder), flag)

    def score(self, path: Path, tasks: Sequence[Prepared]) -> Iterator[Cell]:
        """The score of the checkpoint on each task.

        Yields:
            ``value`` in percent, ``strength`` of the regularisation, ``seconds``.

        Raises:
            UserError: see :func:`features.compute` and :func:`fit_classes`.
        """
        weights = file_fingerprint([path])
        opened: Optional[_Opened] = None
        for prepared in tasks:
            key = f"{weights}-{self._fingerprint(prepared)}-v{VERSION}"
            cell = read_json(self.out / "cells" / f"{key}.json")
            if cell is None:
                opened = opened or _Opened(path, self.device)
                cell = self._measure(opened, prepared, key)
                write_json(self.out / "cells" / f"{key}.json", cell)
            yield cell

    def _fingerprint(self, prepared: Prepared) -> str:
        if prepared.folder not in self._tasks:
            self._tasks[prepared.folder] = task_fingerprint(prepared)
        return self._tasks[prepared.folder]

    def _measure(self, opened: "_Opened", prepared: Prepared, key: str) -> Cell:
        since = time.perf_counter()
        data = open_task(prepared, opened.encoder)
        found = self._features(opened, data, key)
        try:
            probe = _fit(data, found)
        except UserError as error:
            raise UserError(f"{prepared.folder}: {error}") from None
        outputs = probe.outputs(found["valid"].features)
        return {
            "value": round(data.score(outputs, found["valid"].targets), 4),
            "strength": probe.strength,
            "seconds": round(time.perf_counter() - since, 3),
        }

    def _features(self, opened: "_Opened", data: TaskData, key: str) -> Features:
        kept = self.out / "features" / f"{key}.npz"
        found = features.read(kept) if self.keep_features else None
        if found is None:
            model = opened.model(data)
            found = features.compute(model, data, opened.encoder, self.batch_tokens)
            if self.keep_features:
                features.write(kept, found)
        return found


class _Opened:
    """A checkpoint, read once; its model is built when features are first wanted."""

    def __init__(self, path: Path, device: torch.device) -> None:
        self.encoder: Encoder = read_encoder(path, "checkpoint")
        self.device = device
        self._model: Optional[nn.Module] = None

    def model(self, data: TaskData) -> nn.Module:
        check_vocabulary(self.encoder, data, "checkpoint")
        if self._model is None:
            self._model = build(self.encoder, data.task).to(self.device)
        return self._model


def _fit(data: TaskData, found: Features) -> LinearProbe:
    train = found["train"]
    if data.criterion.regression_target:
        return fit_numbers(train.features, train.targets)
    return fit_classes(train.features, train.targets, data.prepared.num_classes)


def locked(out: Path) -> ContextManager[Any]:
    """Hold OUT against another probe.

    Raises:
        UserError: one is at work there, as the context is entered.
    """
    busy = f"--out {out}: another rxf probe is at work here: let it end, or name another folder"
    return held(out / ".lock", busy)
