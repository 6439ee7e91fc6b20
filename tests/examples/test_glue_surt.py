"""The SURT recipe: two stages, of which a finished one is not run again."""

import json
import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import pytest

from tests.examples.test_summarization import parsed_training
from tests.lab.recipes.commands import printed, training_of
from tests.support import (
    REPO,
    TINY_ROBERTA,
    load_model_state,
    save_pretrained,
    train_log,
    write_sentence_data,
)

SCRIPT = REPO / "examples" / "glue" / "surt.sh"
# Stands in for fairseq-train and rxf: notes its arguments, makes the folder of a run, and ends
# as $STATUS says.
RECORDER = """\
#!/usr/bin/env bash
{python} -c 'import json, sys; print(json.dumps(sys.argv[1:]))' "${{0##*/}}" "$@" >>{calls}
while [ $# -gt 0 ]; do
  case $1 in --save-dir) mkdir -p "$2" ;; esac
  shift
done
exit "${{STATUS:-0}}"
"""


class Recorded:
    """A folder with stand-ins for the commands that a script runs."""

    def __init__(
        self,
        folder: Path,
        script: Path = SCRIPT,
        commands: Sequence[str] = ("fairseq-train", "rxf"),
    ) -> None:
        self.script = script
        self.calls = folder / "calls.jsonl"
        self.binaries = folder / "bin"
        self.binaries.mkdir()
        for name in commands:
            stand_in = self.binaries / name
            stand_in.write_text(RECORDER.format(python=sys.executable, calls=self.calls))
            stand_in.chmod(0o755)

    def run(self, *arguments: object, **variables: str) -> list[list[str]]:
        """The command lines that the script runs."""
        done = subprocess.run(
            [self.script, *map(str, arguments)],
            env={
                **os.environ,
                "PATH": f"{self.binaries}:{os.environ['PATH']}",
                "ROBERTA": "pre trained.pt",
                **variables,
            },
            cwd=REPO,
            capture_output=True,
            text=True,
        )
        assert done.returncode == int(variables.get("STATUS", 0)), done.stderr
        lines = self.calls.read_text().splitlines()
        self.calls.unlink()
        return [json.loads(line) for line in lines]


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    return Recorded(tmp_path)


def stages(recorded: Recorded, *arguments: object, **variables: str) -> list[Namespace]:
    """What fairseq-train makes of the two stages."""
    prepare, *trainings = recorded.run(*arguments, **variables)
    assert prepare[:3] == ["rxf", "prepare", "surt"]
    return [parsed_training(words) for words in trainings]


