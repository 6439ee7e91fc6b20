"""``--store-ema`` with a restore file, and tasks that use the EMA model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.tasks import FairseqTask
from torch import Tensor

from tests.support import (
    fork_fairseq_train,
    load_checkpoint,
    load_model_state,
    stock,
    train_flags,
)


def _ema(save_dir: Path) -> dict[str, Tensor]:
    return load_checkpoint(save_dir / "checkpoint_last.pt")["extra_state"]["ema"]


def _close(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether ``a`` has the weights of ``b``; the version marker is rewritten on loading."""
    return all(torch.allclose(a[key], b[key]) for key in b if not key.endswith(".version"))


@pytest.mark.parametrize("fp32", [False, True])
def test_ema_starts_from_the_restored_model(
    fp32: bool, tmp_path: Path, sentence_data: Path, pretrained: Path
) -> None:
    # A decay of 1 keeps the EMA where it started.
    flags = train_flags(
        sentence_data,
        tmp_path,
        store_ema=True,
        ema_decay=1.0,
        ema_fp32=fp32,
        finetune_from_model=pretrained,
    )
    done = fork_fairseq_train(*flags)
    assert "the restore file holds no EMA: it starts from the restored model" in done.stdout
    start = load_model_state(pretrained)
    assert _close(_ema(tmp_path), start)
    assert not _close(load_model_state(tmp_path / "checkpoint_last.pt"), start)
    # A resume finds the EMA in the file.
    done = fork_fairseq_train(*flags, "--max-update", 6)
    assert "Loading EMA from checkpoint" in done.stdout and "holds no EMA" not in done.stdout
    assert _close(_ema(tmp_path), start)


def test_resumed_ema_equals_an_uninterrupted_one(tmp_path: Path, sentence_data: Path) -> None:
    settings = {"store_ema": True, "ema_decay": 0.5}
    fork_fairseq_train(*train_flags(sentence_data, tmp_path / "a", max_update=6, **settings))
    for updates in (3, 6):
        flags = train_flags(sentence_data, tmp_path / "b", max_update=updates, **settings)
        fork_fairseq_train(*flags)
    a, b = _ema(tmp_path / "a"), _ema(tmp_path / "b")
    assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_off_switch(tmp_path: Path, sentence_data: Path, pretrained: Path) -> None:
    flags = train_flags(sentence_data, tmp_path, store_ema=True, finetune_from_model=pretrained)
    done = fork_fairseq_train(*flags, env={"RXF_FIXES": "ema-restore"}, check=False)
    assert done.returncode != 0 and "KeyError: 'model'" in done.stderr


def test_task_takes_the_ema_model() -> None:
    class Criterion(torch.nn.Module):
        def forward(self, model: Any, sample: Any) -> tuple[float, int, dict[str, int]]:
            return 1.5, 1, {}

    step = FairseqTask.valid_step
    task, model, arguments = FairseqTask(None), torch.nn.Identity(), {"ema_model": None}
    assert step(task, {}, model, Criterion(), **arguments)[0] == 1.5
    assert step(task, {}, model, Criterion())[0] == 1.5
    with pytest.raises(TypeError, match="ema_model"):
        stock(step)(task, {}, model, Criterion(), **arguments)
