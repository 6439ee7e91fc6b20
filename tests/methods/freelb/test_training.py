"""FreeLB through fairseq's trainer: the plain step, accumulation, precisions, resume, ranks."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.trainer import Trainer

from tests.support import (
    RANKS,
    STILL,
    assert_bit_equal,
    assert_close,
    build_from_flags,
    first_batch,
    fork_fairseq_train,
    train_flags,
    train_log,
    trained_weights,
    two_ranks_and_one,
    used_parameters,
)

FREELB = {"criterion": "sentence_prediction_freelb"}
FREELB |= {"freelb_adv_lr": 0.3, "freelb_init_mag": 0.4, "freelb_max_norm": 0.6}
CLEAN = {"freelb_init_mag": 0.0}
PLAIN = {"criterion": "sentence_prediction_r3f", "r3f_lambda": 0.0}
DROPOUT = {"dropout": 0.1, "attention_dropout": 0.1}


def halves(sample: dict[str, Any]) -> list[dict[str, Any]]:
    parts = []
    for half in (slice(0, 4), slice(4, 8)):
        net_input = {name: value[half] for name, value in sample["net_input"].items()}
        tokens = int(net_input["src_lengths"].sum())
        rows = {"id": sample["id"][half], "target": sample["target"][half], "nsentences": 4}
        parts.append({**rows, "net_input": net_input, "ntokens": tokens})
    return parts


def after_updates(data: Path, split: bool = False, updates: int = 2, **flags: Any) -> Any:
    """The weights after some updates on the first 8 rows, in an in-process trainer."""
    cfg, task, model, criterion = build_from_flags(train_flags(data, data / "none", **flags))
    trainer = Trainer(cfg, task, model, criterion)
    trainer.get_train_iterator(1)
    trainer.begin_epoch(1)
    for _ in range(updates):
        sample = first_batch(task)
        trainer.train_step(halves(sample) if split else [sample])
    return used_parameters(trainer.get_model().state_dict())


@pytest.mark.parametrize("fp16", [False, True], ids=["fp32", "memory-efficient-fp16"])
def test_one_clean_pass_trains_as_plain(sentence_data: Path, fp16: bool) -> None:
    flags = {**DROPOUT, "fp16": fp16, "memory_efficient_fp16": fp16, "fp16_init_scale": 4}
    wanted = after_updates(sentence_data, **flags, **PLAIN)
    got = after_updates(sentence_data, **flags, **{**FREELB, **CLEAN, "freelb_steps": 1})
    assert_bit_equal(got, wanted)


def test_an_update_of_8_is_one_of_2_x_4(sentence_data: Path) -> None:
    """From the clean embeddings: the random start is each batch's own."""
    flags = {**STILL, "optimizer": "sgd", "lr": 0.5}
    whole = after_updates(sentence_data, **flags, **FREELB | CLEAN)
    split = after_updates(sentence_data, split=True, **flags, **FREELB | CLEAN)
    assert_close(split, whole)
    plain = after_updates(sentence_data, **flags, **PLAIN)
    name = "encoder.sentence_encoder.layers.0.fc1.weight"
    assert not torch.allclose(plain[name], whole[name], rtol=1e-2, atol=1e-4)


def test_a_loss_scale_drops_out(sentence_data: Path) -> None:
    """The climb goes by the direction alone; 4 and 1024 differ by what fp16 underflows.

    With so large an eps Adam's step is as large as the gradient.
    """
    flags = {**FREELB, **STILL, "fp16": True, "memory_efficient_fp16": True}
    flags |= {"optimizer": "adam", "adam_eps": 1.0, "lr": 0.5}
    one = after_updates(sentence_data, fp16_init_scale=4, **flags)
    other = after_updates(sentence_data, fp16_init_scale=1024, **flags)
    assert_close(one, other, rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize(
    "precision",
    [
        {"fp16": True, "fp16_init_scale": 4},
        {"fp16": True, "memory_efficient_fp16": True, "fp16_init_scale": 4},
        # The first updates overflow.
        {"fp16": True, "memory_efficient_fp16": True, "fp16_init_scale": 2**24},
        {"bf16": True},
    ],
    ids=["fp16", "memory-efficient-fp16", "overflow", "bf16"],
)
def test_half_precision_stays_finite(
    sentence_data: Path, pretrained: Path, tmp_path: Path, precision: dict[str, Any]
) -> None:
    settings = {"finetune_from_model": pretrained, **FREELB, **precision}
    flags = train_flags(sentence_data, tmp_path, max_update=6, disable_validation=None, **settings)
    done = fork_fairseq_train(*flags)
    overflow = precision.get("fp16_init_scale") == 2**24
    assert ("gradient overflow detected" in done.stdout) is overflow
    updates = [entry for entry in train_log(done.stdout) if entry["tag"] == "train_inner"]
    assert updates[-1]["num_updates"] == 6
    for entry in updates:
        assert math.isfinite(entry["loss"]) and 0 < entry["delta_norm"] < 0.61
    assert all(tensor.isfinite().all() for tensor in trained_weights(tmp_path).values())


def test_resume_equals_an_uninterrupted_run(
    sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    """Random start and dropout on."""
    settings = {"finetune_from_model": pretrained, **FREELB, **DROPOUT}
    for folder, stops in (("whole", [8]), ("resumed", [5, 8])):
        for stop in stops:
            flags = train_flags(sentence_data, tmp_path / folder, max_update=stop, **settings)
            done = fork_fairseq_train(*flags)
    assert "Loaded checkpoint" in done.stdout + done.stderr
    assert_bit_equal(trained_weights(tmp_path / "resumed"), trained_weights(tmp_path / "whole"))


def test_the_log_holds_the_mean_of_the_passes(
    sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    """Which are all the same where nothing climbs."""
    settings = {**STILL, "finetune_from_model": pretrained, "lr": 0.0, "report_mcc": True}
    settings |= {"max_update": 1, "disable_validation": None}
    flat = {**FREELB, **CLEAN, "freelb_adv_lr": 0.0}
    done = fork_fairseq_train(*train_flags(sentence_data, tmp_path / "a", **settings, **flat))
    plain = train_flags(sentence_data, tmp_path / "b", **settings, **PLAIN)
    reference = fork_fairseq_train(*plain)
    for tag, key in (("train_inner", "loss"), ("train_inner", "mcc"), ("valid", "valid_loss")):
        got, wanted = (
            next(entry[key] for entry in train_log(run.stdout) if entry["tag"] == tag)
            for run in (done, reference)
        )
        assert got == wanted


def test_without_the_fix_nothing_trains(
    sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    flags = train_flags(sentence_data, tmp_path, finetune_from_model=pretrained, **FREELB)
    done = fork_fairseq_train(*flags, env={"RXF_FIXES": "criterion-hooks"}, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("rxf: error: --criterion sentence_prediction_freelb")
    assert "criterion-hooks" in last


@pytest.mark.slow
@pytest.mark.parametrize("backend", list(RANKS))
def test_two_processes_equal_one(sentence_data: Path, tmp_path: Path, backend: str) -> None:
    """From the clean embeddings; each rank's gradients of three passes are exchanged once."""
    settings = {**FREELB, **CLEAN, **RANKS[backend]}
    two_ranks_and_one(train_flags, sentence_data, tmp_path, **settings)
    assert_close(trained_weights(tmp_path / "two"), trained_weights(tmp_path / "one"))
