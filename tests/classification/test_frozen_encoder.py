"""``--freeze-encoder``: only the head moves, on features without dropout."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rxf.methods import registry
from tests.forward.models import batch, build, sentence_logits
from tests.support import (
    HEAD,
    RANKS,
    assert_bit_equal,
    assert_close,
    build_from_flags,
    first_batch,
    fork_fairseq_train,
    load_model_state,
    train_flags,
    trained_weights,
    two_ranks_and_one,
    used_parameters,
)

FROZEN = {
    "freeze_encoder": True,
    "criterion": "sentence_prediction_r3f",
    "r3f_lambda": 0.0,
    "dropout": 0.3,
    "attention_dropout": 0.3,
    "lr": 1e-2,
    "weight_decay": 0.1,
}
IN_HEAD = "classification_heads."


def encoder_of(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state.items() if not name.startswith(IN_HEAD)}


@pytest.mark.parametrize("arch", ["roberta", "bart_base"])
def test_the_encoder_is_frozen_and_in_evaluation_mode(arch: str) -> None:
    noisy = {"dropout": 0.5, "attention_dropout": 0.5, "pooler_dropout": 0.0}
    model = build(arch, freeze_encoder=True, **noisy)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained and all(name.startswith(IN_HEAD + HEAD) for name in trained)
    net_input = batch(arch)
    quiet = sentence_logits(model.eval(), net_input)
    assert model.train() is model and model.training
    modes = {name.split(".")[0]: m.training for name, m in model.named_modules() if name}
    assert modes.pop("classification_heads") is True
    assert set(modes.values()) == {False}
    assert torch.equal(sentence_logits(model, net_input), quiet)


def test_without_the_flag_nothing_is_frozen() -> None:
    model = build("roberta", dropout=0.5).train()
    assert all(p.requires_grad for p in model.parameters())
    net_input = batch("roberta")
    assert not torch.equal(sentence_logits(model, net_input), sentence_logits(model, net_input))


def test_dropout_in_the_head_stays() -> None:
    model = build("roberta", freeze_encoder=True, pooler_dropout=0.5).train()
    net_input = batch("roberta")
    assert not torch.equal(sentence_logits(model, net_input), sentence_logits(model, net_input))


def test_training_moves_the_head_alone_and_resumes(
    sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    settings = {**FROZEN, "finetune_from_model": pretrained, "save_interval_updates": 3}
    fork_fairseq_train(*train_flags(sentence_data, tmp_path / "whole", max_update=6, **settings))
    whole = trained_weights(tmp_path / "whole")
    assert_bit_equal(encoder_of(whole), used_parameters(load_model_state(pretrained)))
    for stop in (3, 6):
        done = fork_fairseq_train(
            *train_flags(sentence_data, tmp_path / "parts", max_update=stop, **settings)
        )
    assert "Loaded checkpoint" in done.stdout + done.stderr
    parts = trained_weights(tmp_path / "parts")
    assert_bit_equal(parts, whole)
    _, _, start, _ = build_from_flags(train_flags(sentence_data, tmp_path, **FROZEN))
    name = f"{IN_HEAD}{HEAD}.out_proj.weight"
    assert not torch.equal(start.state_dict()[name], whole[name])


def test_half_precision_keeps_the_encoder_too(
    sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    """Gradients of 0 would let --fp16 decay frozen weights."""
    settings = {**FROZEN, "finetune_from_model": pretrained, "fp16": True}
    fork_fairseq_train(*train_flags(sentence_data, tmp_path, **settings))
    before = {k: v.half() for k, v in used_parameters(load_model_state(pretrained)).items()}
    after = {name: value.half() for name, value in trained_weights(tmp_path).items()}
    assert_bit_equal(encoder_of(after), before)


@pytest.mark.slow
@pytest.mark.parametrize("backend", list(RANKS))
def test_two_processes(backend: str, sentence_data: Path, pretrained: Path, tmp_path: Path) -> None:
    settings = {**FROZEN, "finetune_from_model": pretrained, "pooler_dropout": 0.0}
    two_ranks_and_one(train_flags, sentence_data, tmp_path, **settings, **RANKS[backend])
    one, two = (trained_weights(tmp_path / name) for name in ("one", "two"))
    assert_close(two, one)
    assert_bit_equal(encoder_of(two), encoder_of(one))


@pytest.mark.parametrize("name", ["r3f", "r4f", "smart", "mmr", "recadam"])
def test_methods_go_with_it(name: str, sentence_data: Path, tmp_path: Path) -> None:
    """Gradients to the embeddings still exist where a method asks for them."""
    method = registry.find(name)
    criterion = registry.flags(method, "sentences")["criterion"]
    settings: dict[str, Any] = {**FROZEN, "criterion": criterion}
    if criterion != FROZEN["criterion"]:
        settings.pop("r3f_lambda")
    _, task, model, loss = build_from_flags(train_flags(sentence_data, tmp_path, **settings))
    model.train()
    total, _, _ = loss.train()(model, first_batch(task))
    total.backward()
    moved = [n for n, p in model.named_parameters() if p.grad is not None]
    assert moved and all(name.startswith(IN_HEAD) for name in moved)


def test_a_model_without_a_head_is_refused(
    sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    flags = train_flags(
        sentence_data / "input0",
        tmp_path,
        task="masked_lm",
        criterion="masked_lm",
        tokens_per_sample=64,
        freeze_encoder=True,
        regression_target=None,
        classification_head_name=None,
        num_classes=None,
        init_token=None,
        separator_token=None,
    )
    done = fork_fairseq_train(*flags, check=False)
    assert done.returncode != 0
    assert "rxf: error: --freeze-encoder trains the classification head alone" in done.stderr
