"""Checkpoints load by the allow-list; bad ones end in one line that names them."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.distributed import utils as distributed_utils

from rxf.errors import UserError
from tests.support import fork_fairseq_train, run_fairseq_train, train_flags


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A file that makes ``tmp_path/ran`` where its code runs."""
    torch.save({"args": _Touch(tmp_path / "ran"), "model": {}}, tmp_path / "hostile.pt")
    return tmp_path / "hostile.pt"


def _bad(kind: str, folder: Path, good: Path) -> Path:
    path = folder / f"{kind}.pt"
    if kind == "truncated":
        path.write_bytes(good.read_bytes()[:3000])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is no checkpoint\n")
    elif kind == "tensors":
        torch.save({"weight": torch.zeros(2)}, path)
    elif kind == "list":
        torch.save([1, 2], path)
    return path


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "tensors", "list", "missing"])
def test_bad_file_is_named_in_one_line(kind: str, tmp_path: Path, pretrained: Path) -> None:
    path = _bad(kind, tmp_path, pretrained)
    with pytest.raises(UserError) as error:
        checkpoint_utils.load_checkpoint_to_cpu(str(path))
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_hostile_file_is_refused(hostile: Path, tmp_path: Path) -> None:
    for load in (
        checkpoint_utils.load_checkpoint_to_cpu,
        checkpoint_utils.load_ema_from_checkpoint,
        lambda path: checkpoint_utils.load_model_ensemble_and_task([path]),
    ):
        with pytest.raises(UserError, match="hostile.pt was refused"):
            load(str(hostile))
    assert not (tmp_path / "ran").exists()


def test_hostile_file_stops_training(hostile: Path, tmp_path: Path, sentence_data: Path) -> None:
    flags = train_flags(sentence_data, tmp_path / "save", restore_file=hostile)
    done = fork_fairseq_train(*flags, check=False)
    assert done.returncode == 1
    assert f"rxf: error: checkpoint {hostile} was refused" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "ran").exists()


def test_off_switch(tmp_path: Path, sentence_data: Path, pretrained: Path) -> None:
    bad = _bad("truncated", tmp_path, pretrained)
    flags = train_flags(sentence_data, tmp_path / "save", restore_file=bad)
    done = fork_fairseq_train(*flags, env={"RXF_FIXES": "checkpoint-loading"}, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "rxf: error" not in done.stderr


@pytest.mark.parametrize("module", [checkpoint_utils, distributed_utils])
def test_stock_fairseq_gets_the_allow_list(module: Any, pretrained: Path, hostile: Path) -> None:
    # These modules of a stock fairseq call torch.load, which with torch >= 2.6 refuses
    # a Namespace and before that runs whatever the file says.
    assert "args" in module.torch.load(pretrained, map_location="cpu")
    with pytest.raises(Exception, match="system"):
        module.torch.load(hostile, map_location="cpu")
    assert not (hostile.parent / "ran").exists()


def test_ema_weights_load(tmp_path: Path) -> None:
    state = {"model": {}, "extra_state": {"ema": {"weight": torch.ones(2)}}}
    torch.save(state, tmp_path / "ema.pt")
    loaded = checkpoint_utils.load_ema_from_checkpoint(str(tmp_path / "ema.pt"))
    assert torch.equal(loaded["model"]["weight"], torch.ones(2))


def test_validate_names_the_missing_file(tmp_path: Path, sentence_data: Path) -> None:
    flags = ["--task", "sentence_prediction", "--batch-size", "8", "--cpu", "--user-dir", "rxf"]
    done = fork_fairseq_train(
        *[sentence_data, "--path", tmp_path / "no.pt", *flags],
        command="fairseq-validate",
        check=False,
    )
    assert done.returncode == 1
    assert f"rxf: error: Model file not found: {tmp_path}/no.pt" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_every_rank_ends_with_the_line(hostile: Path, tmp_path: Path, sentence_data: Path) -> None:
    flags = train_flags(
        sentence_data,
        tmp_path / "save",
        restore_file=hostile,
        distributed_backend="gloo",
        ddp_backend="legacy_ddp",
    )
    # torchrun stops the rank that is slower to end, so one line is sure and two may be.
    done = run_fairseq_train(*flags, nproc=2, check=False, timeout=120)
    assert done.returncode != 0
    assert f"rxf: error: checkpoint {hostile} was refused" in done.stderr
    assert "Connection" not in done.stderr and "connection" not in done.stderr
    assert not (tmp_path / "ran").exists()
