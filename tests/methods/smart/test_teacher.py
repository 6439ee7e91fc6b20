"""The slow copy over updates, epochs and resumes, through fairseq's own trainer."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rxf.errors import UserError
from rxf.methods.smart.teacher import MeanTeacher
from tests.fairseq_fixes.test_criterion_hooks import trainer_with
from tests.support import build_from_flags, first_batch, fork_fairseq_train, train_flags

SMART = {"criterion": "sentence_prediction_smart", "r3f_lambda": None, "max_update": 20}


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {n: p.detach().float().clone() for n, p in model.named_parameters()}


@pytest.mark.parametrize(
    "more, early_updates",
    [
        ({}, 2),
        ({"fp16": True, "memory_efficient_fp16": True}, 2),
        ({"smart_early_share": 0.0}, 0),
        ({"smart_early_share": 1.0}, 20),
    ],
)
def test_it_is_the_average_by_its_definition(
    sentence_data: Path, more: Any, early_updates: int
) -> None:
    """beta 0.8 for the first 10 % of 20 updates, then 0.95, from the first weights on."""
    flags = {**SMART, "smart_beta": 0.8, "smart_late_beta": 0.95, "lr": 0.01, **more}
    trainer, task, criterion = trainer_with(sentence_data, **flags)
    trainer.begin_epoch(1)
    wanted = weights(trainer.get_model())
    for update in range(1, 5):
        trainer.train_step([first_batch(task)])
        beta = 0.8 if update <= early_updates else 0.95
        now = weights(trainer.get_model())
        wanted = {name: beta * value + (1 - beta) * now[name] for name, value in wanted.items()}
        assert criterion.teacher.tensors.keys() == wanted.keys()
        for name, value in wanted.items():
            got = criterion.teacher.tensors[name]
            assert got.dtype is torch.float32
            torch.testing.assert_close(got, value, rtol=1e-6, atol=1e-7, msg=name)


def test_the_first_update_has_no_pull_and_the_second_has(sentence_data: Path) -> None:
    """Without dropout the copy is the model itself at first."""
    trainer, task, criterion = trainer_with(sentence_data, **SMART, smart_lambda=0.0, lr=1e-3)
    trainer.begin_epoch(1)
    sample = first_batch(task)
    pulls = []
    for _ in range(3):
        model = trainer.get_model().train()
        pulls.append(float(criterion.train()(model, sample)[2]["teacher_kl"]))
        trainer.train_step([sample])
    assert pulls[0] == pytest.approx(0.0, abs=1e-9)
    assert pulls[2] > pulls[1] > 1e-7


def test_a_new_run_does_not_take_another_ones_copy(sentence_data: Path) -> None:
    """--finetune-from-model may name a file that SMART has saved."""
    trainer, _, criterion = trainer_with(sentence_data, **SMART)
    stale = {name: value + 1.0 for name, value in weights(trainer.get_model()).items()}
    criterion.set_extra_state({"teacher": stale})
    trainer.begin_epoch(1)
    now = weights(trainer.get_model())
    assert all(torch.equal(value, now[name]) for name, value in criterion.teacher.tensors.items())


def test_no_copy_is_kept_without_mu(sentence_data: Path) -> None:
    trainer, task, criterion = trainer_with(sentence_data, **SMART, smart_mu=0.0)
    trainer.begin_epoch(1)
    trainer.train_step([first_batch(task)])
    assert criterion.get_extra_state() == {"teacher": {}}


def test_a_schedule_without_an_end_is_refused(sentence_data: Path) -> None:
    flags = {**SMART, "max_update": None}
    trainer, _, _ = trainer_with(sentence_data, **flags)
    with pytest.raises(UserError, match="--max-update .or --smart-early-share 1"):
        trainer.begin_epoch(1)
    for known in ({"smart_early_share": 1}, {"smart_late_beta": 0.99}, {"smart_mu": 0}):
        trainer_with(sentence_data, **flags, **known)[0].begin_epoch(1)


def test_frozen_parameters_are_the_models_own(sentence_data: Path) -> None:
    _, _, model, _ = build_from_flags(train_flags(sentence_data, sentence_data / "none"))
    model.encoder.sentence_encoder.embed_tokens.weight.requires_grad_(False)
    teacher = MeanTeacher()
    teacher.start_at(model)
    assert "encoder.sentence_encoder.embed_tokens.weight" not in teacher.tensors
    tokens = torch.randint(4, 20, (2, 5))

    def features(model: Any, net_input: Any) -> torch.Tensor:
        return model(**net_input, features_only=True)[0]

    taught = teacher.outputs(model, {"src_tokens": tokens}, features)
    model.eval()
    torch.testing.assert_close(taught, features(model, {"src_tokens": tokens}))
    assert not taught.requires_grad


def test_a_resumed_run_goes_on_with_the_copy(sentence_data: Path, tmp_path: Path) -> None:
    from tests.support import load_checkpoint

    flags = {"criterion": "sentence_prediction_smart", "dropout": 0.1, "smart_early_share": 1.0}
    fork_fairseq_train(*train_flags(sentence_data, tmp_path / "a", **flags, max_update=6))
    for last in (3, 6):
        fork_fairseq_train(*train_flags(sentence_data, tmp_path / "b", **flags, max_update=last))
    copies = [
        load_checkpoint(tmp_path / run / "checkpoint_last.pt")["criterion"]["_extra_state"]
        for run in ("a", "b")
    ]
    assert copies[0]["teacher"].keys() == copies[1]["teacher"].keys()
    for name, value in copies[0]["teacher"].items():
        assert torch.equal(value, copies[1]["teacher"][name]), name
