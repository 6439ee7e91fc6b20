"""The table and the picture of the runs of recadam_runs.sh."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import REPO

SCRIPT = REPO / "examples" / "glue" / "recadam_table.py"


def write_log(
    path: Path, metric: str, values: list[float], ended: bool = True, **more: Any
) -> None:
    """A log as fairseq writes it: numbers are strings, and other lines stand in between.

    Args:
        path: where to.
        metric: its name.
        values: of the validations, every 10 updates.
        ended: whether the run reached its end.
        more: what stands in the lines of the training, a list each.
    """
    lines = ["{'_name': None, 'common': {'seed': 1}}", "Start iterating over samples"]
    for number, value in enumerate(values):
        updates = str(10 * (number + 1))
        inner = {name: str(series[number]) for name, series in more.items()}
        lines.append(json.dumps({"epoch": 1, "update": 0.1, "num_updates": updates, **inner}))
        valid = {f"valid_{metric}": str(value), "valid_num_updates": updates}
        lines.append(json.dumps({"epoch": 1, **valid}))
    summary = {f"train_{metric}": "99", "train_num_updates": "10", "train_anchor_distance": "99"}
    lines.append(json.dumps({"epoch": 1, **summary}))
    lines += ["done training in 9.0 seconds"] if ended else []
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def table(out: Path, *flags: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, SCRIPT, out, *flags]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


def rows(done: "subprocess.CompletedProcess[str]") -> list[list[str]]:
    assert done.returncode == 0, done.stderr
    return [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line]


def test_scores(tmp_path: Path) -> None:
    values = {1: [50.0, 60.0, 58.0], 2: [52.7, 52.708, 52.708], 10: [55.0, 54.0, 50.0]}
    for seed, one in values.items():
        write_log(tmp_path / "RTE" / f"plain-{seed}.log", "accuracy", one)
    found = rows(table(tmp_path))
    assert found[0][4:] == ["n", "median", "mean", "sd", "min", "max", "failed"]
    # Best: 60, 52.708, 55, the middle one being the baseline; mean 55.903.
    best = ["RTE", "accuracy", "Adam", "best", "3", "55.0", "55.9", "3.73", "52.7", "60.0", "1"]
    last = ["RTE", "accuracy", "Adam", "last", "3", "52.7", "53.6", "4.07", "50.0", "58.0", "2"]
    assert found[2:4] == [best, last]


def test_an_mcc_of_zero_has_failed(tmp_path: Path) -> None:
    write_log(tmp_path / "CoLA" / "cwgnc-1.log", "mcc", [0.0, 0.0])
    write_log(tmp_path / "CoLA" / "cwgnc-2.log", "mcc", [1.5, -2.5])
    found = rows(table(tmp_path))
    assert found[2][3:] == ["best", "2", "0.8", "0.8", "1.06", "0.0", "1.5", "1"]
    assert found[3][3:] == ["last", "2", "-1.2", "-1.2", "1.77", "-2.5", "0.0", "2"]


def test_a_run_that_did_not_end_has_failed(tmp_path: Path) -> None:
    write_log(tmp_path / "RTE" / "plain-1.log", "accuracy", [60.0])
    write_log(tmp_path / "RTE" / "plain-2.log", "accuracy", [70.0], ended=False)
    write_log(tmp_path / "RTE" / "cwgnc-1.log", "accuracy", [], ended=False)
    found = rows(table(tmp_path))
    assert found[2][3:] == ["best", "2", "60.0", "60.0", "-", "60.0", "60.0", "1"]
    assert found[4][2:] == ["Adam, clipped by component", "best", "1", *"-----", "1"]


def test_distances(tmp_path: Path) -> None:
    for seed, far in ((1, 3.0), (2, 5.0), (3, 4.5)):
        distance = [0.5 * seed, 9.0, far]
        share = [0.25, 0.5, 0.75]
        values = {"anchor_distance": distance, "clipped_share": share}
        write_log(tmp_path / "CoLA" / f"cwgnc-{seed}.log", "mcc", [1.0] * 3, **values)
    write_log(tmp_path / "CoLA" / "plain-1.log", "mcc", [1.0], anchor_distance=[2.0])
    found = rows(table(tmp_path))
    start = next(index for index, row in enumerate(found) if "first logged" in row)
    assert found[start + 2] == ["CoLA", "Adam", "1", "2", "2.00", "2.00, 2.00", "-"]
    clipped = ["CoLA", "Adam, clipped by component", "3", "1", "4.50", "3.00, 5.00", "50 %"]
    assert found[start + 3] == clipped


@pytest.mark.parametrize("tasks", [["RTE"], ["RTE", "CoLA"]])
def test_picture(tasks: list[str], tmp_path: Path) -> None:
    for task, metric in zip(tasks, ("accuracy", "mcc"), strict=False):
        for method, distance in {"plain": [1.0, 2.0], "recadam-pi": [0.1, 0.2]}.items():
            for seed in (1, 2):
                path = tmp_path / task / f"{method}-{seed}.log"
                weight = [0.1, 0.9] if method != "plain" else [1.0, 1.0]
                more = {"anchor_distance": distance, "recadam_lambda": weight}
                write_log(path, metric, [1.0, 2.0], **more)
    picture = tmp_path / "way.png"
    assert table(tmp_path, "--picture", picture).returncode == 0
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG") and 5_000 < len(content) < 150_000


def test_a_folder_without_runs_is_named(tmp_path: Path) -> None:
    done = table(tmp_path)
    assert done.returncode == 1 and done.stderr.strip().startswith(f"{tmp_path}: holds no")
