"""The recipes of RecAdam and component-wise clipping, and the runs that compare them."""

import json
import os
import runpy
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from tests.examples.test_summarization import parsed_training
from tests.lab.recipes.commands import printed, training_of
from tests.support import REPO, TINY_ROBERTA, run_fairseq_train

GLUE = REPO / "examples" / "glue"
# Stands in for fairseq-train: notes its arguments, and leaves a log that has ended.
RECORDER = """\
#!/usr/bin/env bash
{python} -c 'import json, sys; print(json.dumps(sys.argv[1:]))' "$@" >>{calls}
while [ $# -gt 0 ]; do
  case $1 in --log-file) log=$2 ;; --seed) seed=$2 ;; esac
  shift
done
[ "${{seed:-1}}" != 13 ] || exit 7
[ -z "${{log:-}}" ] || printf 'first\\ndone training in 1.0 seconds\\n' >>"$log"
"""


class Recorded:
    """A folder with a stand-in for fairseq-train, to run the scripts with."""

    def __init__(self, folder: Path) -> None:
        self.calls = folder / "calls.jsonl"
        self.binaries = folder / "bin"
        self.binaries.mkdir()
        stand_in = self.binaries / "fairseq-train"
        stand_in.write_text(RECORDER.format(python=sys.executable, calls=self.calls))
        stand_in.chmod(0o755)

    def run(self, script: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
        path = f"{self.binaries}:{os.environ['PATH']}"
        return subprocess.run(
            [GLUE / script, *map(str, arguments)],
            env={**os.environ, "PATH": path, "ROBERTA": "pre trained.pt"},
            cwd=REPO,
            capture_output=True,
            text=True,
        )

    def commands(self) -> list[list[str]]:
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return [["fairseq-train", *json.loads(line)] for line in lines]


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    return Recorded(tmp_path)


def parsed(recorded: Recorded, script: str, *arguments: object) -> list[Namespace]:
    """What fairseq-train makes of each command line that the script runs."""
    done = recorded.run(script, *arguments)
    assert done.returncode == 0, done.stderr
    return [parsed_training(words) for words in recorded.commands()]


def pull_of_an_update(args: Namespace) -> float:
    """lr x gamma x the largest w - lambda, which is at the first update."""
    from rxf.methods.recadam.annealing import annealed

    lr, w = args.lr[0], args.recadam_anneal_w
    function = str(args.recadam_anneal_fun)
    first = annealed(function, 1, args.recadam_anneal_k, args.recadam_anneal_t0, w)
    return lr * args.recadam_pretrain_cof * (w - first)


# ------------------------------------------------------------------- the recipes


def recipe(method: str, *more: object) -> Namespace:
    """What fairseq-train makes of rte.sh's command."""
    return parsed_training(training_of(printed("glue/rte", "RAW", "WORK", method, *more)))


@pytest.mark.parametrize("method", ["recadam", "cwgnc"])
def test_what_the_recipes_have_in_common(method: str) -> None:
    args = recipe(method)
    # Plain fine-tuning, with exact metrics.
    assert (args.criterion, args.r3f_lambda) == ("sentence_prediction_r3f", 0)
    assert args.lr == [2e-5] and args.warmup_updates == 0 and not args.fp16
    assert (args.adam_betas, args.adam_eps, args.weight_decay) == ("(0.9, 0.999)", 1e-8, 0.0)


def test_settings_of_recadam() -> None:
    args = recipe("recadam")
    assert (args.arch, args.optimizer, args.batch_size) == ("roberta_base", "recadam", 32)
    assert args.max_update == float(str(args.total_num_update)) == 7800
    assert (args.clip_norm, args.component_clip_norm) == (1.0, 0.0)
    assert (args.recadam_pretrain_cof, args.recadam_anneal_w) == (5000, 1)
    assert args.recadam_anneal_fun == "sigmoid" and args.recadam_init == "pretrained"
    assert args.recadam_anneal_k in {0.05, 0.1, 0.2, 0.5, 1}
    assert args.recadam_anneal_t0 in {250, 500, 1000}
    assert pull_of_an_update(args) == pytest.approx(0.1)
    assert recipe("recadam", "--recadam-init", "random").recadam_init == "random"


def test_settings_of_cwgnc() -> None:
    args = recipe("cwgnc")
    assert (args.arch, args.optimizer, args.batch_size) == ("roberta_large", "cwgnc_adam", 16)
    assert (args.component_clip_norm, args.component_clip_group) == (0.05, "tensor")
    assert args.clip_norm == 0.0
    # Three epochs of RTE's 2,490 rows.
    assert args.max_epoch == 3 and int(args.total_num_update) == 3 * -(-2490 // 16)
    assert (args.l2sp_weight, args.ewc_weight, args.layer_lr_decay) == (0.0, 0.0, 1.0)


def test_the_runs_say_what_they_want(tmp_path: Path) -> None:
    def error(*arguments: object) -> str:
        done = subprocess.run(
            [GLUE / "recadam_runs.sh", *map(str, arguments)],
            env={key: value for key, value in os.environ.items() if key != "ROBERTA"},
            capture_output=True,
            text=True,
        )
        assert done.returncode != 0
        return done.stderr

    assert "usage: ROBERTA=model.pt" in error()
    assert "usage: ROBERTA=model.pt" in error(tmp_path)
    assert "set ROBERTA to the pre-trained model.pt" in error(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ----------------------------------------------------------------- the comparison


def test_the_runs_differ_in_their_method_alone(recorded: Recorded, tmp_path: Path) -> None:
    out = tmp_path / "out folder"
    runs = parsed(recorded, "recadam_runs.sh", "glue bin", out)
    logs = [Path(args.log_file).relative_to(out) for args in runs]
    methods = ["plain", "recadam-pi", "recadam-ri", "cwgnc"]
    wanted = {f"{t}/{m}-{s}.log" for t in ("RTE", "CoLA") for m in methods for s in range(1, 6)}
    assert {str(log) for log in logs} == wanted and len(runs) == 40

    own = {"seed", "log_file", "recadam_anneal_fun", "recadam_anneal_k", "recadam_init"}
    own |= {"component_clip_norm", "no_seed_provided"}
    for task in ("RTE", "CoLA"):
        settings = [vars(args) for args in runs if args.data == f"glue bin/{task}"]
        assert len(settings) == 20
        for name in settings[0].keys() - own:
            assert len({str(one[name]) for one in settings}) == 1, name
    for args, log in zip(runs, logs, strict=True):
        assert log.stem.endswith(f"-{args.seed}")
        assert args.no_save and not args.disable_validation and args.r3f_lambda == 0
        assert args.max_update == float(str(args.total_num_update))
        # Validated eight times, the last after the last update.
        assert args.max_update == 8 * args.validate_interval_updates
        assert args.warmup_updates == round(0.06 * args.max_update)


def test_the_methods_of_the_runs(recorded: Recorded, tmp_path: Path) -> None:
    runs = parsed(recorded, "recadam_runs.sh", "bin", tmp_path / "out", 3)
    assert len(runs) == 8
    by_method = {Path(args.log_file).stem.removesuffix("-3"): args for args in runs}
    clips = {method: args.component_clip_norm for method, args in by_method.items()}
    assert clips == {"plain": 0, "recadam-pi": 0, "recadam-ri": 0, "cwgnc": 0.05}
    for method in ("plain", "cwgnc"):
        assert str(by_method[method].recadam_anneal_fun) == "constant"
        assert pull_of_an_update(by_method[method]) == 0
    for method, init in (("recadam-pi", "pretrained"), ("recadam-ri", "random")):
        args = by_method[method]
        assert (args.recadam_anneal_fun, args.recadam_init) == ("sigmoid", init)
        assert pull_of_an_update(args) == pytest.approx(0.1, rel=2e-3)


def test_what_is_done_is_not_run_again(recorded: Recorded, tmp_path: Path) -> None:
    def seeds_run(*seeds: int) -> list[str]:
        recorded.run("recadam_runs.sh", "bin", tmp_path / "out", *seeds)
        return [words[words.index("--log-file") + 1] for words in recorded.commands()]

    assert len(seeds_run(1, 2)) == 16
    assert seeds_run(1, 2) == []
    # Stopped half-way: it starts anew, in an empty log.
    stopped = tmp_path / "out" / "CoLA" / "cwgnc-2.log"
    stopped.write_text("half a run\n")
    assert seeds_run(1, 2) == [str(stopped)]
    assert "half a run" not in stopped.read_text()


def test_a_run_that_fails_is_told_and_the_others_go_on(recorded: Recorded, tmp_path: Path) -> None:
    done = recorded.run("recadam_runs.sh", "bin", tmp_path / "out", 13, 1)
    assert done.returncode == 1
    assert len(recorded.commands()) == 16
    failed = tmp_path / "out/RTE/plain-13.log.out"
    assert f"failed: see {failed}" in done.stderr
    assert done.stderr.count("failed: see") == 8


@pytest.mark.slow
def test_a_run_leaves_what_the_table_reads(
    sentence_data: Path, pretrained: Path, tmp_path: Path, recorded: Recorded
) -> None:
    """The command of a real run, with a tiny model; the rest is in test_glue_table.py."""
    recorded.run("recadam_runs.sh", "bin", tmp_path / "out", 1)
    words = next(w for w in recorded.commands() if "CoLA/recadam-pi-1.log" in " ".join(w))
    log = tmp_path / "log"
    run_fairseq_train(
        sentence_data,
        *words[2:],
        *["--finetune-from-model", pretrained, "--log-file", log, *TINY_ROBERTA],
        *["--max-update", "20", "--validate-interval-updates", "10"],
    )
    run = runpy.run_path(str(GLUE / "recadam_table.py"))["read"](log, "mcc")
    assert run.ended and {10, 20} <= run.metric.keys()
    assert run.distance.keys() == run.task_weight.keys() == {10, 20}
    assert 0 < run.distance[10] < run.distance[20] and run.clipped == {}
