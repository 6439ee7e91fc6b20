"""A run does not inherit the best score of an earlier one in the process."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fairseq import checkpoint_utils
from fairseq_cli import train

from tests.support import stock, train_flags

BEST = ["--best-checkpoint-metric", "accuracy", "--maximize-best-checkpoint-metric"]


@pytest.fixture
def earlier_run() -> Iterator[None]:
    """A run that scored more than any other can, and lost patience."""
    checkpoint_utils.save_checkpoint.best = 1000.0
    train.should_stop_early.best, train.should_stop_early.num_runs = 1000.0, 1
    yield
    for function in (checkpoint_utils.save_checkpoint, train.should_stop_early):
        for name in ("best", "num_runs"):
            vars(function).pop(name, None)


def _train(data: Path, save_dir: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> set[str]:
    settings = {"disable_validation": False, "no_epoch_checkpoints": False}
    flags = train_flags(data, save_dir, **settings)
    monkeypatch.setattr(sys, "argv", ["fairseq-train", *flags, *BEST, *more])
    train.cli_main()
    return {path.name for path in save_dir.glob("checkpoint_*.pt")}


@pytest.mark.usefixtures("earlier_run")
def test_each_run_has_its_own_best(
    tmp_path: Path, sentence_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ["--patience", "2"]
    saved = _train(sentence_data, tmp_path / "a", monkeypatch, *more)
    assert "checkpoint_best.pt" in saved
    # A resume takes the score from the file.
    checkpoint_utils.save_checkpoint.best = 1000.0
    _train(sentence_data, tmp_path / "a", monkeypatch, *more, "--max-update", "5")
    assert checkpoint_utils.save_checkpoint.best <= 100.0


@pytest.mark.usefixtures("earlier_run")
def test_stock_fairseq_inherits_it(
    tmp_path: Path, sentence_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        checkpoint_utils, "load_checkpoint", stock(checkpoint_utils.load_checkpoint)
    )
    assert "checkpoint_best.pt" not in _train(sentence_data, tmp_path, monkeypatch)
