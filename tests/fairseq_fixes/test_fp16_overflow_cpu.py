"""fp16 without CUDA survives an overflow."""

from pathlib import Path

import pytest
import torch
from fairseq import trainer
from fairseq.optim import fp16_optimizer

from tests.support import fork_fairseq_train, train_flags, train_log

OFF = {"RXF_FIXES": "fp16-overflow-cpu"}


@pytest.mark.parametrize("memory_efficient", [True, False])
def test_overflow_is_skipped(memory_efficient: bool, tmp_path: Path, sentence_data: Path) -> None:
    # From a scale of 2**24, the first updates overflow.
    flags = train_flags(sentence_data, tmp_path / "a", fp16=True, fp16_init_scale=2**24)
    if memory_efficient:
        flags.append("--memory-efficient-fp16")
    done = fork_fairseq_train(*flags)
    assert "gradient overflow detected" in done.stdout
    last = train_log(done.stdout)[-1]
    assert last["train_num_updates"] == 4 and last["train_loss_scale"] < 2**24
    done = fork_fairseq_train(*flags, "--save-dir", tmp_path / "b", env=OFF, check=False)
    assert done.returncode != 0
    assert ("CUDA" in done.stderr) or ("NVIDIA" in done.stderr)


def test_with_cuda_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    assert type(trainer.torch.tensor(0.0)) is torch.Tensor
    assert fp16_optimizer.torch.cuda.current_device() == 3


def test_without_cuda_the_zero_stays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    zero = trainer.torch.tensor(0.0).cuda()
    assert type(zero) is torch.Tensor and zero.device.type == "cpu"
    assert trainer.torch.nn is torch.nn
