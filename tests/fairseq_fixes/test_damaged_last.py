"""A run whose checkpoint_last.pt is damaged goes on from the newest whole checkpoint."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import assert_bit_equal, fork_fairseq_train, train_flags, trained_weights


@pytest.fixture
def stopped(sentence_data: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Flags of a run that was stopped at update 6, its checkpoints of 2, 4 and 6 kept."""
    settings = {"save_interval_updates": 2, "disable_validation": True}

    def flags(**more: object) -> list[str]:
        return train_flags(sentence_data, tmp_path / "run", **settings, **more)

    fork_fairseq_train(*flags(max_update=6))
    return flags


def test_the_end_is_that_of_a_whole_run(
    stopped: Callable[..., list[str]], sentence_data: Path, tmp_path: Path
) -> None:
    twin = tmp_path / "twin"
    fork_fairseq_train(*train_flags(sentence_data, twin, max_update=8, save_interval_updates=2))
    _cut(tmp_path / "run" / "checkpoint_last.pt")
    _cut(tmp_path / "run" / "checkpoint_1_6.pt")
    done = fork_fairseq_train(*stopped(max_update=8))
    assert f"going on from {tmp_path}/run/checkpoint_1_4.pt, 4 updates" in done.stdout
    assert "(epoch 1 @ 4 updates)" in done.stdout
    assert_bit_equal(trained_weights(tmp_path / "run"), trained_weights(twin))


def test_the_newest_is_taken_whatever_its_name(
    stopped: Callable[..., list[str]], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    _cut(run / "checkpoint_last.pt")
    (run / "checkpoint_1_4.pt").rename(run / "checkpoint_best.pt")
    os.utime(run / "checkpoint_best.pt")
    done = fork_fairseq_train(*stopped(max_update=6))
    assert "checkpoint_best.pt, 4 updates" in done.stdout


@pytest.mark.parametrize("fixes", ["", "damaged-last"])
def test_one_line_where_nothing_is_whole(
    fixes: str, stopped: Callable[..., list[str]], tmp_path: Path
) -> None:
    """With the fix off the others are not tried."""
    for path in (tmp_path / "run").glob("*.pt") if not fixes else [_last(tmp_path)]:
        _cut(path)
    done = fork_fairseq_train(*stopped(max_update=8), check=False, env={"RXF_FIXES": fixes})
    assert done.returncode == 1
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("rxf: error: ") and str(_last(tmp_path)) in line
    assert "Traceback" not in done.stderr
    assert ("delete it to start again" in line) == (not fixes)


def test_a_named_file_stays_an_error(stopped: Callable[..., list[str]], tmp_path: Path) -> None:
    named = tmp_path / "run" / "checkpoint_1_6.pt"
    _cut(named)
    done = fork_fairseq_train(*stopped(max_update=8, restore_file=named), check=False)
    assert done.stderr.strip().splitlines()[-1].startswith(f"rxf: error: checkpoint {named} ")
    assert "going on from" not in done.stdout


def _last(folder: Path) -> Path:
    return folder / "run" / "checkpoint_last.pt"


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
