"""What every method of the registry must keep, through fairseq's own commands."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from fairseq.registry import REGISTRIES

from tests.methods.every import CASES, LR, Case, Data
from tests.support import (
    HEAD,
    RANKS,
    REPO,
    STILL,
    TINY_ROBERTA,
    TINY_SEQ2SEQ,
    assert_bit_equal,
    assert_close,
    fork_fairseq_train,
    load_checkpoint,
    run_fairseq_train,
    trained_weights,
)

DataOf = dict[str, Data]
PLUGIN = Path(__file__).parent / "noise_by_position"


def state_of(folder: Path) -> dict[str, Any]:
    """Weights, and what the criterion and the optimizer keep, flattened to tensors by name."""
    state = load_checkpoint(folder / "checkpoint_last.pt")
    kept = {name: state[name] for name in ("criterion", "last_optimizer_state") if state.get(name)}
    flat = {f"model.{name}": value for name, value in trained_weights(folder).items()}
    _flatten(kept, "", flat)
    return flat


def _flatten(value: Any, name: str, into: dict[str, torch.Tensor]) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _flatten(item, f"{name}.{key}", into)
    elif isinstance(value, (list, tuple)):
        for key, item in enumerate(value):
            _flatten(item, f"{name}.{key}", into)
    elif torch.is_tensor(value):
        into[name] = value


@CASES
def test_a_resumed_run_is_an_uninterrupted_one(case: Case, data_of: DataOf, tmp_path: Path) -> None:
    """Dropout and noise on; resumed in the midst of the second of two epochs."""
    settings = {**case.settings, "max_update": 16, "save_interval_updates": 11}
    settings |= {"dropout": 0.1, "attention_dropout": 0.1}
    data = data_of[case.kind]
    fork_fairseq_train(*data.flags(tmp_path / "whole", **settings))
    middle = load_checkpoint(tmp_path / "whole" / "checkpoint_2_11.pt")
    assert middle["optimizer_history"][-1]["num_updates"] == 11

    (tmp_path / "resumed").mkdir()
    torch.save(middle, tmp_path / "resumed" / "checkpoint_last.pt")
    done = fork_fairseq_train(*data.flags(tmp_path / "resumed", **settings))
    assert "(epoch 2 @ 11 updates)" in done.stdout + done.stderr
    assert_bit_equal(state_of(tmp_path / "resumed"), state_of(tmp_path / "whole"))


@pytest.mark.slow
@CASES
def test_two_processes_are_one(case: Case, data_of: DataOf, tmp_path: Path) -> None:
    """Noise is the same on both; they hold the rows that the one accumulates."""
    data = data_of[case.kind]
    settings = {**case.steady, **STILL, "user_dir": PLUGIN, "batch_size": 4, "max_update": 4}
    one, two = tmp_path / "one", tmp_path / "two"
    ranks = {**RANKS["pytorch_ddp"], "distributed_backend": "gloo"}
    run_fairseq_train(*data.flags(two, **settings, **ranks), nproc=2)
    fork_fairseq_train(*data.flags(one, **settings, update_freq=2))
    together, alone = trained_weights(two), trained_weights(one)
    assert all(tensor.isfinite().all() for tensor in together.values())
    if case.method.not_additive is None:
        assert_close(together, alone)


@pytest.mark.slow
@CASES
def test_yaml_is_the_command_line(case: Case, data_of: DataOf, tmp_path: Path) -> None:
    """fairseq-hydra-train with the same settings comes to the same weights."""
    data = data_of[case.kind]
    fork_fairseq_train(*data.flags(tmp_path / "flags", **case.settings))
    config = yaml_config(case, data, tmp_path / "yaml")
    (tmp_path / "run.yaml").write_text("# @package _group_\n" + yaml.safe_dump(config))
    fork_fairseq_train(
        *["--config-dir", tmp_path, "--config-name", "run"],
        command="fairseq-hydra-train",
        cwd=tmp_path,
    )
    assert_bit_equal(trained_weights(tmp_path / "yaml"), trained_weights(tmp_path / "flags"))


ROBERTA = dict(zip(TINY_ROBERTA[2::2], TINY_ROBERTA[3::2], strict=True))
MODELS: dict[str, dict[str, Any]] = {
    "sentences": {
        "_name": "roberta",
        **{flag[2:].replace("-", "_"): int(value) for flag, value in ROBERTA.items()},
    },
    "generation": {"_name": "transformer", **TINY_SEQ2SEQ},
}
TASKS: dict[str, dict[str, Any]] = {
    "sentences": {
        "_name": "sentence_prediction",
        "num_classes": 2,
        "init_token": 0,
        "separator_token": 2,
        "max_positions": 64,
    },
    "generation": {"_name": "translation"},
}
# What the criterions of a kind are told besides the method's own flags.
TOLD = {
    "sentences": {"classification_head_name": HEAD, "regression_target": False},
    "generation": {"label_smoothing": 0.1},
}


def yaml_config(case: Case, data: Data, save_dir: Path) -> dict[str, Any]:
    """What :meth:`Data.flags` says of a training with the case's settings, group by group."""
    rest = dict(case.settings)
    chosen = {}
    for group, default in (("criterion", ""), ("optimizer", "adam")):
        name = rest.pop(group, default)
        known = {entry.name for entry in fields(REGISTRIES[group]["dataclass_registry"][name])}
        own = {key: rest.pop(key) for key in list(rest) if key in known}
        chosen[group] = {"_name": name, **own}
    chosen["criterion"] |= TOLD[case.kind]
    return {
        **chosen,
        "task": {**TASKS[case.kind], "data": str(data.folder)},
        "common": {"user_dir": str(REPO / "rxf"), "cpu": True, "log_format": "json"},
        "dataset": {
            "batch_size": 8,
            "required_batch_size_multiple": 1,
            "num_workers": 0,
            "disable_validation": True,
        },
        "lr_scheduler": {"_name": "fixed"},
        "optimization": {"lr": [LR], "max_update": 4},
        "checkpoint": {
            "save_dir": str(save_dir),
            "finetune_from_model": str(data.pretrained),
            "no_epoch_checkpoints": True,
        },
        "model": {**MODELS[case.kind], **rest},
    }
