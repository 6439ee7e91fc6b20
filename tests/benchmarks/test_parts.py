"""The clock of parts: each moment counts once, for the innermost part."""

import contextlib
import copy
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
import torch
from torch import nn

from benchmarks.training_step.parts import PARTS, Clock, timed_parts
from benchmarks.training_step.setting import Setting
from benchmarks.training_step.worker import Training
from tests.benchmarks.made_up import PAIRS, SENTENCES, order


def ticking() -> tuple[Clock, Callable[[], float]]:
    """A clock on which a second passes whenever it is read, and a look at the last reading."""
    read: list[float] = []
    numbers = itertools.count()

    def now() -> float:
        read.append(float(next(numbers)))
        return read[-1]

    return Clock(now, lambda: None), lambda: read[-1] - read[0]


def test_time_is_the_innermost_parts() -> None:
    times = iter([0.0, 1.0, 3.0, 6.0, 10.0, 15.0])
    clock = Clock(lambda: next(times), lambda: None)
    with clock.part("rest"), clock.part("loss"), clock.part("encoder"):
        pass
    assert clock.seconds == {**dict.fromkeys(PARTS, 0.0), "rest": 6.0, "loss": 6.0, "encoder": 3.0}


def test_between_two_parts_no_time_is_booked() -> None:
    times = iter([0.0, 1.0, 100.0, 102.0])
    clock = Clock(lambda: next(times), lambda: None)
    clock.around(lambda: None, "rest")()
    clock.around(lambda: None, "rest")()
    assert clock.seconds["rest"] == 3.0


def test_the_device_is_waited_for_before_each_reading() -> None:
    events: list[str] = []

    def now() -> float:
        events.append("read")
        return 0.0

    clock = Clock(now, lambda: events.append("wait"))
    with clock.part("rest"):
        pass
    assert events == ["wait", "read"] * 2


def test_an_error_leaves_the_clock_in_order() -> None:
    clock, total = ticking()

    def fail() -> None:
        raise KeyError

    with clock.part("rest"):
        with contextlib.suppress(KeyError):
            clock.around(fail, "loss")()
        clock.around(lambda: None, "head")()
    assert sum(clock.seconds.values()) == total()


def test_a_copy_of_a_watched_module_runs_itself() -> None:
    clock, _ = ticking()
    module = nn.Linear(2, 2)
    with contextlib.ExitStack() as stack:
        clock.watch(module, "head", stack)
        copied = copy.deepcopy(module)
        with torch.no_grad():
            copied.weight.zero_()
            copied.bias.zero_()
        assert copied(torch.ones(1, 2)).eq(0).all()
    before = dict(clock.seconds)
    module(torch.ones(1, 2))
    assert clock.seconds == before


NEEDED = {"encoder", "head", "loss", "backward", "optimizer", "rest"}
CASES = [
    pytest.param(SENTENCES, "plain", NEEDED, id="sentences-plain"),
    pytest.param(SENTENCES, "r3f", NEEDED | {"noise"}, id="sentences-r3f"),
    pytest.param(SENTENCES, "smart", NEEDED | {"noise"}, id="sentences-smart"),
    pytest.param(PAIRS, "plain", NEEDED | {"decoder"}, id="pairs-plain"),
    # The projection is within its loss.
    pytest.param(PAIRS, "r3f", NEEDED - {"head"} | {"noise", "decoder"}, id="pairs-r3f"),
    pytest.param(PAIRS, "recompute", NEEDED - {"head"} | {"noise", "decoder"}, id="recompute"),
]


@pytest.fixture
def clean_metrics() -> Iterator[None]:
    from fairseq.logging import metrics

    yield
    metrics.reset()


@pytest.mark.usefixtures("clean_metrics")
@pytest.mark.parametrize(("setting", "key", "wanted"), CASES)
def test_parts_of_an_update_add_up_and_all_are_found(
    setting: Setting, key: str, wanted: set[str], tmp_path: Path
) -> None:
    peer = Training(order(setting, key, tmp_path))
    before = {name: vars(owner).get(name) for owner, name in functions(peer.trainer)}
    clock, total = ticking()
    with timed_parts(peer.trainer, clock):
        peer.updates()
    assert sum(clock.seconds.values()) == total()
    assert {part for part, seconds in clock.seconds.items() if seconds} == wanted
    # And all is as it was.
    assert {name: vars(owner).get(name) for owner, name in functions(peer.trainer)} == before
    peer.updates()
    assert sum(clock.seconds.values()) == total()


def functions(trainer: Any) -> list[tuple[Any, str]]:
    return [
        (trainer, "train_step"),
        (trainer, "clip_grad_norm"),
        (trainer.optimizer, "backward"),
        (trainer.task, "optimizer_step"),
        (torch.autograd, "grad"),
    ]


@pytest.mark.usefixtures("clean_metrics")
def test_the_clock_changes_nothing_in_the_update(tmp_path: Path) -> None:
    weights = []
    for name in ("timed", "not"):
        peer = Training(order(SENTENCES, "r3f", tmp_path / name))
        clock, _ = ticking()
        with timed_parts(peer.trainer, clock) if name == "timed" else contextlib.nullcontext():
            peer.updates()
        weights.append(peer.trainer.get_model().state_dict())
    assert all(torch.equal(tensor, weights[1][key]) for key, tensor in weights[0].items())
