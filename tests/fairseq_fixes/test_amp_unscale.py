"""``--amp`` steps on the true gradient."""

from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.optim import AMPOptimizer
from torch import Tensor

from tests.fairseq_fixes.amp import (
    GRADIENT,
    PLUGIN,
    SCALE,
    amp_optimizer,
    backward,
    gradients_stepped_on,
    parameter_of,
    plain_optimizer,
)
from tests.support import assert_close, fork_fairseq_train, stock, train_flags, trained_weights

# With an eps of 1, Adam's step tells the size of the gradient.
OPTIMIZERS: list[dict[str, Any]] = [
    {"optimizer": "adam", "lr": 0.1, "adam_eps": 1.0},
    {"optimizer": "sgd", "lr": 0.1},
]
both = pytest.mark.parametrize("settings", OPTIMIZERS, ids=["adam", "sgd"])
INFINITE = torch.tensor([1.0, float("inf"), 3.0])


@both
def test_steps_on_the_true_gradient(settings: dict[str, Any]) -> None:
    optimizer, plain = amp_optimizer(**settings), plain_optimizer(**settings)
    seen = gradients_stepped_on(optimizer)
    for _ in range(3):
        for each in (optimizer, plain):
            backward(each)
            torch.testing.assert_close(each.clip_grad_norm(0.0), GRADIENT.norm())
            each.step()
    assert len(seen) == 3 and all(torch.equal(gradient, GRADIENT) for gradient in seen)
    assert torch.equal(parameter_of(optimizer), parameter_of(plain))


@both
def test_stock_divides_twice(settings: dict[str, Any]) -> None:
    optimizer = amp_optimizer(**settings)
    seen = gradients_stepped_on(optimizer)
    backward(optimizer)
    optimizer.clip_grad_norm(0.0)
    stock(AMPOptimizer.step)(optimizer)
    assert torch.equal(seen[0], GRADIENT / SCALE)


@both
def test_clips_true_gradients(settings: dict[str, Any]) -> None:
    optimizer = amp_optimizer(**settings)
    seen = gradients_stepped_on(optimizer)
    for gradient in (GRADIENT, GRADIENT / 100):
        backward(optimizer, gradient)
        torch.testing.assert_close(optimizer.clip_grad_norm(0.5), gradient.norm())
        optimizer.step()
    torch.testing.assert_close(seen[0], GRADIENT / GRADIENT.norm() * 0.5)
    # Below the bar once unscaled, though not before.
    torch.testing.assert_close(seen[1], GRADIENT / 100)


@both
def test_without_clipping(settings: dict[str, Any]) -> None:
    optimizer = amp_optimizer(**settings)
    seen = gradients_stepped_on(optimizer)
    backward(optimizer)
    optimizer.step()
    assert torch.equal(seen[0], GRADIENT)


@both
@pytest.mark.parametrize("clipping", [True, False])
def test_overflow_is_skipped(settings: dict[str, Any], clipping: bool) -> None:
    optimizer = amp_optimizer(**settings)
    seen = gradients_stepped_on(optimizer)

    def update(gradient: Tensor) -> None:
        backward(optimizer, gradient)
        if clipping:
            optimizer.clip_grad_norm(0.0)
        optimizer.step()

    update(INFINITE)
    assert not seen and torch.equal(parameter_of(optimizer), torch.zeros(3))
    assert optimizer.scaler.get_scale() == SCALE / 2
    update(GRADIENT)
    assert len(seen) == 1 and torch.equal(seen[0], GRADIENT)
    assert optimizer.scaler.get_scale() == SCALE / 2


def test_training_is_that_without_a_scaler(tmp_path: Path, sentence_data: Path) -> None:
    settings = {"optimizer": "sgd", "lr": 0.5, "clip_norm": 0.1, "user_dir": PLUGIN}
    runs: dict[str, dict[str, Any]] = {
        "plain": {},
        "amp": {"flags": {"amp": True}},
        "off": {"flags": {"amp": True}, "env": {"RXF_FIXES": "amp-unscale"}},
    }
    for name, run in runs.items():
        flags = train_flags(sentence_data, tmp_path / name, **settings, **run.get("flags", {}))
        fork_fairseq_train(*flags, env=run.get("env"))
    plain = trained_weights(tmp_path / "plain")
    assert_close(trained_weights(tmp_path / "amp"), plain, rtol=1e-5, atol=1e-6)
    with pytest.raises(AssertionError):
        assert_close(trained_weights(tmp_path / "off"), plain, rtol=1e-5, atol=1e-6)
