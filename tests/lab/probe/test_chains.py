"""Chains of fine-tunings: who starts from whom, what is probed when, failures and kills.

All but the last test have a stand-in for fairseq-train; the probes' scores are stand-ins too,
as numbers that tell which encoder was probed on what.
"""

import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from rxf import cli
from rxf.errors import UserError
from rxf.lab import fine_tuning, probe
from rxf.lab.probe import chains, method_flags
from rxf.lab.probe.probing import Prober
from tests.support import REPO, load_checkpoint, used_parameters

Tasks = dict[str, Path]
FAKE = Path(__file__).with_name("fake_train.py")
SHORT = ["--updates", "4", "--cpu", "--jobs", "2", "--lr", "0.01"]


def fake_command() -> list[str]:
    return [sys.executable, str(FAKE)]


def fake_score(self: Prober, path: Path, tasks: Any) -> Any:
    """The last of the history that the encoder has, and the task: as a number."""
    trail = json.loads(path.with_name("encoder.pt.trail").read_text())
    for task in tasks:
        yield {"value": float(len(trail)), "trail": trail, "probed": task.name}


def fake_keep(folder: Path) -> Path:
    best, kept = folder / "checkpoint_best.pt", folder / "encoder.pt"
    if best.exists():
        best.replace(kept)
    return kept


def put_in_stand_ins() -> None:
    for module in (fine_tuning, method_flags):
        module.train_command = fake_command  # type: ignore[attr-defined]
    chains.keep_encoder = fake_keep
    Prober.score = fake_score  # type: ignore[method-assign]


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fine_tuning, "train_command", fake_command)
    monkeypatch.setattr(method_flags, "train_command", fake_command)
    monkeypatch.setattr(chains, "keep_encoder", fake_keep)
    monkeypatch.setattr(Prober, "score", fake_score)


def command(name: str, *words: object) -> list[str]:
    return ["probe", name, *map(str, words)]


def degradation(tasks: Tasks, model: Path, out: Path, *words: object) -> list[str]:
    chain = ["--chain", tasks["three"], tasks["pair"]]
    given = ["--pretrained", model, "--source", tasks["two"], *chain, "--out", out]
    return command("degradation", *given, *SHORT, *words)


def results(out: Path) -> dict[str, Any]:
    return json.loads((out / "probe.json").read_text())


def trails(out: Path) -> dict[str, list[str]]:
    return {
        str(path.parent.relative_to(out / "runs")): json.loads(path.read_text())
        for path in sorted(out.rglob("encoder.pt.trail"))
    }


def test_degradation_goes_from_step_to_step(
    tasks: Tasks, model: Path, tmp_path: Path, stand_ins: None, capsys: Any
) -> None:
    words = degradation(tasks, model, tmp_path, "--methods", "plain,smart", "--seeds", "1,4")
    assert cli.main(words) == 0
    told = results(tmp_path)
    assert told["kind"] == "degradation" and told["versions"]["torch"]
    assert len(told["rows"]) == 2 * 2 * 3
    steps = {(r["step"], r["trained_on"], r["probed"], r["value"]) for r in told["rows"]}
    assert steps == {(0, "two", "two", 1), (1, "three", "two", 2), (2, "pair", "two", 3)}
    assert {(r["method"], r["seed"]) for r in told["rows"]} == {
        (method, seed) for method in ("plain", "smart") for seed in (1, 4)
    }
    criterion = "sentence_prediction_smart"
    assert trails(tmp_path)["smart/seed-4/2-pair"] == [
        f"{name}:{criterion}:4" for name in ("two", "three", "pair")
    ]
    record = json.loads((tmp_path / "runs/plain/seed-1/1-three/run.json").read_text())
    assert (record["probe"], record["step"], record["task"]) == ("degradation", 1, "three")
    assert record["baseline"] > 0 and record["task_folder"] == str(tasks["three"])
    assert "1 three" in capsys.readouterr().out
    # Nothing is run again; another method is added.
    wider = degradation(tasks, model, tmp_path, "--methods", "plain,r3f,smart", "--seeds", "1,4")
    assert cli.main(wider) == 0
    assert {path.read_text() for path in tmp_path.rglob("started")} == {"x"}
    assert len(results(tmp_path)["rows"]) == 3 * 2 * 3


