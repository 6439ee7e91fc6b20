"""Parameters, buffers and other state of a criterion."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import models
from fairseq.trainer import Trainer
from torch import nn

from tests.support import build_from_flags, fork_fairseq_train, load_checkpoint, stock, train_flags

PLUGIN = Path(__file__).parent / "stateful_plugin"
OFF = {"RXF_FIXES": "criterion-state"}


def _flags(criterion: str, data: Path, save_dir: Path, **overrides: Any) -> list[str]:
    return train_flags(data, save_dir, user_dir=PLUGIN, criterion=criterion, **overrides)


def _saved(save_dir: Path) -> Any:
    return load_checkpoint(save_dir / "checkpoint_last.pt")["criterion"]


def test_state_is_saved_and_restored(tmp_path: Path, sentence_data: Path) -> None:
    flags = _flags("test_counting", sentence_data, tmp_path)
    fork_fairseq_train(*flags)
    assert _saved(tmp_path)["_extra_state"] == {"calls": 4}
    fork_fairseq_train(*flags, "--max-update", 6)
    assert _saved(tmp_path)["_extra_state"] == {"calls": 6}
    assert _saved(tmp_path)["seen"] == torch.tensor(1.0001) + 6


def test_stock_fairseq_loses_it_and_ignores_it(tmp_path: Path, sentence_data: Path) -> None:
    flags = _flags("test_counting", sentence_data, tmp_path)
    fork_fairseq_train(*flags)
    fork_fairseq_train(*flags, "--max-update", 6, env=OFF)
    assert _saved(tmp_path) is None


def test_absent_parameters_keep_their_values(
    tmp_path: Path, sentence_data: Path, pretrained: Path
) -> None:
    flags = _flags("test_learning", sentence_data, tmp_path, finetune_from_model=pretrained)
    done = fork_fairseq_train(*flags, env=OFF, check=False)
    assert "Cannot load model parameters from checkpoint" in done.stderr
    done = fork_fairseq_train(*flags)
    line = (
        "the checkpoint holds no weight, frozen of LearningCriterion: the initial values are kept"
    )
    assert done.stdout.count(line) == 1
    assert _saved(tmp_path)["frozen"] == 3 and _saved(tmp_path)["weight"] != 1.0001
    # On resume they are there.
    assert "initial values are kept" not in fork_fairseq_train(*flags, "--max-update", 5).stdout


def test_resume_equals_an_uninterrupted_run(tmp_path: Path, sentence_data: Path) -> None:
    fork_fairseq_train(*_flags("test_learning", sentence_data, tmp_path / "a", max_update=6))
    for updates in (3, 6):
        flags = _flags("test_learning", sentence_data, tmp_path / "b", max_update=updates)
        fork_fairseq_train(*flags)
    assert _saved(tmp_path / "a") == _saved(tmp_path / "b")


def test_another_criterion_starts_afresh(tmp_path: Path, sentence_data: Path) -> None:
    fork_fairseq_train(*_flags("test_counting", sentence_data, tmp_path / "a"))
    flags = _flags("test_learning", sentence_data, tmp_path / "b")
    start = tmp_path / "a" / "checkpoint_last.pt"
    done = fork_fairseq_train(*flags, "--finetune-from-model", start)
    assert "of LearningCriterion: the initial values are kept" in done.stdout


@pytest.mark.parametrize("flag", ["fp16", "bf16"])
def test_state_stays_in_fp32_where_asked(flag: str, tmp_path: Path, sentence_data: Path) -> None:
    for name, kept in (("test_counting", True), ("test_learning", False)):
        flags = _flags(name, sentence_data, tmp_path, **{flag: True})
        cfg, task, model, criterion = build_from_flags(flags)
        trainer = Trainer(cfg, task, model, criterion)
        state = [*criterion.parameters(), *criterion.buffers()]
        assert all((tensor.dtype is torch.float32) == kept for tensor in state)
        assert next(trainer.get_model().parameters()).dtype is not torch.float32
        if kept:
            assert torch.equal(criterion.seen, torch.tensor(1.0001))


def test_half_precision_training_runs(tmp_path: Path, sentence_data: Path) -> None:
    for name in ("test_counting", "test_learning"):
        flags = _flags(name, sentence_data, tmp_path / name, fp16=True, memory_efficient_fp16=True)
        fork_fairseq_train(*flags, "--fp16-init-scale", 4)
    assert _saved(tmp_path / "test_counting")["seen"] == torch.tensor(1.0001) + 4


def test_ddp_leaves_a_frozen_module_alone() -> None:
    frozen = nn.Linear(2, 2).requires_grad_(False)
    settings = Namespace(tpu=False, ddp_backend="no such backend")
    cpu = torch.device("cpu")
    assert models.DistributedFairseqModel(settings, frozen, None, cpu) is frozen
    with pytest.raises(ValueError, match="no such backend"):
        stock(models.DistributedFairseqModel)(settings, frozen, None, cpu)


def test_stock_criterion_saves_nothing(tmp_path: Path, sentence_data: Path) -> None:
    fork_fairseq_train(*train_flags(sentence_data, tmp_path))
    assert _saved(tmp_path) is None
