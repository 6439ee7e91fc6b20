"""Regression targets are not rounded to half precision."""

from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.trainer import Trainer

from tests.support import (
    build_from_flags,
    first_batch,
    fork_fairseq_train,
    stock,
    train_flags,
    write_sentence_data,
)


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sentence_data(tmp_path_factory.mktemp("scores"), regression=True)


def _converted(data: Path, convert: Any, **settings: Any) -> tuple[Any, Any]:
    flags = train_flags(data, Path("unused"), **settings)
    cfg, task, model, criterion = build_from_flags(flags)
    trainer = Trainer(cfg, task, model, criterion)
    sample = first_batch(task)
    sample["net_input"]["floats"] = torch.ones(1)
    return sample, convert(trainer, sample)


@pytest.mark.parametrize("flag", ["fp16", "bf16"])
def test_targets_stay_in_fp32(flag: str, scores: Path) -> None:
    sample, converted = _converted(scores, Trainer._fp_convert_sample, **{flag: True})
    assert sample["target"].dtype is torch.float32
    assert torch.equal(converted["target"], sample["target"])
    # Inputs are cast as before.
    assert converted["net_input"]["floats"].dtype is not torch.float32
    sample, converted = _converted(scores, stock(Trainer._fp_convert_sample), **{flag: True})
    assert not torch.equal(converted["target"].float(), sample["target"])


def test_class_labels_and_fp32_are_left_alone(scores: Path, sentence_data: Path) -> None:
    sample, converted = _converted(sentence_data, Trainer._fp_convert_sample, fp16=True)
    assert converted["target"].dtype is torch.int64
    sample, converted = _converted(scores, Trainer._fp_convert_sample)
    assert converted is sample


def test_half_precision_regression_trains(scores: Path, tmp_path: Path) -> None:
    flags = train_flags(scores, tmp_path, fp16=True, memory_efficient_fp16=True)
    fork_fairseq_train(*flags, "--on-cpu-convert-precision")
