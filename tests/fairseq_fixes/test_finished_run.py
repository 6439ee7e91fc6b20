"""A finished run that is started again stays as it is."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import REPO, fork_fairseq_train, load_checkpoint, train_flags


@pytest.mark.parametrize("fixes, updates", [("", 4), ("finished-run", 5)])
def test_with_and_without_the_fix(
    fixes: str, updates: int, sentence_data: Path, tmp_path: Path
) -> None:
    flags = train_flags(sentence_data, tmp_path)
    fork_fairseq_train(*flags)
    before = (tmp_path / "checkpoint_last.pt").read_bytes()
    done = fork_fairseq_train(*flags, env={"RXF_FIXES": fixes})
    state = load_checkpoint(tmp_path / "checkpoint_last.pt")
    assert state["optimizer_history"][-1]["num_updates"] == updates
    assert ("the run has had 4 of 4 updates" in done.stdout) == (not fixes)
    assert ((tmp_path / "checkpoint_last.pt").read_bytes() == before) == (not fixes)


def test_more_updates_are_trained(sentence_data: Path, tmp_path: Path) -> None:
    flags = train_flags(sentence_data, tmp_path)
    fork_fairseq_train(*flags)
    fork_fairseq_train(*flags, "--max-update", 6)
    state = load_checkpoint(tmp_path / "checkpoint_last.pt")
    assert state["optimizer_history"][-1]["num_updates"] == 6


@pytest.mark.slow
def test_as_a_module_too(sentence_data: Path, tmp_path: Path) -> None:
    """Where fairseq's command is the module __main__, as `python -m` and the sweep have it."""
    flags = train_flags(sentence_data, tmp_path)
    fork_fairseq_train(*flags)
    command = [sys.executable, "-m", "fairseq_cli.train", *flags]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True)
    assert "the run has had 4 of 4 updates" in done.stdout
