"""The probe and ``fairseq-train --freeze-encoder`` with a linear head say the same."""

import json
from pathlib import Path

import pytest

from rxf import cli
from rxf.lab.fine_tuning import USER_DIR
from rxf.lab.model_flags import TINY, model_flags
from rxf.lab.prepared import read_prepared
from rxf.lab.quickstart import data
from rxf.lab.quickstart.pretrain import SHIPPED
from tests.support import fork_fairseq_train, train_log

UPDATES = 2000
ENOUGH = data.Sizes(train=1500, valid=2000)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["agreement", "tense"])
def test_within_half_a_point_on_the_built_in_task(task: str, tmp_path: Path) -> None:
    """On 2,000 rows, of which half a point is ten; the trained head's last value, not its best."""
    data.write_family(tmp_path, ENOUGH)
    folder = tmp_path / task
    words = ["--pretrained", SHIPPED, "--tasks", folder, "--out", tmp_path / "out", "--cpu"]
    assert cli.main(["probe", "generalization", *map(str, words)]) == 0
    (row,) = json.loads((tmp_path / "out" / "probe.json").read_text())["rows"]

    done = fork_fairseq_train(
        *[folder, "--user-dir", USER_DIR, "--finetune-from-model", SHIPPED],
        *read_prepared(folder).flags,
        *["--criterion", "sentence_prediction_r3f", "--r3f-lambda", 0],
        *model_flags(TINY),
        *["--freeze-encoder", "--pooler-activation-fn", "linear", "--pooler-dropout", 0],
        *["--batch-size", 50, "--optimizer", "adam", "--adam-betas", "(0.9, 0.98)"],
        *["--lr", 3e-3, "--lr-scheduler", "polynomial_decay", "--warmup-updates", 50],
        *["--total-num-update", UPDATES, "--max-update", UPDATES, "--no-save", "--cpu"],
        *["--save-dir", tmp_path / "train", "--num-workers", 0, "--validate-interval", UPDATES],
        *["--log-format", "json", "--log-interval", 500],
    )
    trained = [e for e in train_log(done.stdout + done.stderr) if e["tag"] == "valid"][-1]
    assert row["value"] > row["baseline"] + 5
    assert row["value"] == pytest.approx(trained["valid_accuracy"], abs=0.5)