def test_the_two_stages(recorded: Recorded, tmp_path: Path) -> None:
    out = tmp_path / "out put"
    mlm, finetune = stages(recorded, "RTE bin", out, "--seed", 5)
    assert (mlm.data, mlm.save_dir) == (f"{out}/text", f"{out}/mlm")
    assert mlm.finetune_from_model == "pre trained.pt"
    assert (mlm.task, mlm.criterion, mlm.mask_prob) == ("masked_lm", "masked_lm", 0.15)
    assert str(mlm.sample_break_mode) == "eos"
    # Ten epochs of RTE's 2,490 rows; 6 % of warm-up.
    assert int(mlm.total_num_update) == 10 * (-(-2490 // 16))
    assert mlm.max_epoch == 10 and mlm.warmup_updates == round(0.06 * 1560)

    assert (finetune.data, finetune.save_dir) == ("RTE bin", f"{out}/finetuned")
    assert finetune.finetune_from_model == f"{out}/mlm/checkpoint_last.pt"
    assert (finetune.task, finetune.criterion) == ("sentence_prediction",) * 2
    assert (finetune.init_token, finetune.separator_token) == (0, 2)
    for args in (mlm, finetune):
        assert args.arch == "roberta_large" and args.seed == 5
        # The form that resumes.
        assert args.restore_file == "checkpoint_last.pt"
        assert not (args.reset_optimizer or args.reset_dataloader or args.reset_meters)


def test_fine_tuning_is_rte_sh_without_r3f(recorded: Recorded, tmp_path: Path) -> None:
    _, ours = stages(recorded, "RTE-bin", tmp_path / "out")
    rte = parsed_training(training_of(printed("glue/rte", "RAW", "WORK", "r3f")))
    for name in ("lr", "total_num_update", "warmup_updates", "batch_size", "max_epoch"):
        assert getattr(ours, name) == getattr(rte, name), name


def test_flags_of_one_stage(recorded: Recorded, tmp_path: Path) -> None:
    variables = {"MLM": "--lr 3e-4 --max-update 7", "FINETUNE": "--num-classes 3 --max-update 9"}
    mlm, finetune = stages(recorded, "bin", tmp_path / "out", "--arch", "roberta", **variables)
    assert (mlm.lr, mlm.max_update, mlm.arch) == ([3e-4], 7, "roberta")
    assert (finetune.num_classes, finetune.max_update, finetune.arch) == (3, 9, "roberta")


def test_a_finished_stage_is_not_run_again(recorded: Recorded, tmp_path: Path) -> None:
    def tasks(**variables: str) -> list[str]:
        commands = recorded.run("bin", tmp_path / "out", **variables)
        return [words[words.index("--task") + 1] for words in commands if "--task" in words]

    assert tasks(STATUS="3") == []  # prepare failed
    (recorded.binaries / "rxf").write_text("#!/bin/sh\n")
    assert tasks(STATUS="3") == ["masked_lm"]
    assert tasks() == ["masked_lm", "sentence_prediction"]
    assert tasks() == ["sentence_prediction"]


def test_it_says_what_it_wants(tmp_path: Path) -> None:
    def error(*arguments: object) -> str:
        env = {key: value for key, value in os.environ.items() if key != "ROBERTA"}
        words = [SCRIPT, *map(str, arguments)]
        done = subprocess.run(words, env=env, capture_output=True, text=True)
        assert done.returncode != 0
        return done.stderr

    assert "usage: ROBERTA=model.pt" in error()
    assert "usage: ROBERTA=model.pt" in error(tmp_path)
    assert "set ROBERTA to the pre-trained model.pt" in error(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# -------------------------------------------------------------------- real runs

SHORT = [*TINY_ROBERTA, "--cpu", "--num-workers", "0", "--log-format", "json"]
SHORT += ["--log-interval", "1"]
SMALL = "--batch-size 8 --warmup-updates 0"


def start(data: Path, pretrained: Path, out: Path) -> "subprocess.Popen[str]":
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "ROBERTA": str(pretrained),
        "MLM": f"{SMALL} --lr 5e-3 --max-epoch 30 --total-num-update 500",
        "FINETUNE": f"{SMALL} --lr 1e-3 --max-epoch 1",
    }
    words = [str(SCRIPT), str(data), str(out), *SHORT]
    # In a group of its own, so that the training dies with the script.
    return subprocess.Popen(
        words,
        env=env,
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(data: Path, pretrained: Path, out: Path) -> str:
    process = start(data, pretrained, out)
    printed, _ = process.communicate(timeout=240)
    assert process.returncode == 0, printed[-4000:]
    return printed


def wait_for(path: Path, process: "subprocess.Popen[str]") -> None:
    for _ in range(6000):
        if path.exists():
            return
        assert process.poll() is None, process.communicate()[0][-4000:]
        time.sleep(0.02)
    raise AssertionError(f"{path} did not come")


def of_tag(printed: str, tag: str, key: Optional[str] = None) -> list[Any]:
    found = [entry for entry in train_log(printed) if entry["tag"] == tag]
    return [entry[key] for entry in found if key in entry] if key else found


@pytest.mark.slow
def test_it_runs_is_killed_and_goes_on(tmp_path: Path) -> None:
    data = write_sentence_data(tmp_path / "data", pair=True)
    pretrained = save_pretrained(tmp_path / "model", data)
    out = tmp_path / "out"
    process = start(data, pretrained, out)
    wait_for(out / "mlm" / "checkpoint_last.pt", process)
    os.killpg(process.pid, signal.SIGKILL)
    before = process.communicate()[0]
    assert not (out / "mlm" / "done").exists()

    after = finish(data, pretrained, out)
    assert "already prepared" in after and f"Loaded checkpoint {out}/mlm/checkpoint_last" in after
    updates = [int(entry["num_updates"]) for entry in of_tag(after, "train_inner")]
    stage_2 = updates.index(1)
    # 30 epochs of 8 updates, the first of them before it was killed; then one epoch.
    assert updates[0] > 8 and updates[stage_2 - 1] == 240
    assert updates[stage_2:] == list(range(1, 9))
    losses = [*of_tag(before, "valid", "valid_loss"), *of_tag(after, "valid", "valid_loss")]
    assert losses[-2] < losses[0] - 0.5  # bits; the last one is of fine-tuning
    assert "valid_accuracy" in of_tag(after, "valid")[-1]
    assert f"loading pretrained model from {out}/mlm/checkpoint_last.pt" in after
    trained = load_model_state(out / "finetuned" / "checkpoint_last.pt")
    assert any(name.startswith("classification_heads.") for name in trained)

    again = finish(data, pretrained, out)
    assert of_tag(again, "train_inner") == []
