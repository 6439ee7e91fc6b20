"""MHLoss through fairseq-train: what its checkpoints are to others, resume, precisions, ranks."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support import (
    HEAD,
    RANKS,
    assert_bit_equal,
    assert_close,
    fork_fairseq_train,
    load_checkpoint,
    train_flags,
    train_log,
    trained_weights,
    two_ranks_and_one,
    write_sentence_data,
)

MHLOSS = {"criterion": "sentence_prediction_mhloss", "mhloss_heads": 3}
OUT_PROJ = f"classification_heads.{HEAD}.out_proj"


def assert_holds_the_mean(save_dir: Path, dtype: torch.dtype = torch.float32) -> None:
    """fairseq writes half precision as float32."""
    state = load_checkpoint(save_dir / "checkpoint_last.pt")
    for name in ("weight", "bias"):
        heads = [state["criterion"][f"heads.{number}.{name}"] for number in range(3)]
        mean = torch.stack(heads).mean(0).to(dtype).float()
        assert torch.equal(state["model"][f"{OUT_PROJ}.{name}"], mean)
        assert not torch.equal(heads[0], heads[1])


def test_resume_equals_an_uninterrupted_run(
    sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    settings = {"finetune_from_model": pretrained, "dropout": 0.1, **MHLOSS}
    for folder, stops in (("whole", [8]), ("resumed", [5, 8])):
        for stop in stops:
            flags = train_flags(sentence_data, tmp_path / folder, max_update=stop, **settings)
            done = fork_fairseq_train(*flags)
    assert "initial values are kept" not in done.stdout
    assert_bit_equal(trained_weights(tmp_path / "resumed"), trained_weights(tmp_path / "whole"))
    heads = [
        load_checkpoint(tmp_path / run / "checkpoint_last.pt")["criterion"]
        for run in ("resumed", "whole")
    ]
    assert_bit_equal(*heads)
    assert_holds_the_mean(tmp_path / "whole")


PRECISIONS = {
    "fp16": ({"fp16": True, "fp16_init_scale": 4}, torch.float16),
    "bf16": ({"bf16": True}, torch.bfloat16),
    "memory-efficient-fp16": (
        {"fp16": True, "memory_efficient_fp16": True, "fp16_init_scale": 4},
        torch.float16,
    ),
    "fp16-copies-saved": (
        {"fp16": True, "fp16_no_flatten_grads": True, "optimizer": "cwgnc_adam"},
        torch.float16,
    ),
    "fp32-recadam": (
        {"optimizer": "recadam", "recadam_pretrain_cof": 50, "weight_decay": 0.5},
        torch.float32,
    ),
}


@pytest.mark.parametrize("name", PRECISIONS)
def test_the_mean_survives_the_optimizers_copies(
    name: str, sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    """fp32 copies overwrite the model in each step, and a resume may restore them."""
    flags, dtype = PRECISIONS[name]
    settings = {"finetune_from_model": pretrained, **MHLOSS, **flags}
    for stop in (3, 5):
        words = train_flags(sentence_data, tmp_path, max_update=stop, **settings)
        log = train_log(fork_fairseq_train(*words).stdout)
        assert_holds_the_mean(tmp_path, dtype)
    updates = [entry for entry in log if entry["tag"] == "train_inner"]
    assert [entry["num_updates"] for entry in updates] == [4, 5]


@pytest.mark.parametrize("regression", [False, True])
def test_a_checkpoint_is_a_plain_model(tmp_path: Path, regression: bool) -> None:
    """The stock criterion, without the plugin, finds in it what validation found."""
    data = write_sentence_data(tmp_path / "data", regression=regression)
    validated = {"disable_validation": None, "max_update": 6}
    done = fork_fairseq_train(*train_flags(data, tmp_path / "run", **MHLOSS, **validated))
    (ours,) = [entry for entry in train_log(done.stdout) if entry["tag"] == "valid"]
    start = tmp_path / "run" / "checkpoint_last.pt"
    # An update of rate 0, for the validation behind it.
    stock = {"user_dir": None, "finetune_from_model": start, "lr": 0, **validated}
    stock["max_update"] = 1
    done = fork_fairseq_train(*train_flags(data, tmp_path / "stock", **stock))
    (theirs,) = [entry for entry in train_log(done.stdout) if entry["tag"] == "valid"]
    assert "plugin" not in done.stdout
    assert theirs["valid_loss"] == ours["valid_loss"]
    if not regression:
        assert theirs["valid_accuracy"] / 100 == pytest.approx(ours["valid_accuracy"] / 100)


def test_from_pretrained_needs_no_plugin(sentence_data: Path, tmp_path: Path) -> None:
    fork_fairseq_train(*train_flags(sentence_data, tmp_path, **MHLOSS))
    code = (
        "import sys\n"
        "from fairseq.models.roberta import RobertaModel\n"
        "import torch\n"
        f"hub = RobertaModel.from_pretrained({str(tmp_path)!r}, 'checkpoint_last.pt', "
        f"{str(sentence_data)!r}, bpe=None)\n"
        "assert not [name for name in sys.modules if name.split('.')[0] == 'rxf']\n"
        "print(hub.model.state_dict()"
        f"[{OUT_PROJ + '.weight'!r}].tolist())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr[-2000:]
    printed = torch.tensor(ast.literal_eval(done.stdout.splitlines()[-1]))
    torch.testing.assert_close(printed, trained_weights(tmp_path)[f"{OUT_PROJ}.weight"])


def test_onward_from_other_checkpoints(sentence_data: Path, tmp_path: Path) -> None:
    """From a plain one the heads start anew; heads that do not fit stay in the file."""

    def train(name: str, data: Path = sentence_data, **settings: Any) -> str:
        flags = train_flags(data, tmp_path / name, **{"max_update": 2, **settings})
        return fork_fairseq_train(*flags).stdout

    train("plain")
    start = {"finetune_from_model": tmp_path / "plain" / "checkpoint_last.pt"}
    out = train("ours", **MHLOSS, **start)
    assert "holds no heads.0.weight" in out and "the initial values are kept" in out
    assert_holds_the_mean(tmp_path / "ours")

    start = {"finetune_from_model": tmp_path / "ours" / "checkpoint_last.pt"}
    assert "initial values are kept" not in train("again", **MHLOSS, **start)
    assert "not the 2 of --mhloss-heads" in train("two", **{**MHLOSS, "mhloss_heads": 2}, **start)
    three = write_sentence_data(tmp_path / "three", classes=3)
    assert "not the 3 of --mhloss-heads, or have other" in train("three", three, **MHLOSS, **start)
    assert_holds_the_mean(tmp_path / "three")


@pytest.mark.slow
@pytest.mark.parametrize("backend", RANKS)
def test_two_processes_equal_one(backend: str, tmp_path: Path) -> None:
    data = write_sentence_data(tmp_path / "data", rows={"train": 64, "valid": 23})
    runs = two_ranks_and_one(train_flags, data, tmp_path, **MHLOSS, **RANKS[backend])
    assert_close(trained_weights(tmp_path / "two"), trained_weights(tmp_path / "one"))
    assert_holds_the_mean(tmp_path / "two")
    logs = [train_log(done.stdout + done.stderr) for done in runs]
    one, two = (next(entry for entry in log if entry["tag"] == "valid") for log in logs)
    assert two["valid_accuracy"] == pytest.approx(one["valid_accuracy"])
