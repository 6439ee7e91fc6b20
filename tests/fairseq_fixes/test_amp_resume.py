"""``--amp`` resumes with the loss scale that it had."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.optim import AMPOptimizer

from tests.fairseq_fixes.amp import (
    PLUGIN,
    amp_optimizer,
    backward,
    gradients_stepped_on,
    parameter_of,
)
from tests.support import (
    assert_bit_equal,
    fork_fairseq_train,
    load_checkpoint,
    stock,
    train_flags,
    train_log,
    trained_weights,
)

SETTINGS: list[dict[str, Any]] = [
    {"optimizer": "adam", "lr": 0.1},
    {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9},
]
both = pytest.mark.parametrize("settings", SETTINGS, ids=["adam", "sgd"])
OFF = {"RXF_FIXES": "amp-resume"}
# The scale starts at 4, and doubles after every 4 updates.
FOURS = dict.fromkeys(["fp16_init_scale", "amp_init_scale", "amp_scale_window"], 4)


def _after_updates(count: int, **settings: Any) -> AMPOptimizer:
    optimizer = amp_optimizer(scale=4.0, interval=4, **settings)
    for _ in range(count):
        _update(optimizer)
    return optimizer


def _update(optimizer: AMPOptimizer) -> None:
    backward(optimizer)
    optimizer.clip_grad_norm(0.0)
    optimizer.step()


def _learnt(optimizer: AMPOptimizer) -> tuple[float, int]:
    state = optimizer.scaler.state_dict()
    return state["scale"], state["_growth_tracker"]


# --------------------------------------------------------------------- optimizer


@both
@pytest.mark.parametrize("used_before", [False, True])
def test_scale_and_counter_come_back(settings: dict[str, Any], used_before: bool) -> None:
    saved = _after_updates(6, **settings)
    assert _learnt(saved) == (8.0, 2)
    loaded = _after_updates(int(used_before), **settings)
    # A copy, as a file is: torch would share the momentum.
    loaded.load_state_dict(deepcopy(saved.state_dict()))
    assert _learnt(loaded) == (8.0, 2)
    with torch.no_grad():
        parameter_of(loaded).copy_(parameter_of(saved))
    for optimizer in (saved, loaded):
        _update(optimizer)
        _update(optimizer)
    assert _learnt(loaded) == _learnt(saved) == (16.0, 0)
    # So does what torch's optimizer has learnt.
    assert torch.equal(parameter_of(loaded), parameter_of(saved))


def test_how_the_scale_grows_is_this_run_s_to_say() -> None:
    saved = _after_updates(6).state_dict()
    loaded = amp_optimizer(scale=4.0, interval=5)
    loaded.load_state_dict(saved)
    assert loaded.scaler.get_growth_interval() == 5
    assert _learnt(loaded) == (8.0, 2)


def test_overrides_reach_the_optimizer() -> None:
    loaded = amp_optimizer()
    loaded.load_state_dict(_after_updates(1).state_dict(), {"weight_decay": 0.3})
    assert loaded.param_groups[0]["weight_decay"] == 0.3


@both
def test_stock_loses_it(settings: dict[str, Any]) -> None:
    saved = _after_updates(6, **settings)
    loaded = _after_updates(0, **settings)
    loaded.load_state_dict(stock(AMPOptimizer.state_dict)(saved))
    assert _learnt(loaded) == (4.0, 0)


@both
def test_stock_passes_over_it(settings: dict[str, Any]) -> None:
    saved = _after_updates(6, **settings)
    state = saved.state_dict()
    before = set(state)
    loaded = _after_updates(0, **settings)
    stock(AMPOptimizer.load_state_dict)(loaded, state)
    assert _learnt(loaded) == (4.0, 0)
    # What is saved from there is what stock would have saved of the first.
    again = stock(AMPOptimizer.state_dict)(loaded)
    assert set(state) == before == {*again, "amp_scaler"}
    assert again["param_groups"] == state["param_groups"]
    seen = gradients_stepped_on(loaded)
    _update(loaded)
    assert len(seen) == 1


def test_a_scaler_that_is_off_saves_and_takes_nothing() -> None:
    optimizer = amp_optimizer()
    saved = _after_updates(6).state_dict()
    optimizer._grad_scaler = torch.amp.GradScaler("cpu", enabled=False)
    assert "amp_scaler" not in optimizer.state_dict()
    optimizer.load_state_dict(saved)
    assert optimizer.scaler.get_scale() == 1.0


# ----------------------------------------------------------------- fairseq-train


def _scales(stdout: str) -> list[float]:
    return [line["loss_scale"] for line in train_log(stdout) if line["tag"] == "train_inner"]


def test_resume_equals_an_uninterrupted_run(tmp_path: Path, sentence_data: Path) -> None:
    settings = {"amp": True, "user_dir": PLUGIN, **FOURS}
    flags = train_flags(sentence_data, tmp_path / "a", max_update=9, **settings)
    whole = _scales(fork_fairseq_train(*flags).stdout)
    assert whole == [4, 4, 4, 8, 8, 8, 8, 16, 16]

    flags = train_flags(sentence_data, tmp_path / "b", **settings)
    fork_fairseq_train(*flags, "--max-update", 6)
    first = tmp_path / "b" / "checkpoint_last.pt"
    state = load_checkpoint(first)["last_optimizer_state"]
    assert state["amp_scaler"] == {"scale": 8.0, "_growth_tracker": 2}
    elsewhere = ["--max-update", 9, "--restore-file", first, "--save-dir"]

    mended = fork_fairseq_train(*flags, *elsewhere, tmp_path / "c").stdout
    assert _scales(mended) == whole[6:]
    assert_bit_equal(trained_weights(tmp_path / "c"), trained_weights(tmp_path / "a"))
    # Without the mend the same file is read, and the scale starts again.
    off = fork_fairseq_train(*flags, *elsewhere, tmp_path / "d", env=OFF).stdout
    assert _scales(off) == [4, 4, 4]
    reset = fork_fairseq_train(*flags, *elsewhere, tmp_path / "e", "--reset-optimizer").stdout
    assert _scales(reset)[:3] == [4, 4, 4]


def test_on_a_cpu_it_trains_saves_and_resumes(tmp_path: Path, sentence_data: Path) -> None:
    def run(name: str, updates: int, **settings: Any) -> None:
        flags = train_flags(sentence_data, tmp_path / name, max_update=updates, **settings)
        fork_fairseq_train(*flags)

    run("plain", 5)
    run("amp", 3, amp=True)
    state = load_checkpoint(tmp_path / "amp" / "checkpoint_last.pt")["last_optimizer_state"]
    assert set(state) == {"state", "param_groups"}
    run("amp", 5, amp=True)
    assert_bit_equal(trained_weights(tmp_path / "amp"), trained_weights(tmp_path / "plain"))
