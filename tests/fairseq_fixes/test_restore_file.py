"""A file that the user names to start from must exist; the form that resumes still does."""

from pathlib import Path

import pytest

from tests.support import fork_fairseq_train, train_flags


@pytest.mark.parametrize("flag", ["restore_file", "finetune_from_model"])
@pytest.mark.parametrize("what", ["missing", "folder"])
def test_named_file_must_exist(flag: str, what: str, tmp_path: Path, sentence_data: Path) -> None:
    path = tmp_path if what == "folder" else tmp_path / "no.pt"
    flags = train_flags(sentence_data, tmp_path / "save", **{flag: path})
    done = fork_fairseq_train(*flags, check=False)
    assert done.returncode == 1
    line = f"rxf: error: --{flag.replace('_', '-')} {path} does not exist"
    assert line in done.stderr
    assert "Traceback" not in done.stderr
    assert "begin training epoch" not in done.stdout


def test_off_switch_trains_from_random_weights(tmp_path: Path, sentence_data: Path) -> None:
    flags = train_flags(sentence_data, tmp_path / "save", restore_file=tmp_path / "no.pt")
    done = fork_fairseq_train(*flags, env={"RXF_FIXES": "restore-file"})
    assert "No existing checkpoint found" in done.stdout
    assert "begin training epoch" in done.stdout


def test_form_that_resumes(tmp_path: Path, sentence_data: Path, pretrained: Path) -> None:
    start = tmp_path / "model.pt"
    start.write_bytes(pretrained.read_bytes())
    flags = train_flags(sentence_data, tmp_path / "save", finetune_from_model=start)
    done = fork_fairseq_train(*flags)
    assert f"loading pretrained model from {start}" in done.stdout
    # Later runs take checkpoint_last.pt, and no longer need the pre-trained file.
    start.unlink()
    done = fork_fairseq_train(*flags, "--max-update", 6)
    assert f"Loaded checkpoint {tmp_path}/save/checkpoint_last.pt (epoch 1 @ 4" in done.stdout
    assert "num_updates: 6 >= max_update: 6" in done.stdout


def test_nothing_named_nothing_there(tmp_path: Path, sentence_data: Path) -> None:
    done = fork_fairseq_train(*train_flags(sentence_data, tmp_path / "save"))
    assert "No existing checkpoint found" in done.stdout


def test_a_restore_file_that_passes_over_an_earlier_run_is_said(
    tmp_path: Path, sentence_data: Path, pretrained: Path
) -> None:
    flags = train_flags(
        sentence_data,
        tmp_path,
        restore_file=pretrained,
        reset_optimizer=True,
        reset_dataloader=True,
        reset_meters=True,
    )
    assert "is not resumed" not in fork_fairseq_train(*flags).stdout
    done = fork_fairseq_train(*flags)
    assert f"{tmp_path}/checkpoint_last.pt is not resumed" in done.stdout
