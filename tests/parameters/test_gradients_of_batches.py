"""Gradients of training batches, from beside a training that must not notice."""

import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fairseq.logging import metrics
from fairseq.trainer import Trainer

from tests.optim.trainers import build_trainer, update


def _trainer(data: Path, pretrained: Path, precision: str = "fp32", **settings: Any) -> Trainer:
    return build_trainer(data, pretrained, precision, optimizer="cwgnc_adam", **settings)


def _training(trainer: Trainer) -> Any:
    return trainer.optimizer.optimizer.training


def _surroundings(trainer: Trainer) -> dict[str, Any]:
    """All that training goes on from, but for the weights."""
    optimizer, model = trainer.optimizer, trainer.get_model()
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": repr(np.random.get_state()),
        "python": random.getstate(),
        "gradients": [id(parameter.grad) for parameter in model.parameters()],
        "values": [repr(parameter.grad) for parameter in model.parameters()],
        "fp32 gradients": [repr(tensor.grad) for tensor in optimizer.optimizer.tensors],
        "state": repr(optimizer.state_dict()),
        "factor": getattr(optimizer, "_multiply_factor", None),
        "modes": [module.training for module in model.modules()],
        "dummy": id(trainer._dummy_batch),
        "meters": sorted(metrics.get_smoothed_values("default")),
        "aggregators": len(metrics.get_active_aggregators()),
        "iterators": {id(i): i.state_dict() for i in trainer.task.dataset_to_epoch_iter.values()},
    }


@pytest.mark.parametrize("stops_early", [False, True])
@pytest.mark.parametrize(
    "precision", ["fp32", "flattened", "no-flatten", "memory-efficient", "amp"]
)
def test_all_is_as_it_was(
    precision: str, stops_early: bool, sentence_data: Path, pretrained: Path
) -> None:
    """Between an update and the next one, gradients of the last still there."""
    trainer = _trainer(sentence_data, pretrained, precision)
    model = trainer.get_model()
    update(trainer, 0)
    model.train()
    model.encoder.sentence_encoder.layers[0].eval()
    # In the middle of an epoch, and of the streams of random numbers.
    next(trainer.get_train_iterator(1).next_epoch_itr())
    trainer._dummy_batch = {"of": "validation"}
    random.random(), np.random.rand(), torch.rand(1)
    before = _surroundings(trainer)
    gradients = _training(trainer).gradients_of_batches(3, 1)
    for _ in gradients:
        assert not any(module.training for module in model.modules())
        random.random(), np.random.rand(), torch.rand(1)
        if stops_early:
            break
    gradients.close()
    after = _surroundings(trainer)
    for key, value in before.items():
        assert after[key] == value, key


def _rows_seen(trainer: Trainer, monkeypatch: pytest.MonkeyPatch, count: int, epoch: int) -> list:
    """The rows of each batch that the criterion gets."""
    criterion = trainer.get_criterion()
    original, seen = criterion.forward, []

    def noting(model: Any, sample: Any, *args: Any) -> Any:
        seen.append(sample["id"].tolist())
        return original(model, sample, *args)

    with monkeypatch.context() as patch:
        patch.setattr(criterion, "forward", noting)
        divisors = list(_training(trainer).gradients_of_batches(count, epoch))
    assert len(divisors) == len(seen)
    return seen


@pytest.mark.parametrize("curriculum", [0, 2])
@pytest.mark.parametrize("epoch", [1, 3])
def test_the_order_is_that_of_the_epoch(
    epoch: int,
    curriculum: int,
    sentence_data: Path,
    pretrained: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer = _trainer(sentence_data, pretrained, curriculum=curriculum)
    seen = _rows_seen(trainer, monkeypatch, 5, epoch)
    # As in fairseq_cli.train, which gets its iterator before the epoch begins.
    order = trainer.get_train_iterator(epoch, disable_iterator_cache=True)
    batches = order.next_epoch_itr(shuffle=epoch > curriculum)
    assert seen == [next(batches)["id"].tolist() for _ in range(5)]
    assert len(_rows_seen(trainer, monkeypatch, 100, epoch)) == 8


def test_nothing_is_read_ahead(
    sentence_data: Path, pretrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fairseq's reader is a thread, which would share training's random numbers."""
    trainer = _trainer(sentence_data, pretrained, data_buffer_size=10)
    dataset = trainer.task.dataset("train")
    original, calls = dataset.collater, []

    def counting(samples: Any) -> Any:
        calls.append(None)
        return original(samples)

    monkeypatch.setattr(dataset, "collater", counting)
    before = set(threading.enumerate())
    assert len(list(_training(trainer).gradients_of_batches(2, 1))) == 2
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=20)
        assert not thread.is_alive()
    # Two batches, and the first one that every iterator of fairseq's collates.
    assert len(calls) == 3


def test_the_divisor_makes_it_the_gradient_of_the_mean(
    sentence_data: Path, pretrained: Path
) -> None:
    """With --amp the loss is scaled; by a power of two, and the CPU has fp32: to the bit."""
    found = []
    for precision in ("fp32", "amp"):
        trainer = _trainer(sentence_data, pretrained, precision, fp16_init_scale=64)
        name = "encoder.sentence_encoder.layers.0.fc1.weight"
        parameter = trainer.get_model().get_parameter(name)
        divisors, gradients = [], []
        for divisor in _training(trainer).gradients_of_batches(2, 1):
            divisors.append(divisor)
            gradients.append(parameter.grad / divisor)
        found.append((divisors, gradients))
    assert found[0][0] == [8.0, 8.0] and found[1][0] == [512.0, 512.0]
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert torch.equal(one, other) and one.any()
    assert not torch.equal(*found[0][1])


def test_a_batch_that_counts_nothing_divides_by_one(
    sentence_data: Path, pretrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = _trainer(sentence_data, pretrained)
    criterion = trainer.get_criterion()
    original = criterion.forward

    def without_targets(*args: Any) -> Any:
        loss, _, logged = original(*args)
        return loss * 0, torch.tensor(0), logged

    monkeypatch.setattr(criterion, "forward", without_targets)
    assert list(_training(trainer).gradients_of_batches(2, 1)) == [1.0, 1.0]