def test_retention_probes_the_task_that_is_next(
    tasks: Tasks, model: Path, tmp_path: Path, stand_ins: None
) -> None:
    words = ["--pretrained", model, "--tasks", tasks["two"], tasks["three"], tasks["pair"]]
    words += ["--cycles", 2, "--methods", "plain", "--seeds", 1, "--out", tmp_path, *SHORT]
    assert cli.main(command("retention", *words)) == 0
    rows = results(tmp_path)["rows"]
    assert [(r["cycle"], r["step"], r["trained_on"], r["probed"], r["value"]) for r in rows] == [
        (1, 1, "two", "three", 1),
        (1, 2, "three", "pair", 2),
        (1, 3, "pair", "two", 3),
        (2, 1, "two", "three", 4),
        (2, 2, "three", "pair", 5),
        (2, 3, "pair", "two", 6),
    ]


def test_a_failed_run_ends_its_chain_alone(
    tasks: Tasks, model: Path, tmp_path: Path, stand_ins: None, capsys: Any
) -> None:
    bad = shutil.copytree(tasks["pair"], tmp_path / "fail")
    words = ["--pretrained", model, "--source", tasks["two"], "--chain", bad, tasks["three"]]
    words += ["--methods", "plain", "--seeds", 1, "--out", tmp_path / "out", *SHORT]
    assert cli.main(command("degradation", *words)) == 1
    assert [row["step"] for row in results(tmp_path / "out")["rows"]] == [0]
    assert "the chain ends at" in capsys.readouterr().err
    started = tmp_path / "out/runs/plain/seed-1/1-pair/started"
    assert cli.main(command("degradation", *words)) == 1
    assert started.read_text() == "x"
    assert cli.main(command("degradation", *words, "--retry-failed")) == 1
    assert started.read_text() == "xx"


def test_other_inputs_want_another_folder(
    tasks: Tasks, model: Path, tmp_path: Path, stand_ins: None
) -> None:
    other = shutil.copy(model, tmp_path / "other.pt")
    out = tmp_path / "out"
    words = ["--methods", "plain", "--seeds", 1]
    assert cli.main(degradation(tasks, model, out, *words)) == 0
    with open(other, "ab") as file:
        file.write(b" ")
    with pytest.raises(UserError, match="are of another pretrained than is there now"):
        cli.main(degradation(tasks, other, out, *words))
    with pytest.raises(UserError, match="holds another probe"):
        cli.main(
            command("retention", "--pretrained", model, "--tasks", tasks["two"], tasks["three"])
            + ["--out", str(out), *SHORT]
        )


