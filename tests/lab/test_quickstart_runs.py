"""Runs: logs read, failures recorded, finished ones skipped, stopped ones continued."""

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import checkpoint_utils

from rxf.errors import UserError
from rxf.lab.quickstart import __main__ as quickstart
from rxf.lab.quickstart import data, lexicon, model_flags, pretrain, sweep, targets, train
from rxf.lab.quickstart.train import Run

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
    log = train.read_log(path, "accuracy")
    assert log.values == {10: 70.5, 20: 69.0}
    assert log.updates == 20
    # Median of 0.02, 0.5 and 0.025 seconds; the first interval's 0 is no measurement.
    assert log.seconds_per_update == pytest.approx(1 / 40)
    assert train.updates_so_far(path) == 20
    assert train.updates_so_far(tmp_path / "none") == 0


def test_a_finished_run_is_recorded_tidied_and_not_run_again(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run")
    for _ in range(2):
        (record,) = sweep.run_all([run], 1, "test")
        assert (record["status"], record["best"], record["last"]) == ("finished", 70.5, 69.0)
    assert (run.folder / "started").read_text() == "x"
    assert [path.name for path in run.folder.glob("*.pt")] == ["checkpoint_best.pt"]
    assert json.loads(run.record.read_text())["versions"]["torch"]


def test_another_command_in_the_same_folder_starts_anew(tmp_path: Path) -> None:
    sweep.run_all([fake_run(tmp_path / "run")], 1, "test")
    other = fake_run(tmp_path / "run", LOG.replace("70.5", "75"))
    (record,) = sweep.run_all([other], 1, "test")
    assert record["best"] == 75.0
    assert (other.folder / "started").read_text() == "x"


def test_a_failed_run_keeps_its_error_and_the_others_go_on(tmp_path: Path) -> None:
    log = "Traceback\nValueError: early\nRuntimeError: the cause\nsome last words"
    bad = fake_run(tmp_path / "bad", log, status=1)
    good = fake_run(tmp_path / "good")
    failed, fine = sweep.run_all([bad, good], 2, "test")
    assert failed["status"] == "failed" and failed["best"] is None
    assert failed["error"] == "RuntimeError: the cause (exit status 1)"
    assert fine["status"] == "finished"
    sweep.run_all([bad, good], 2, "test")
    assert (bad.folder / "started").read_text() == "x"
    sweep.run_all([bad, good], 2, "test", retry_failed=True)
    assert (bad.folder / "started").read_text() == "xx"


def test_ctrl_c_stops_the_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    run = Run(folder, command, 20, 1, {"metric": "accuracy", "maximize": True})
    processes: list[subprocess.Popen] = []

    def start(run: Run) -> subprocess.Popen:
        processes.append(real_start(run))
        return processes[-1]

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    real_start = train.start
    monkeypatch.setattr(train, "start", start)
    monkeypatch.setattr(sweep, "_show", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep.run_all([run], 1, "test")
    assert processes[0].poll() is not None
    assert not run.record.is_file()


def test_a_run_that_another_process_is_at_is_left_alone(tmp_path: Path) -> None:
    """As after a SIGKILL of the quickstart alone, whose runs live on."""
    run = Run(tmp_path / "run", [sys.executable, "-c", "input()"], 20, 1, {})
    waiting = [sys.executable, "-c", "import time; time.sleep(60)"]
    train.prepare(run)
    orphan = train.start(run._replace(command=waiting))
    try:
        for verb in (train.prepare, train.start):
            with pytest.raises(UserError, match="is at work here"):
                verb(run)
    finally:
        orphan.kill()
        orphan.wait()
    train.start(run).wait()


def test_the_shipped_model_speaks_the_language_of_the_grammar() -> None:
    assert pretrain.SHIPPED.is_file()
    assert pretrain._language(pretrain.SHIPPED) == data.text_fingerprint()
    assert model_flags.flags_from_checkpoint(pretrain.SHIPPED) == model_flags.TINY
    assert pretrain.SHIPPED.stat().st_size < 5_000_000


def test_the_shipped_model_knows_which_adjectives_are_kind(tmp_path: Path) -> None:
    """ "the soup is ADJECTIVE and <mask> .": nearly all goes to adjectives of the same kind."""
    data.write_text(tmp_path, paragraphs=1, held_out=1)
    (model,), _, task = checkpoint_utils.load_model_ensemble_and_task(
        [str(pretrain.SHIPPED)], arg_overrides={"data": str(tmp_path)}
    )
    words = task.source_dictionary
    model.eval()
    for adjective in lexicon.ADJECTIVES:
        line = words.encode_line(f"the soup is {adjective.word} and dull .").long()
        line[5] = words.index("<mask>")
        rows = torch.cat([torch.tensor([words.bos()]), line]).unsqueeze(0)
        with torch.no_grad():
            shares = model(rows)[0][0, 6].softmax(-1)
        kind = [words.index(a.word) for a in lexicon.ADJECTIVES if a.kind == adjective.kind]
        assert shares[kind].sum() > 0.9, adjective.word


@pytest.mark.parametrize("kind", ["args", "cfg", "cfg_namespace"])
def test_flags_from_older_and_newer_checkpoints(tmp_path: Path, kind: str) -> None:
    settings = {**model_flags.TINY, "arch": "roberta_large", "encoder_layers": 24, "other": 1}
    state: dict[str, Any] = {
        "args": {"args": Namespace(**settings)},
        "cfg": {"args": None, "cfg": {"model": {**settings, "_name": "roberta_large"}}},
        "cfg_namespace": {"args": None, "cfg": {"model": Namespace(**settings)}},
    }[kind]
    path = tmp_path / "model.pt"
    torch.save(state, path)
    flags = model_flags.flags_from_checkpoint(path)
    assert flags == {**model_flags.TINY, "arch": "roberta_large", "encoder_layers": 24}


def test_the_baseline_is_the_commonest_label(tmp_path: Path) -> None:
    data.write_family(tmp_path, data.Sizes(train=12, valid=30))
    assert targets.baseline(tmp_path / "topic", "accuracy") == pytest.approx(100 * 8 / 30)
    assert targets.baseline(tmp_path / "topic", "mcc") == 0.0
    # F1 of label "1", which no built-in task has.
    assert targets.baseline(tmp_path / "polarity", "acc_and_f1") == pytest.approx(25.0)


@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [
        (["RTEE"], {}, "TASK RTEE: unknown"),
        (["RTE"], {}, "RXF_DATA is not set"),
        (["RTE"], {"RXF_DATA": "."}, "RXF_CHECKPOINT is not set"),
        (["RTE"], {"RXF_DATA": ".", "RXF_CHECKPOINT": "x.pt"}, "has no folder glue/"),
        (["--methods", "plain,best"], {}, "--methods best: unknown"),
        (["--lr", "-1"], {}, "--lr -1.0: must be"),
    ],
)
def test_bad_input_is_one_clear_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    environment: dict[str, str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("RXF_DATA", "RXF_CHECKPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=told):
        quickstart.main(arguments)


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", None])
def test_a_checkpoint_that_is_none(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "model.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="--checkpoint .*model.pt"):
        model_flags.flags_from_checkpoint(path)


def test_a_checkpoint_of_another_family(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"args": Namespace(arch="bart_large"), "model": {}}, path)
    with pytest.raises(UserError, match="architecture bart_large is not RoBERTa"):
        model_flags.flags_from_checkpoint(path)


def test_the_quickstart_from_end_to_end(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rxf.lab.quickstart", "--smoke", "--out", str(tmp_path)]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    folder = tmp_path / "polarity"
    results = json.loads((folder / "results.json").read_text())
    assert [run["method"] for run in results["runs"]] == ["plain", "r3f", "r4f"]
    assert all(run["status"] == "finished" for run in results["runs"])
    assert (folder / "results.png").is_file()
    assert "plain" in done.stdout and "majority baseline of 50.0" in done.stdout
    # Nothing was run again.
    assert "runs:" not in done.stderr
