"""Real runs: nothing leaks from one to the next, and what is killed goes on."""

import contextlib
import functools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rxf.lab.quickstart import data
from tests.support import load_checkpoint

Sweep = Callable[..., int]
FOLDER = Path("out") / "polarity"
# Stands in the environment of all that a test starts.
MARK = "RXF_TEST_FOLDER"
PROC = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="asks Linux's /proc")


@pytest.fixture(autouse=True)
def _marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARK, str(tmp_path))


def processes(tmp_path: Path) -> list[int]:
    """What has been started by this test and still runs."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MARK}={tmp_path}\0".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


def record(tmp_path: Path, method: str = "plain", seed: int = 1) -> Any:
    path = tmp_path / FOLDER / method / f"seed-{seed}" / "run.json"
    return json.loads(path.read_text()) if path.is_file() else None


@pytest.mark.slow
def test_a_worse_run_after_a_better_one_keeps_its_best_checkpoint(
    sweep: Sweep, tmp_path: Path
) -> None:
    """fairseq's best score would leak in one process: the second run would save no best.

    The second trains nothing, as its gradients are clipped to almost nothing, and both are
    jobs of one Hydra process.
    """
    data.write_family(tmp_path / "family", data.Sizes(train=300, valid=100))
    more = ["--methods", "plain,cwgnc", "--set", "cwgnc.component_clip_norm=1e-20"]
    more += ["optimization.max_update=200", "optimizer.adam_eps=1e-6"]
    assert sweep(*more, "--tasks", tmp_path / "family" / "polarity") == 0
    good, bad = record(tmp_path, "plain"), record(tmp_path, "cwgnc")
    assert bad["best"] < good["best"]
    for method, told in (("plain", good), ("cwgnc", bad)):
        folder = tmp_path / FOLDER / method / "seed-1"
        state = load_checkpoint(folder / "checkpoint_best.pt")
        assert state["extra_state"]["best"] == pytest.approx(told["best"], abs=0.01)


@pytest.mark.slow
def test_data_loaders_start_under_joblib(sweep: Sweep, tmp_path: Path) -> None:
    """Trained in joblib's worker itself: "'Process' object has no attribute 'env'"."""
    assert sweep("--launcher", "joblib", "--jobs", "2", "dataset.num_workers=1") == 0
    assert record(tmp_path)["status"] == "finished"


@pytest.mark.slow
@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_other_launchers(sweep: Sweep, tmp_path: Path, launcher: str) -> None:
    """submitit's local executor pickles and starts jobs as its one for SLURM does."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "broken-2").touch()
    assert sweep("--launcher", launcher, "--seeds", "1-2") == 1
    assert record(tmp_path, seed=1)["best"] == 61.0
    assert "out of luck" in record(tmp_path, seed=2)["error"]


def started(words: list[str]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", "import sys; from rxf.cli import main; sys.exit(main())"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([*command, *words], **quiet)  # type: ignore[call-overload]


def wait_for(happened: Callable[[], object], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.1)


@PROC
@pytest.mark.slow
@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_a_sweep_that_is_stopped_takes_its_processes_along(
    words: list[str], sweep: Sweep, tmp_path: Path, number: int, launcher: str
) -> None:
    """Nothing is recorded for the run in hand, and the same command goes on."""
    slow = tmp_path / "out" / "slow"
    slow.parent.mkdir()
    slow.touch()
    process = started([*words, "--launcher", launcher])
    try:
        wait_for((tmp_path / FOLDER / "plain" / "seed-1" / "started").is_file)
        # The command, Hydra and the run.
        assert len(processes(tmp_path)) >= 3
        process.send_signal(number)
        process.wait(60)
        wait_for(lambda: not processes(tmp_path))
    finally:
        process.kill()
        process.wait()
    assert record(tmp_path) is None
    slow.unlink()
    assert sweep() == 0
    assert record(tmp_path)["status"] == "finished"


@PROC
@pytest.mark.slow
def test_killed_at_random_points_it_ends_as_if_it_had_not_been(
    words: list[str], sweep: Sweep, tmp_path: Path
) -> None:
    """Bit for bit, with at most the run in hand gone back to its last checkpoint."""
    source = random.Random(os.environ.get("RXF_TEST_SEED", "7"))
    more = ["optimization.max_update=400", "--seeds", "1-2", "common.log_interval=5"]
    resumed = 0
    for _ in range(3):
        finished = {seed: record(tmp_path, seed=seed) for seed in (1, 2)}
        log = unfinished_log(tmp_path)
        before = log.stat().st_size if log.is_file() else 0
        process = started([*words, *more])
        # Somewhere in the training, or the next run's start.
        wait_for(functools.partial(ended_or_grown, process, log, before))
        time.sleep(source.uniform(0, 4))
        # The command alone, or all at once.
        victims = processes(tmp_path) if source.random() < 0.5 else [process.pid]
        for victim in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        process.wait()
        wait_for(lambda: not processes(tmp_path))
        for seed, told in finished.items():
            assert told is None or told == record(tmp_path, seed=seed)
    assert sweep(*more) == 0
    for seed in (1, 2):
        folder = tmp_path / FOLDER / "plain" / f"seed-{seed}"
        log = folder / "train.log"
        resumed += bool(re.search(r"Loaded checkpoint \S*checkpoint_last\.pt", log.read_text()))
    assert resumed
    values = [record(tmp_path, seed=seed)["values"] for seed in (1, 2)]
    words[1] = str(tmp_path / "whole")
    assert sweep(*more) == 0
    for seed, seen in zip((1, 2), values, strict=True):
        path = tmp_path / "whole" / "polarity" / "plain" / f"seed-{seed}" / "run.json"
        assert json.loads(path.read_text())["values"] == seen


def unfinished_log(tmp_path: Path) -> Path:
    seed = 1 if record(tmp_path, seed=1) is None else 2
    return tmp_path / FOLDER / "plain" / f"seed-{seed}" / "train.log"


def ended_or_grown(process: "subprocess.Popen[bytes]", log: Path, before: int) -> bool:
    trains = log.is_file() and b"train_inner" in log.read_bytes()[before:]
    return trains or process.poll() is not None
