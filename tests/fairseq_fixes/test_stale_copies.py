"""The eight extra parameters of an encoder layer are gone, and nothing else changes."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.modules.transformer_layer import TransformerEncoderLayerBase
from torch import Tensor

from rxf.fairseq_fixes import stale_copies
from tests.support import (
    build_from_flags,
    first_batch,
    fork_fairseq_train,
    load_model_state,
    stock,
    train_flags,
    used_parameters,
)

OFF = {"RXF_FIXES": "stale-copies"}


def _last(save_dir: Path) -> dict[str, Tensor]:
    return load_model_state(save_dir / "checkpoint_last.pt")


def _equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def _layers(model: Any) -> list[Any]:
    return list(model.encoder.sentence_encoder.layers)


def test_model_holds_used_parameters_only(tmp_path: Path, sentence_data: Path) -> None:
    _, task, model, criterion = build_from_flags(train_flags(sentence_data, tmp_path))
    assert used_parameters(model.state_dict()).keys() == model.state_dict().keys()
    criterion(model, first_batch(task))[0].backward()
    unused = {name for name, p in model.named_parameters() if p.grad is None}
    assert unused and all(name.startswith("encoder.lm_head.") for name in unused)


def test_names_are_those_of_the_installed_fairseq(tmp_path: Path, sentence_data: Path) -> None:
    model = build_from_flags(train_flags(sentence_data, tmp_path))[2]
    layer = _layers(model)[0]
    before = torch.nn.Module.__new__(TransformerEncoderLayerBase)
    stock(TransformerEncoderLayerBase.__init__)(before, layer.cfg)
    own = [name for name, _ in before.named_parameters(recurse=False)]
    assert own == list(stale_copies.NAMES)
    sizes = [p.numel() for _, p in before.named_parameters(recurse=False)]
    assert sizes == stale_copies._copy_sizes(layer)


def test_files_with_and_without_copies_load(tmp_path: Path, sentence_data: Path) -> None:
    flags = train_flags(sentence_data, tmp_path / "stock")
    fork_fairseq_train(*flags, env=OFF)
    fork_fairseq_train(*train_flags(sentence_data, tmp_path / "here"))
    with_copies, without = _last(tmp_path / "stock"), _last(tmp_path / "here")
    assert with_copies.keys() - without.keys()
    assert _equal(used_parameters(with_copies), without)
    model = build_from_flags(flags)[2]
    model.load_state_dict(dict(with_copies), strict=True)
    assert _equal(model.state_dict(), without)
    # A stock fairseq takes what this one saves, and goes on from the same weights.
    for name, env in (("stock-goes-on", OFF), ("here-goes-on", {})):
        start = tmp_path / "here" / "checkpoint_last.pt"
        flags = train_flags(sentence_data, tmp_path / name, finetune_from_model=start)
        fork_fairseq_train(*flags, env=env)
    goes_on = _last(tmp_path / "stock-goes-on")
    assert _equal(used_parameters(goes_on), _last(tmp_path / "here-goes-on"))


def test_an_unknown_key_is_still_an_error(tmp_path: Path, sentence_data: Path) -> None:
    model = build_from_flags(train_flags(sentence_data, tmp_path))[2]
    state = model.state_dict()
    state["encoder.sentence_encoder.layers.0.no_such"] = torch.zeros(1)
    with pytest.raises(RuntimeError, match="no_such"):
        model.load_state_dict(state, strict=True)


@pytest.mark.parametrize("off", [False, True])
def test_resumed_checkpoint_equals_an_uninterrupted_one(
    off: bool, tmp_path: Path, sentence_data: Path
) -> None:
    env = OFF if off else {}
    fork_fairseq_train(*train_flags(sentence_data, tmp_path / "a", max_update=6), env=env)
    for updates in (3, 6):
        flags = train_flags(sentence_data, tmp_path / "b", max_update=updates)
        fork_fairseq_train(*flags, env=env)
    assert _equal(_last(tmp_path / "a"), _last(tmp_path / "b")) == (not off)


@pytest.mark.parametrize(
    "precision",
    [
        pytest.param({}, id="fp32"),
        pytest.param({"fp16": True}, id="fp16-flat"),
        pytest.param(
            {"fp16": True, "memory_efficient_fp16": True},
            id="fp16-memory-efficient",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_resumes_a_training_of_stock_fairseq(
    precision: dict[str, bool], tmp_path: Path, sentence_data: Path
) -> None:
    settings = {**precision, "fp16_init_scale": 4} if precision else {}
    for name, before in (("a", {}), ("b", OFF)):
        flags = train_flags(sentence_data, tmp_path / name, max_update=3, **settings)
        fork_fairseq_train(*flags, env=before)
        flags = train_flags(sentence_data, tmp_path / name, max_update=6, **settings)
        fork_fairseq_train(*flags)
    assert _equal(_last(tmp_path / "a"), _last(tmp_path / "b"))


def test_weight_decay_does_not_reach_what_is_not_used(tmp_path: Path, sentence_data: Path) -> None:
    flags = train_flags(sentence_data, tmp_path, fp16=True, weight_decay=0.1, fp16_init_scale=4)
    fork_fairseq_train(*flags)
    assert used_parameters(_last(tmp_path)).keys() == _last(tmp_path).keys()


def test_deep_copy_in_eval_mode_computes_from_true_weights(
    tmp_path: Path, sentence_data: Path
) -> None:
    flags = train_flags(sentence_data, tmp_path, activation_fn="relu")
    _, task, model, criterion = build_from_flags(flags)
    model.load_state_dict(model.state_dict())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    batch = first_batch(task)
    twin = copy.deepcopy(model).eval()
    model.train().eval()
    with torch.no_grad():
        assert torch.allclose(criterion(twin, batch)[0], criterion(model, batch)[0])
    assert not any(layer.can_use_fastpath for layer in _layers(twin))


def test_torchscript_still_finds_the_names(tmp_path: Path, sentence_data: Path) -> None:
    layer = _layers(build_from_flags(train_flags(sentence_data, tmp_path, dropout=0))[2])[0].eval()
    x = torch.randn(5, 2, 16)
    scripted = torch.jit.script(layer)
    assert torch.allclose(scripted(x, None), layer(x, None), atol=1e-6)


# ------------------------------------------------------------- optimizer, by hand


SLOTS = [(2, False), (3, True), (1, True), (4, False)]


def test_entries_of_copies_are_taken_out() -> None:
    state = {
        "state": {0: "first", 1: "copy", 3: "last"},
        "param_groups": [{"lr": 1, "params": [0, 1, 2, 3]}],
        "loss_scale": 2,
    }
    assert stale_copies.without_copies(state, SLOTS) == {
        "state": {0: "first", 3: "last"},
        "param_groups": [{"lr": 1, "params": [0, 3]}],
        "loss_scale": 2,
    }


def test_parts_of_a_flat_tensor_are_taken_out() -> None:
    state = {
        "state": {0: {"step": 7, "exp_avg": torch.arange(10.0)}},
        "param_groups": [{"params": [0]}],
    }
    entry = stale_copies.without_copies(state, SLOTS)["state"][0]
    assert entry["step"] == 7
    assert entry["exp_avg"].tolist() == [0, 1, 6, 7, 8, 9]


@pytest.mark.parametrize("ids", [[0, 1], [0, 1, 2], list(range(7))])
def test_other_states_pass_unchanged(ids: list[int]) -> None:
    state = {"state": {}, "param_groups": [{"params": ids}]}
    assert stale_copies.without_copies(state, SLOTS) is state
    assert stale_copies.without_copies(None, SLOTS) is None  # type: ignore[arg-type]
