"""What every method of the registry must keep, checked in process on tiny data."""

from typing import Any

import pytest
import torch
from torch import Tensor

from rxf.errors import UserError
from rxf.fairseq_fixes import criterion_hooks
from rxf.forward import NoiseStream
from rxf.methods.registry import PLAIN
from tests.methods.every import (
    AT_PLAIN,
    CASES,
    DIFFERENT,
    LR,
    SENTENCES,
    Case,
    Data,
    gradients,
    losses_in_validation,
    parameters,
    rows,
    rows_of_passes,
    step,
    stock_criterion,
    trainer_for,
)
from tests.methods.reading_back import ReadingBack
from tests.support import assert_bit_equal

DataOf = dict[str, Data]


HOOKS = ("build_for", "train_step", "before_epoch", "after_update")


def after_two_updates(case: Case, data: Data, parts: int) -> list[dict[str, Tensor]]:
    """Gradients of the second update, and the weights after it; 8 rows in so many batches."""
    trainer = trainer_for(data, case.steady, dropout=False)
    size = 8 // parts
    for start in (0, 8):
        first = range(start, start + 8, size)
        trainer.train_step([rows(trainer, row, row + size) for row in first])
    weights = {name: value.detach() for name, value in parameters(trainer).items()}
    return [gradients(trainer), weights]


def largest(tensors: dict[str, Tensor]) -> float:
    return max(float(tensor.abs().max()) for tensor in tensors.values())


@CASES
def test_it_learns(case: Case, data_of: DataOf) -> None:
    """The task loss of 16 sentences falls while they are trained on, dropout and noise on."""
    trainer = trainer_for(data_of[case.kind], case.settings, lr=[0.005])
    sample = rows(trainer, 0, 16)
    before = task_loss(trainer, sample, case.kind)
    for epoch in range(1, 6):
        trainer.begin_epoch(epoch)
        for _ in range(8):
            trainer.train_step([sample])
    assert task_loss(trainer, sample, case.kind) < 0.7 * before


def task_loss(trainer: Any, sample: dict[str, Any], kind: str) -> float:
    """fairseq's own, in validation, of one sentence or token."""
    loss, size = losses_in_validation(trainer, sample, stock_criterion(trainer, kind))
    return float(loss) / size


@CASES
def test_an_update_may_be_split(
    case: Case, data_of: DataOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 x 8 rows are 2 x 4, or the method says why not, and then they are not."""
    from tests.methods.noise_by_position import draw

    monkeypatch.setattr(NoiseStream, "draw", draw)
    data = data_of[case.kind]
    whole, split = (after_two_updates(case, data, parts) for parts in (1, 2))
    worst = 0.0
    for one, two in zip(whole, split, strict=True):
        assert one.keys() == two.keys()
        difference = {name: two[name] - one[name] for name in one}
        worst = max(worst, largest(difference) / largest(one))
    if case.method.not_additive is None:
        assert worst < 1e-5
    else:
        assert len(case.method.not_additive.split()) > 2
        assert worst > 1e-3, "the claim that it is not additive is stale"


@AT_PLAIN
def test_plain_settings_are_the_stock_criterion(case: Case, data_of: DataOf) -> None:
    """Loss and gradients bit for bit, dropout on, by one pass over the rows of the batch."""
    trainer = trainer_for(data_of[case.kind], case.steady, **(case.method.plain_at or {}))
    sample = rows(trainer, 0, 6)
    with rows_of_passes(trainer.model) as seen:
        loss, found = step(trainer, sample, trainer.criterion)
    assert seen and all(calls == [6] for calls in seen.values())
    stock_loss, wanted = step(trainer, sample, stock_criterion(trainer, case.kind))
    assert torch.equal(loss, stock_loss)
    assert_bit_equal(found, wanted)
    assert largest(found) > 0


@DIFFERENT
def test_it_is_not_plain_fine_tuning(case: Case, data_of: DataOf) -> None:
    """After two updates with dropout on, so that scales count even where Adam divides."""
    weights = []
    for settings in (case.steady, Case(PLAIN, case.kind).steady):
        trainer = trainer_for(data_of[case.kind], settings)
        for start in (0, 8):
            trainer.train_step([rows(trainer, start, start + 8)])
        weights.append({name: p.detach() for name, p in trainer.get_model().named_parameters()})
    one, plain = weights
    difference = {name: one[name] - plain[name] for name in one.keys() & plain.keys()}
    assert largest(difference) > 0.01 * LR


@CASES
def test_validation_is_the_stock_criterion(case: Case, data_of: DataOf) -> None:
    trainer = trainer_for(data_of[case.kind], case.steady)
    trainer.train_step([rows(trainer, 0, 8)])
    sample = rows(trainer, 8, 15)
    found = losses_in_validation(trainer, sample, trainer.criterion)
    wanted = losses_in_validation(trainer, sample, stock_criterion(trainer, case.kind))
    assert torch.equal(found[0], wanted[0]) and found[1] == wanted[1]


@SENTENCES
def test_regression_trains_or_is_refused(case: Case, data_of: DataOf) -> None:
    numbers = data_of["regression"]
    changes = {"data": str(numbers.folder), "num_classes": 1, "regression_target": True}

    def trained() -> Any:
        return trainer_for(data_of["sentences"], case.steady, lr=[0.01], **changes)

    if case.method.classes_only:
        with pytest.raises(UserError, match="--regression-target") as caught:
            trained()
        assert "\n" not in str(caught.value)
        return
    trainer = trained()
    everything = rows(trainer, 0, 64)
    before = task_loss(trainer, everything, case.kind)
    for start in [*range(0, 64, 8)] * 2:
        trainer.train_step([rows(trainer, start, start + 8)])
    assert task_loss(trainer, everything, case.kind) < 0.5 * before


@CASES
def test_hooks_that_nothing_calls_are_refused(
    case: Case, data_of: DataOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would train on without its teacher, its heads or its bound."""
    criterion = trainer_for(data_of[case.kind], case.settings).get_criterion()
    monkeypatch.setattr(criterion_hooks, "status", lambda: {"criterion-hooks": False})
    if not any(hasattr(criterion, name) for name in HOOKS):
        trainer_for(data_of[case.kind], case.settings)
        return
    name = case.settings["criterion"]
    with pytest.raises(UserError, match=f"^--criterion {name} needs rxf's fix criterion-hooks"):
        trainer_for(data_of[case.kind], case.settings)


# Values that are on the host already, or are looked at on a CPU alone.
ON_THE_HOST = {
    "classification/criterion.py:_check_range",
    "divergence/fused_linear.py:backward",
    "optim/component_adam.py:_treatment",
}
# How many positions take part: the loss is made of these alone.  Once an update.
POSITIONS = {"divergence/fused_linear.py:fused_linear_ce_kl"}


@CASES
def test_an_update_does_not_wait_for_the_device(case: Case, data_of: DataOf) -> None:
    """The first updates may: they check."""
    trainer = trainer_for(data_of[case.kind], case.settings)
    for start in (0, 8):
        trainer.train_step([rows(trainer, start, start + 8)])
    sample = rows(trainer, 16, 24)
    with ReadingBack() as reading:
        trainer.train_step([sample])
    assert reading.found <= ON_THE_HOST | POSITIONS
