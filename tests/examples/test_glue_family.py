"""The runs of every method of the registry, and their table."""

import json
import os
import runpy
import shlex
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from rxf.methods import registry
from tests.examples.test_glue_optimizers import GLUE, Recorded
from tests.examples.test_glue_table import rows, write_log
from tests.examples.test_summarization import parsed_training
from tests.support import REPO, TINY_ROBERTA, write_sentence_data

RUNS: Any = runpy.run_path(str(GLUE / "family_runs.py"))
TABLE = GLUE / "family_table.py"
NAMES = RUNS["methods"]()
# Those that are a run, and no course of runs.
SINGLE = [name for name in NAMES if name != "surt"]


def family(
    binaries: Path, data: Path, out: Path, *seeds: int, **env: object
) -> "subprocess.CompletedProcess[str]":
    """family_runs.sh with the ``fairseq-train`` of a folder."""
    path = f"{binaries}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = {"PATH": path, "ROBERTA": "pre trained.pt", **{k: str(v) for k, v in env.items()}}
    return subprocess.run(
        [GLUE / "family_runs.sh", data, out, *map(str, seeds)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
        cwd=REPO,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    return Recorded(tmp_path)


def words_of(task: str, method: str, seed: str = "1", more: str = "") -> Any:
    run = RUNS["Run"](Path("glue bin"), Path("out"), task, method, seed)
    return RUNS["command"](run, "pre trained.pt", more)


def parsed(task: str, method: str, seed: str = "1") -> Namespace:
    return parsed_training(words_of(task, method, seed).words)


# ------------------------------------------------------------------------- the commands


def test_every_method_of_the_registry_is_run() -> None:
    with_sentences = {m.name for m in registry.methods() if m.sentences or m.recipe}
    assert NAMES[0] == "plain" and set(NAMES[1:]) == with_sentences
    assert {"freelb", "surt"} < with_sentences


@pytest.mark.parametrize("task", list(RUNS["TASKS"]))
def test_the_runs_differ_in_their_method_alone(task: str) -> None:
    every = {name: vars(parsed(task, name)) for name in SINGLE}
    plain = every.pop("plain")
    assert (plain["data"], plain["r3f_lambda"]) == (f"glue bin/{task}", 0)
    assert plain["finetune_from_model"] == "pre trained.pt" and plain["no_save"]
    assert plain["max_update"] == float(str(plain["total_num_update"]))
    assert plain["max_update"] == RUNS["VALIDATIONS"] * plain["validate_interval_updates"]
    assert plain["warmup_updates"] == round(0.06 * plain["max_update"])
    assert plain["report_mcc"] == (task == "CoLA")
    for name, settings in every.items():
        own = {**registry.flags(registry.find(name), "sentences")}
        own |= {**RUNS["SETTINGS"].get(name, {}), **RUNS["OF_A_TASK"].get((name, task), {})}
        for key in plain.keys() & settings.keys() - own.keys() - {"log_file"}:
            assert str(settings[key]) == str(plain[key]), (name, key)
        for key, value in own.items():
            assert type(settings[key])(value) == settings[key], (name, key)


def test_surt_is_masking_and_then_the_plain_run() -> None:
    course = words_of("CoLA", "surt", "7", "--lr 1")
    assert course.words == [str(GLUE / "surt.sh"), "glue bin/CoLA", "out/CoLA/surt-7"]
    assert course.env["ROBERTA"] == "pre trained.pt"
    plain = words_of("CoLA", "plain", "7", "--lr 1").words
    pretrained = plain.index("--finetune-from-model")
    log = plain.index("--log-file")
    same = [*plain[2:pretrained], *plain[pretrained + 2 :]]
    same[same.index(plain[log + 1])] = "out/CoLA/surt-7.log"
    assert sorted(course.env["FINETUNE"].split()) == sorted(same)
    masking = parsed_training(
        ["fairseq-train", "text", "--task", "masked_lm", *course.env["MLM"].split()]
    )
    tuning = parsed_training(plain)
    for key in ("encoder_embed_dim", "batch_size", "max_update", "warmup_updates", "seed"):
        assert getattr(masking, key) == getattr(tuning, key)
    assert masking.lr == [1.0] and not masking.no_save


def test_settings_are_of_methods_that_there_are() -> None:
    named = {*RUNS["SETTINGS"], *(method for method, _ in RUNS["OF_A_TASK"])}
    assert named <= set(SINGLE)
    assert {task for _, task in RUNS["OF_A_TASK"]} <= set(RUNS["TASKS"])


def test_flags_for_all_come_last() -> None:
    args = parsed_training(words_of("SST-2", "rdrop", more="--max-update 4 --lr 1").words)
    assert (args.max_update, args.lr, args.rdrop_alpha) == (4, [1.0], 0.7)


def test_seeds_and_logs() -> None:
    args = parsed("CoLA", "freelb", "7")
    assert (args.seed, args.log_file) == (7, "out/CoLA/freelb-7.log")
    assert (args.freelb_steps, args.freelb_max_norm) == (4, 0.3)


# ------------------------------------------------------------------------- the runs


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_method_is_run_once(recorded: Recorded, tmp_path: Path, jobs: int) -> None:
    out = tmp_path / "out"
    done = family(recorded.binaries, tmp_path / "b in", out, 3, 4, JOBS=jobs, METHODS="plain mmr")
    assert done.returncode == 0, done.stderr
    runs = [parsed_training(words) for words in recorded.commands()]
    logs = {str(Path(args.log_file).relative_to(out)) for args in runs}
    tasks, methods, seeds = ("SST-2", "CoLA"), ("plain", "mmr"), (3, 4)
    wanted = {f"{t}/{m}-{s}.log" for t in tasks for m in methods for s in seeds}
    assert logs == wanted and len(runs) == 8
    facts = json.loads((out / "CoLA" / "mmr-4.json").read_text())
    assert facts["seconds"] > 0 and facts["cpu_seconds"] > 0
    assert 1000 < facts["peak_kib"] < 10**7
    words = shlex.split(facts["command"])
    assert words[:2] == ["fairseq-train", str(tmp_path / "b in" / "CoLA")]


@pytest.mark.slow
def test_what_is_done_is_not_run_again(recorded: Recorded, tmp_path: Path) -> None:
    def logs_run() -> list[str]:
        family(recorded.binaries, tmp_path, tmp_path / "out", 1, METHODS="plain", MORE="--lr 1")
        return [words[words.index("--log-file") + 1] for words in recorded.commands()]

    assert len(logs_run()) == 2
    assert logs_run() == []
    # Stopped half-way: it starts anew, in an empty log.
    stopped = tmp_path / "out" / "CoLA" / "plain-1.log"
    stopped.write_text("half a run\n")
    stopped.with_suffix(".json").unlink()
    assert logs_run() == [str(stopped)]
    assert "half a run" not in stopped.read_text()


def test_a_run_that_fails_is_told_and_the_others_go_on(recorded: Recorded, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = family(recorded.binaries, tmp_path, out, 13, 1, METHODS="plain")
    assert done.returncode == 1
    assert len(recorded.commands()) == 4
    assert f"failed: see {out}/SST-2/plain-13.out" in done.stderr
    assert done.stderr.count("failed: see") == 2
    assert not (out / "SST-2" / "plain-13.json").exists()
    assert (out / "CoLA" / "plain-1.json").exists()


def test_the_scripts_say_what_they_want(tmp_path: Path) -> None:
    def error(script: str, *arguments: object) -> str:
        done = subprocess.run(
            [GLUE / script, *map(str, arguments)],
            env={key: value for key, value in os.environ.items() if key != "ROBERTA"},
            capture_output=True,
            text=True,
        )
        assert done.returncode != 0
        return done.stderr

    assert "usage: ROBERTA=model.pt" in error("family_runs.sh")
    assert "usage: ROBERTA=model.pt" in error("family_runs.sh", tmp_path)
    assert "set ROBERTA to" in error("family_runs.sh", tmp_path, tmp_path / "out")
    assert "RXF_DATA DATA" in error("family_data.sh")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("folder", "methods", "message"),
    [("out dir", "plain", "out dir: has spaces"), ("out", "plain r5f", "METHODS: there is no r5f")],
)
def test_bad_input(
    recorded: Recorded, tmp_path: Path, folder: str, methods: str, message: str
) -> None:
    done = family(recorded.binaries, tmp_path, tmp_path / folder, 1, METHODS=methods)
    assert done.returncode == 1 and message in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr and recorded.commands() == []


@pytest.mark.slow
def test_a_run_leaves_what_the_table_reads(pretrained: Path, tmp_path: Path) -> None:
    """Real runs, with a tiny model on tiny data."""
    for task in RUNS["TASKS"]:
        write_sentence_data(tmp_path / "bin" / task)
    sizes = [*TINY_ROBERTA, "--batch-size", "8", "--log-interval", "2"]
    more = [*sizes, "--max-update", "6", "--validate-interval-updates", "3"]
    env = {"ROBERTA": pretrained, "METHODS": "plain freelb surt", "MORE": shlex.join(more)}
    done = family(tmp_path, tmp_path / "bin", tmp_path / "out", 1, **env)
    assert done.returncode == 0, done.stderr
    found = rows(table(tmp_path / "out"))
    assert [row[:4] for row in found[2:]] == [
        ["SST-2", "accuracy", "plain", "1"],
        ["SST-2", "accuracy", "freelb", "1"],
        ["SST-2", "accuracy", "surt", "1"],
        ["CoLA", "mcc", "plain", "1"],
        ["CoLA", "mcc", "freelb", "1"],
        ["CoLA", "mcc", "surt", "1"],
    ]
    for row in found[2:]:
        update, ratio, cpu, peak = map(float, row[-4:])
        assert 0 < update < 5 and cpu > 1 and 100 < peak < 5000
        assert (ratio == 1) == (row[2] == "plain")
    # The checkpoints of its first stage do not stay.
    assert sorted(path.name for path in (tmp_path / "out" / "CoLA").glob("surt*")) == [
        *["surt-1.json", "surt-1.log", "surt-1.out"]
    ]


@pytest.mark.slow
def test_the_data(shared_data: Path, tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for _ in range(2):  # the second time it is there
        done = subprocess.run(
            [GLUE / "family_data.sh", shared_data, tmp_path / "b in"],
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    splits = {
        task: json.loads((tmp_path / "b in" / task / "prepare.json").read_text())["splits"]
        for task in RUNS["TASKS"]
    }
    assert (splits["SST-2"]["train"]["rows"], splits["SST-2"]["valid"]["rows"]) == (5000, 872)
    assert (splits["CoLA"]["train"]["rows"], splits["CoLA"]["valid"]["rows"]) == (8551, 1043)


# ------------------------------------------------------------------------- the table


def table(out: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, TABLE, out], capture_output=True, text=True)


def write_run(
    log: Path,
    metric: str,
    values: list[float],
    seconds: tuple[float, ...] = (0.5,),
    cpu: float = 40.0,
    peak_mib: int = 700,
) -> None:
    """A run that ended, with a line of the training for each of ``seconds`` by update."""
    speeds = [str(100 / one) for one in seconds]
    lines = {"wpb": ["100"] * len(values), "wps": (speeds * len(values))[: len(values)]}
    write_log(log, metric, values, **lines)
    facts = {"seconds": 99.0, "cpu_seconds": cpu, "peak_kib": 1024 * peak_mib, "command": ""}
    log.with_suffix(".json").write_text(json.dumps(facts))


def test_scores(tmp_path: Path) -> None:
    values = {1: [50.0, 70.0, 68.0], 2: [50.92, 50.0, 50.9], 10: [55.0, 54.0, 60.0]}
    for seed, one in values.items():
        write_run(tmp_path / "SST-2" / f"r3f-{seed}.log", "accuracy", one)
    found = rows(table(tmp_path))
    assert found[0][3:11] == [
        *["n", "median", "min", "max", "sd", "failed", "by seed", "median of last"]
    ]
    # 444 of 872 is 50.917: the second seed's best is that.
    wanted = ["3", "60.0", "50.9", "70.0", "9.54", "1", "70.0, 50.9, 60.0", "60.0"]
    assert found[2] == ["SST-2", "accuracy", "r3f", *wanted, "0.500", "-", "40", "700"]


def test_an_mcc_of_zero_has_failed(tmp_path: Path) -> None:
    write_run(tmp_path / "CoLA" / "mmr-1.log", "mcc", [0.0, -1.0])
    write_run(tmp_path / "CoLA" / "mmr-2.log", "mcc", [1.5, -2.5])
    found = rows(table(tmp_path))
    assert found[2][3:11] == ["2", "0.8", "0.0", "1.5", "1.06", "1", "0.0, 1.5", "-1.8"]


def test_a_run_that_did_not_end_has_failed(tmp_path: Path) -> None:
    write_run(tmp_path / "SST-2" / "smart-1.log", "accuracy", [60.0], cpu=10)
    write_log(tmp_path / "SST-2" / "smart-2.log", "accuracy", [70.0], ended=False)
    write_log(tmp_path / "SST-2" / "pac-1.log", "accuracy", [70.0], ended=False)
    pac, smart = rows(table(tmp_path))[2:]
    assert pac[2:] == ["pac", "1", "-", "-", "-", "-", "1", "-", "-", "-", "-", "-", "-"]
    assert smart[3:10] == ["2", "60.0", "60.0", "60.0", "-", "1", "60.0, -"]
    assert smart[-2:] == ["10", "700"]


def test_costs(tmp_path: Path) -> None:
    """A stall in one line does not count, nor does another task's plain run."""
    for seed, seconds in ((1, (0.2, 0.25, 3.0)), (2, (0.4, 0.4, 0.5)), (3, (0.3, 0.3, 0.3))):
        run = (tmp_path / "SST-2" / f"plain-{seed}.log", "accuracy", [60.0] * 3)
        write_run(*run, seconds, cpu=10 * seed, peak_mib=100 * seed)
    write_run(tmp_path / "SST-2" / "freelb-1.log", "accuracy", [60.0], (0.9,))
    write_run(tmp_path / "CoLA" / "freelb-1.log", "mcc", [60.0], (0.8,))
    plain, freelb, cola = rows(table(tmp_path))[2:]
    assert plain[-4:] == ["0.300", "1.00", "20", "200"]
    assert freelb[2] == "freelb" and freelb[-4:-2] == ["0.900", "3.00"]
    assert cola[0] == "CoLA" and cola[-4:-2] == ["0.800", "-"]


def test_a_folder_without_runs_is_named(tmp_path: Path) -> None:
    done = table(tmp_path)
    assert done.returncode == 1 and done.stderr.strip().startswith(f"{tmp_path}: holds no")
