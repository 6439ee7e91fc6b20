"""A resume whose flags train other parameters says so."""

from pathlib import Path
from typing import Any

import pytest

from rxf.errors import UserError
from rxf.fairseq_fixes import optimizer_mismatch
from tests.fairseq_fixes.test_criterion_hooks import trainer_with
from tests.support import first_batch, fork_fairseq_train, train_flags

FOUR = {"criterion": "sentence_prediction_mhloss", "r3f_lambda": None, "mhloss_heads": 4}


def saved(data: Path, folder: Path) -> str:
    """A checkpoint with four heads."""
    trainer, task, _ = trainer_with(data, **FOUR)
    trainer.begin_epoch(1)
    trainer.train_step([first_batch(task)])
    trainer.consolidate_optimizer()
    trainer.save_checkpoint(str(folder / "four.pt"), {})
    return str(folder / "four.pt")


def test_other_parameters_are_told(sentence_data: Path, tmp_path: Path) -> None:
    path = saved(sentence_data, tmp_path)
    trainer, _, _ = trainer_with(sentence_data, **{**FOUR, "mhloss_heads": 3})
    with pytest.raises(UserError, match=r"four\.pt: its optimizer state .* --reset-optimizer$"):
        trainer.load_checkpoint(path)


def test_the_same_and_a_reset_optimizer_pass(sentence_data: Path, tmp_path: Path) -> None:
    path = saved(sentence_data, tmp_path)
    same: Any = trainer_with(sentence_data, **FOUR)[0]
    assert same.load_checkpoint(path) is not None
    other: Any = trainer_with(sentence_data, **{**FOUR, "mhloss_heads": 3})[0]
    assert other.load_checkpoint(path, reset_optimizer=True) is not None


@pytest.mark.slow
def test_the_command_ends_in_one_line(sentence_data: Path, tmp_path: Path) -> None:
    fork_fairseq_train(*train_flags(sentence_data, tmp_path, **FOUR, max_update=1))
    flags = train_flags(sentence_data, tmp_path, **{**FOUR, "mhloss_heads": 3}, max_update=2)
    done = fork_fairseq_train(*flags, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("rxf: error: ") and "checkpoint_last.pt: its optimizer state" in last


def test_another_error_stays_what_it_is() -> None:
    def broken(*_: Any) -> None:
        raise ValueError("something else")

    with pytest.raises(ValueError, match="^something else$"):
        optimizer_mismatch._load_checkpoint(broken, None, "some.pt")  # type: ignore[arg-type]