def test_bad_input(tasks: Tasks, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def refused(told: str, *words: object) -> None:
        with pytest.raises(UserError, match=told):
            cli.main(degradation(tasks, model, out, "--seeds", 1, *words))
        assert not (out / "runs").exists()

    refused("--methods best: unknown; choose among plain,", "--methods", "best")
    refused("--methods surt: .*run examples/", "--methods", "surt")
    refused("--methods ',': names nothing", "--methods", ",")
    refused("--seeds 3-1: give numbers", "--seeds", "3-1")
    refused("--seeds x: give numbers", "--seeds", "x")
    refused("--set r3f: write METHOD.NAME=VALUE", "--set", "r3f")
    refused("mmr is none of --methods", "--methods", "plain", "--set", "mmr.mmr_alpha=1")
    refused("--eps-none: no flag", "--methods", "r3f", "--set", "r3f.eps_none=1")
    refused("invalid choice|invalid float", "--methods", "r3f", "--set", "r3f.eps=x")
    refused("--updates 0: must be", "--updates", 0)
    refused("--lr -1.0: must be", "--lr", -1)
    refused("--jobs 0: must be", "--jobs", 0)
    refused("--learning-rate: no flag", "--", "--learning-rate", 1)
    refused("--source .*none: is no prepared task", "--source", tmp_path / "none")
    refused("--pretrained .*none: there is no such file", "--pretrained", tmp_path / "none")
    number = ["--chain", tasks["number"], "--methods", "mmr"]
    refused("--methods mmr: takes classes only, and number is a regression", *number)
    for words in (["--tasks", tasks["two"]], ["--tasks", tasks["two"], tasks["two"]]):
        given = [*words, "--pretrained", model, "--out", out]
        with pytest.raises(UserError, match="two or more different tasks"):
            cli.main(command("retention", *given))
    with pytest.raises(UserError, match="--cycles 0: must be"):
        cli.main(command("retention", *given, "--cycles", 0))


def test_flags_of_methods() -> None:
    found = method_flags.method_flags("plain, r4f", ["r4f.r3f-lambda=0.5"])
    assert found["plain"] == ["--criterion", "sentence_prediction_r3f", "--r3f-lambda", "0.0"]
    assert "--spectral-norm-classification-head" in found["r4f"]
    assert found["r4f"][-2:] == ["--r3f-lambda", "0.5"]
    off = ["r4f.spectral_norm_classification_head=false"]
    assert "--spectral-norm-classification-head" not in method_flags.method_flags("r4f", off)["r4f"]


def test_what_follows_two_dashes_is_for_fairseq() -> None:
    parser = probe.argparse.ArgumentParser("rxf probe")
    probe.add_arguments(parser)
    words = ["retention", "--tasks", "a", "b", "--pretrained", "c", "--out", "d", "--", "--lr", "1"]
    args = probe.parse(parser, words)
    assert (args.probe, args.flags, args.tasks) == (
        "retention",
        ["--lr", "1"],
        [Path("a"), Path("b")],
    )


def killable(words: list[str]) -> None:
    os.setsid()
    put_in_stand_ins()
    sys.exit(cli.main(words))


@pytest.mark.slow
def test_sigkill_loses_at_most_the_runs_in_hand(
    tasks: Tasks, model: Path, tmp_path: Path, stand_ins: None
) -> None:
    words = ["--methods", "plain,r3f", "--seeds", "1-2", "--jobs", 1]
    assert cli.main(degradation(tasks, model, tmp_path / "whole", *words)) == 0
    asked = degradation(tasks, model, tmp_path / "out", *words)
    context = multiprocessing.get_context("fork")
    source = random.Random(7)
    kills = 0
    for _ in range(60):
        process = context.Process(target=killable, args=(asked,))
        process.start()
        process.join(source.uniform(1.0, 4.0) if kills < 4 else 200)
        if process.exitcode is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        kills += 1
    assert kills and process.exitcode == 0
    assert results(tmp_path / "out")["rows"] == results(tmp_path / "whole")["rows"]
    assert trails(tmp_path / "out") == trails(tmp_path / "whole")
    starts = [len(path.read_text()) for path in (tmp_path / "out").rglob("started")]
    assert len(starts) == 12 and sum(starts) <= 12 + kills


@pytest.mark.slow
def test_a_chain_through_fairseq(tasks: Tasks, model: Path, tmp_path: Path) -> None:
    """Killed once while it trains; the head of one task is not the next one's start."""
    words = degradation(tasks, model, tmp_path, "--methods", "r4f", "--seeds", "1")
    words += ["--chain", str(tasks["pair"])]
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=through_fairseq, args=(words,))
    process.start()
    log = tmp_path / "runs/r4f/seed-1/0-two/train.log"
    while process.is_alive() and not log.is_file():
        time.sleep(0.2)
    time.sleep(2)
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    assert cli.main(words) == 0
    rows = results(tmp_path)["rows"]
    assert [(row["step"], row["trained_on"]) for row in rows] == [(0, "two"), (1, "pair")]
    told = (tmp_path / "runs/r4f/seed-1/1-pair/train.log").read_text()
    assert "1-pair" not in told or "encoder.pt" in told
    first = load_checkpoint(tmp_path / "runs/r4f/seed-1/0-two/encoder.pt")["model"]
    assert not [name for name in first if name.startswith("classification_heads.")]
    # The encoder was trained on, from the first step's.
    start, last = (
        used_parameters(load_checkpoint(path)["model"])
        for path in (model, tmp_path / "runs/r4f/seed-1/1-pair/encoder.pt")
    )
    name = "encoder.sentence_encoder.layers.1.fc1.weight"
    far, near = ((last[name] - other[name]).norm() for other in (start, first))
    assert 0 < near < far


def through_fairseq(words: list[str]) -> None:
    os.setsid()
    os.chdir(REPO)
    sys.exit(cli.main(words))


def test_settings_are_written(tasks: Tasks, model: Path, tmp_path: Path, stand_ins: None) -> None:
    words = ["--methods", "r3f", "--seeds", "1", "--set", "r3f.r3f_lambda=0.1"]
    assert cli.main(degradation(tasks, model, tmp_path, *words, "--", "--weight-decay", "0.5")) == 0
    settings = results(tmp_path)["settings"]
    assert settings["flags"] == ["--weight-decay", "0.5"]
    assert settings["methods"]["r3f"][-2:] == ["--r3f-lambda", "0.1"]
    assert (settings["source"], settings["chain"]) == ("two", ["three", "pair"])
    record = json.loads((tmp_path / "runs/r3f/seed-1/0-two/run.json").read_text())
    assert record["command"][-2:] == ["--weight-decay", "0.5"]
    assert Namespace(**settings["recipe"]).updates == 4
