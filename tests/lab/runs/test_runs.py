"""Runs: logs read, failures recorded, finished ones skipped, stopped ones continued."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rxf.errors import UserError
from rxf.lab.runs import Run, prepare, queue, read_log, run_all, start, updates_so_far

INNER = (
    '2026-01-01 10:00:00 | INFO | train_inner | {"epoch": 1, "num_updates": "%d", '
    '"wps": "%s", "wpb": "100"}\n'
)
VALID = (
    '2026-01-01 10:00:00 | INFO | valid | {"epoch": 1, "valid_accuracy": "%s", '
    '"valid_num_updates": "%d"}\n'
)
LOG = INNER % (5, "0") + INNER % (10, "5000") + VALID % ("70.5", 10) + INNER % (15, "200")
LOG += INNER % (20, "4000") + VALID % ("69", 20)

# Stands in for fairseq-train: writes such a log, and its checkpoints.
FAKE = """
import pathlib, sys
folder = pathlib.Path(sys.argv[1])
with (folder / "started").open("a") as f: f.write("x")
for name in ("best", "last", "1_10"):
    (folder / f"checkpoint_{name}.pt").write_text("")
print(sys.argv[2])
sys.exit(int(sys.argv[3]))
"""


def fake_run(folder: Path, log: str = LOG, status: int = 0) -> Run:
    command = [sys.executable, "-c", FAKE, str(folder), log, str(status)]
    return Run(folder, command, 20, 1, {"metric": "accuracy", "maximize": True, "seed": 1})


def test_a_log_is_read(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text("noise\n" + LOG + '| INFO | valid | {"cut o')
    log = read_log(path, "accuracy")
    assert log.values == {10: 70.5, 20: 69.0}
    assert log.updates == 20
    # Median of 0.02, 0.5 and 0.025 seconds; the first interval's 0 is no measurement.
    assert log.seconds_per_update == pytest.approx(1 / 40)
    assert updates_so_far(path) == 20
    assert updates_so_far(tmp_path / "none") == 0


def test_a_finished_run_is_recorded_tidied_and_not_run_again(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    for _ in range(2):
        (record,) = run_all([run], 1, "test")
        assert (record["status"], record["best"], record["last"]) == ("finished", 70.5, 69.0)
    assert (run.folder / "started").read_text() == "x"
    assert [path.name for path in run.folder.glob("*.pt")] == ["checkpoint_best.pt"]
    record = json.loads(run.record.read_text())
    assert record["versions"]["torch"]
    # A Python that only prints takes some MiB and some of a second.
    assert 2 < record["peak_mib"] < 1000 and 0 < record["cpu_seconds"] < 60


def test_another_command_in_the_same_folder_starts_anew(tmp_path: Path) -> None:
    run_all([fake_run(tmp_path / "run")], 1, "test")
    other = fake_run(tmp_path / "run", LOG.replace("70.5", "75"))
    (record,) = run_all([other], 1, "test")
    assert record["best"] == 75.0
    assert (other.folder / "started").read_text() == "x"


def test_a_failed_run_keeps_its_error_and_the_others_go_on(tmp_path: Path) -> None:
    log = "Traceback\nValueError: early\nRuntimeError: the cause\nsome last words"
    bad = fake_run(tmp_path / "bad", log, status=1)
    good = fake_run(tmp_path / "good")
    failed, fine = run_all([bad, good], 2, "test")
    assert failed["status"] == "failed" and failed["best"] is None
    assert failed["error"] == "RuntimeError: the cause (exit status 1)"
    assert fine["status"] == "finished"
    run_all([bad, good], 2, "test")
    assert (bad.folder / "started").read_text() == "x"
    run_all([bad, good], 2, "test", retry_failed=True)
    assert (bad.folder / "started").read_text() == "xx"


def test_ctrl_c_stops_the_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    run = Run(folder, command, 20, 1, {"metric": "accuracy", "maximize": True})
    processes: list[subprocess.Popen] = []

    def watched(run: Run) -> subprocess.Popen:
        processes.append(start(run))
        return processes[-1]

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(queue, "start", watched)
    monkeypatch.setattr(queue, "_show", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_all([run], 1, "test")
    assert processes[0].poll() is not None
    assert not run.record.is_file()


def test_a_run_that_another_process_is_at_is_left_alone(tmp_path: Path) -> None:
    """As after a SIGKILL of the command alone, whose runs live on."""
    run = Run(tmp_path / "run", [sys.executable, "-c", "input()"], 20, 1, {})
    waiting = [sys.executable, "-c", "import time; time.sleep(60)"]
    prepare(run)
    orphan = start(run._replace(command=waiting))
    try:
        for verb in (prepare, start):
            with pytest.raises(UserError, match="is at work here"):
                verb(run)
    finally:
        orphan.kill()
        orphan.wait()
    start(run).wait()
