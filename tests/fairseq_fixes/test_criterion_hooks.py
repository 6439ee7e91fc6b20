"""The hooks are called where fairseq's trainer does the work, and stock criterions see nothing."""

from pathlib import Path
from typing import Any

import torch
from fairseq.trainer import Trainer

from rxf.classification import SentenceCriterion
from tests.support import build_from_flags, first_batch, train_flags


class Watching(SentenceCriterion):
    """Notes each call; its step is two backward passes of half the loss."""

    keep_in_fp32 = True

    def __init__(self, cfg: Any, task: Any) -> None:
        super().__init__(cfg, task)
        self.calls: list[Any] = []

    def build_for(self, model: Any) -> None:
        self.calls.append(("build_for", next(model.parameters()).dtype))

    def before_epoch(self, trainer: Trainer, epoch: int) -> None:
        self.calls.append(("before_epoch", epoch))

    def train_step(
        self, sample: Any, model: Any, optimizer: Any, update_num: int, ignore_grad: bool
    ) -> Any:
        self.calls.append(("train_step", update_num, ignore_grad, model.training))
        for _ in range(2):
            loss, size, logged = self(model, sample)
            optimizer.backward(loss / 2)
        return loss.detach(), size, logged

    def after_update(self, trainer: Trainer) -> None:
        self.calls.append(("after_update", trainer.get_num_updates()))


STILL = {"dropout": 0.0, "attention_dropout": 0.0}


def trainer_with(data: Path, kind: Any = None, **flags: Any) -> tuple[Trainer, Any, Any]:
    settings = {"criterion": "sentence_prediction_r3f", "r3f_lambda": 0.0, **STILL, **flags}
    cfg, task, model, criterion = build_from_flags(train_flags(data, data / "none", **settings))
    if kind is not None:
        criterion = kind(cfg.criterion, task)
    trainer = Trainer(cfg, task, model, criterion)
    trainer.get_train_iterator(1)
    return trainer, task, criterion


def test_each_is_called_in_its_place(sentence_data: Path) -> None:
    trainer, task, criterion = trainer_with(sentence_data, Watching)
    trainer.begin_epoch(1)
    sample = first_batch(task)
    trainer.train_step([sample, sample])
    trainer.set_num_updates(7)  # as loading a checkpoint does: no update has been made
    assert criterion.calls == [
        ("build_for", torch.float32),
        ("before_epoch", 1),
        ("train_step", 0, False, True),
        ("train_step", 0, False, True),
        ("after_update", 1),
    ]


class Part(torch.nn.Module):
    def __init__(self, calls: list[Any]) -> None:
        super().__init__()
        self.calls = calls

    def before_epoch(self, trainer: Trainer, epoch: int) -> None:
        self.calls.append(("part", "before_epoch", epoch))

    def after_update(self, trainer: Trainer) -> None:
        self.calls.append(("part", "after_update", trainer.get_num_updates()))


def test_parts_of_a_criterion_are_called_after_it(sentence_data: Path) -> None:
    trainer, task, criterion = trainer_with(sentence_data, Watching)
    criterion.part = Part(criterion.calls)
    trainer.begin_epoch(1)
    trainer.train_step([first_batch(task)])
    assert criterion.calls[1:3] == [("before_epoch", 1), ("part", "before_epoch", 1)]
    assert criterion.calls[-2:] == [("after_update", 1), ("part", "after_update", 1)]


def test_two_halves_are_the_stock_step(sentence_data: Path) -> None:
    weights = []
    for kind in (Watching, None):
        trainer, task, _ = trainer_with(sentence_data, kind)
        trainer.begin_epoch(1)
        trainer.train_step([first_batch(task)])
        weights.append(trainer.get_model().state_dict())
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], rtol=1e-5, atol=1e-6, msg=name)


def test_it_is_built_before_it_is_cast(sentence_data: Path) -> None:
    flags = {"fp16": True, "memory_efficient_fp16": True}
    _, _, criterion = trainer_with(sentence_data, Watching, **flags)
    assert criterion.calls == [("build_for", torch.float32)]


def test_an_update_that_overflows_is_none(sentence_data: Path) -> None:
    class Overflowing(Watching):
        def train_step(self, *args: Any) -> Any:
            _, size, logged = self(args[1], args[0])
            raise_inf = sum(p.sum() for p in args[1].parameters()) * float("inf")
            args[2].backward(raise_inf.float())
            return raise_inf.detach(), size, logged

    flags = {"fp16": True, "memory_efficient_fp16": True, "fp16_init_scale": 4}
    trainer, task, criterion = trainer_with(sentence_data, Overflowing, **flags)
    trainer.begin_epoch(1)
    trainer.train_step([first_batch(task)])
    assert trainer.get_num_updates() == 0
    assert not [call for call in criterion.calls if call[0] == "after_update"]
