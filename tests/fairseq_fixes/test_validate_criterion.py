"""``fairseq-validate`` on a sentence_prediction checkpoint, as the training saw it."""

from pathlib import Path

import pytest

from tests.support import fork_fairseq_train, train_flags, train_log


@pytest.fixture
def trained(tmp_path: Path, sentence_data: Path) -> tuple[Path, float]:
    """A checkpoint and the accuracy that its training logged."""
    flags = train_flags(sentence_data, tmp_path, disable_validation=False, batch_size_valid=24)
    entries = train_log(fork_fairseq_train(*flags).stdout)
    accuracy = [entry["valid_accuracy"] for entry in entries if entry["tag"] == "valid"]
    return tmp_path / "checkpoint_last.pt", accuracy[-1]


def test_needs_no_criterion(trained: tuple[Path, float], sentence_data: Path) -> None:
    checkpoint, accuracy = trained
    flags = [sentence_data, "--path", checkpoint, "--batch-size", "24", "--cpu"]
    flags += ["--user-dir", "rxf", "--log-format", "json", "--task", "sentence_prediction"]
    done = fork_fairseq_train(*flags, command="fairseq-validate")
    assert train_log(done.stdout)[-1]["valid_accuracy"] == accuracy

    off = {"RXF_FIXES": "validate-criterion"}
    done = fork_fairseq_train(*flags, command="fairseq-validate", env=off, check=False)
    assert "'criterion.classification_head_name' not found" in done.stderr
    # The flag still works.
    more = ["--criterion", "sentence_prediction"]
    done = fork_fairseq_train(*flags, *more, command="fairseq-validate")
    assert train_log(done.stdout)[-1]["valid_accuracy"] == accuracy


def test_missing_task_is_one_line(sentence_data: Path) -> None:
    flags = [sentence_data, "--path", "x.pt", "--batch-size", "8", "--user-dir", "rxf"]
    done = fork_fairseq_train(*flags, command="fairseq-validate", check=False)
    assert done.returncode == 1
    assert "rxf: error: --task is missing" in done.stderr and "Traceback" not in done.stderr


def test_training_still_asks_for_its_criterion(tmp_path: Path, sentence_data: Path) -> None:
    flags = train_flags(sentence_data, tmp_path, criterion=None, classification_head_name=None)
    done = fork_fairseq_train(*flags, check=False)
    assert "'criterion.classification_head_name' not found" in done.stderr
