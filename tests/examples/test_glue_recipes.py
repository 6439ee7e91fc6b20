"""The GLUE recipes: what a dry run prints, what they refuse, and whole runs."""

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from examples.glue.stand_in import ROWS, write_task
from examples.stand_in import TINY_ROBERTA, write_bpe, write_model
from rxf.lab.prepare.glue import prepare_task
from rxf.lab.prepare.glue_tasks import GLUE_TASKS
from rxf.lab.prepare.tokens import add_arguments, load_encoder
from rxf.lab.recipes import score
from rxf.lab.recipes.glue import FROM_MNLI, methods_of, recipe
from tests.examples.test_glue_rte import RELEASED
from tests.examples.test_summarization import parsed_rxf, parsed_training
from tests.lab.recipes.commands import VARIABLES, printed, run_script, training_of
from tests.support import REPO, fork_fairseq_train, load_model_state, train_log

TASKS = list(GLUE_TASKS)
HEAD = "classification_heads.sentence_classification_head.out_proj.weight"
# Paths, and how many GPUs this machine has.
NOT_COMPARED = {"data", "user_dir", "save_dir", "finetune_from_model", "distributed_world_size"}


def script_of(task: str) -> str:
    return f"glue/{task.lower()}"


# ---- what a dry run prints ----


@pytest.mark.parametrize("task", TASKS)
def test_every_command_is_one_that_its_program_knows(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method in methods_of(task):
        commands = printed(script_of(task), "raw files", "work", method, "--seed", 7)
        prepare, training, evaluate, scoring = commands
        args = parsed_rxf(prepare, monkeypatch)
        assert (args.dir, args.task, args.out) == (Path("raw files"), task, Path("work/data"))
        train = parsed_training(training)
        assert (train.data, train.save_dir) == ("work/data", f"work/{method}/checkpoints")
        assert (train.num_classes, train.seed) == (GLUE_TASKS[task].num_classes, 7)
        assert train.regression_target == (task == "STS-B")
        # The form that resumes.
        assert train.finetune_from_model == "model.pt"
        assert train.restore_file == "checkpoint_last.pt"
        assert not (train.reset_optimizer or train.reset_dataloader or train.reset_meters)
        assert train.batch_size * train.update_freq[0] == recipe(task, method).batch
        best, data, out = evaluate[2:5]
        assert evaluate[:2] == ["rxf", "evaluate"] and data == train.data
        assert best == f"{train.save_dir}/checkpoint_best.pt"
        asked = score._parser().parse_args(scoring[3:])
        assert scoring[:3] == ["python", "-m", "rxf.lab.recipes.score"]
        assert (asked.task, asked.method, asked.from_mnli) == (task, method, False)
        assert asked.evaluated == Path(out) / "scores.json"
        assert asked.out == Path("work") / method / "scores.json"


def rte(method: str = "r3f", *more: object, **variables: str) -> dict[str, Any]:
    words = training_of(printed("glue/rte", "RAW", "WORK", method, *more, **variables))
    return vars(parsed_training(words))


def differing(ours: dict[str, Any], theirs: dict[str, Any]) -> set[str]:
    return {name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)}


def test_rte_is_the_released_command() -> None:
    """--user-dir and paths apart; it resumes, and keeps no checkpoint an epoch."""
    theirs = vars(parsed_training(["fairseq-train", "RTE-bin", *RELEASED, "--user-dir", "rxf"]))
    form = {"reset_optimizer", "reset_dataloader", "reset_meters", "no_epoch_checkpoints"}
    assert differing(rte(), theirs) - NOT_COMPARED == form


def test_rte_is_the_command_of_the_readme() -> None:
    text = (REPO / "README.md").read_text(encoding="utf-8")
    command = re.search(r"^fairseq-train RTE-bin.*?[^\\]$", text, re.MULTILINE | re.DOTALL)
    assert command
    theirs = vars(parsed_training(shlex.split(command[0].replace("\\\n", " "))))
    assert differing(rte(), theirs) <= NOT_COMPARED


def test_flags_behind_the_method_come_last() -> None:
    changed = differing(rte("r3f", "--lr", "3e-4", "--update-freq", 3), rte())
    assert changed == {"lr", "update_freq"}


def test_on_a_cpu_without_half_precision() -> None:
    assert differing(rte("r3f", "--cpu"), rte()) == {
        *("cpu", "fp16", "fp16_init_scale", "fp16_scale_window", "threshold_loss_scale"),
    }
    (evaluate,) = [w for w in printed("glue/rte", "R", "W", "r3f", "--cpu") if "evaluate" in w]
    assert evaluate[-1] == "--cpu"


@pytest.mark.parametrize(
    "gpus, sentences, update_freq", [(1, 8, 4), (2, 8, 2), (4, 8, 1), (16, 2, 1)]
)
def test_any_number_of_gpus_makes_the_batch(gpus: int, sentences: int, update_freq: int) -> None:
    """First in fewer steps, then of fewer sentences each."""
    words = training_of(printed("glue/mnli", "RAW", "WORK", "r3f", GPUS=str(gpus)))
    args = parsed_training(words)
    assert (args.batch_size, args.update_freq) == (sentences, [update_freq])
    assert args.distributed_world_size == gpus
    assert (words[0] == "torchrun") == (gpus > 1)


@pytest.mark.parametrize("task", FROM_MNLI)
def test_from_an_mnli_model(task: str) -> None:
    done = run_script(script_of(task), "--dry-run", "RAW", "WORK", "plain", MNLI="mnli best.pt")
    assert "its head is not taken" in done.stderr and "made anew" in done.stderr
    _, training, _, scoring = [shlex.split(line) for line in done.stdout.splitlines()]
    args = parsed_training(training)
    assert args.finetune_from_model == "mnli best.pt"
    assert args.save_dir == "WORK/plain-mnli/checkpoints"
    asked = score._parser().parse_args(scoring[3:])
    assert asked.from_mnli and asked.start == "mnli best.pt"


def test_whose_settings_they_are() -> None:
    def told(method: str) -> str:
        return run_script(
            "glue/rte", "--dry-run", "RAW", "WORK", method, ROBERTA="not there.pt"
        ).stderr

    assert told("r3f") == ""
    assert told("recadam").startswith("note: the settings are those of BERT-base;")
    assert told("cwgnc").startswith("note: the settings are those of BERT-large;")


# ---- what goes wrong ----


@pytest.mark.parametrize("task", TASKS)
def test_usage_where_arguments_are_missing(task: str) -> None:
    for arguments in ([], ["raw"], ["raw", "work"], ["--smoke"], ["--smoke", "work"], ["--no"]):
        done = run_script(script_of(task), *arguments, ROBERTA="model.pt")
        assert done.returncode == 2, arguments
        assert done.stderr.startswith("usage: ROBERTA=model.pt") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("script", "arguments", "variables", "told"),
    [
        ("glue/rte", ["r3f"], {}, "set ROBERTA to the pre-trained model.pt"),
        ("glue/rte", ["r3f"], {"ROBERTA": "no.pt"}, "ROBERTA: there is no file no.pt"),
        ("glue/rte", ["r3f"], {"MNLI": "no.pt"}, "MNLI: there is no file no.pt"),
        ("glue/cola", ["r3f"], {"MNLI": "no.pt"}, "MNLI: CoLA does not start from"),
        ("glue/rte", ["smart"], {"ROBERTA": "FILE"}, "METHOD smart: give plain, r3f, r4f,"),
        ("glue/qqp", ["cwgnc"], {"ROBERTA": "FILE"}, "METHOD cwgnc: give plain, r3f, r4f,"),
        ("glue/rte", ["r3f"], {"ROBERTA": "FILE", "GPUS": "3"}, "cannot make the recipe's batch"),
        ("glue/rte", ["r3f"], {"ROBERTA": "FILE", "GPUS": "two"}, "GPUS=two: give a number"),
    ],
    ids=[
        "no ROBERTA",
        "no file",
        "no MNLI",
        "MNLI",
        "METHOD",
        "METHOD of a task",
        "GPUS",
        "GPUS in words",
    ],
)
def test_one_line_where_input_is_wrong(
    script: str, arguments: list[str], variables: dict[str, str], told: str, tmp_path: Path
) -> None:
    model = tmp_path / "model.pt"
    model.touch()
    named = {name: str(model) if value == "FILE" else value for name, value in variables.items()}
    work = tmp_path / "work"
    done = run_script(script, tmp_path, work, *arguments, **named)
    assert done.returncode == 1 and told in done.stderr.splitlines()[-1]
    assert not work.exists()


# ---- the data of --smoke ----


def prepared(task: str, folder: Path) -> Path:
    """The stand-in for a task, as `rxf prepare glue` makes it."""
    bpe = write_bpe(folder / "bpe")
    raw = write_task(GLUE_TASKS[task], folder)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    encoder = load_encoder(parser.parse_args(["--bpe-dir", str(bpe)]))
    prepare_task(GLUE_TASKS[task], raw, encoder, folder / "out")
    return folder / "out"


@pytest.mark.parametrize("task", TASKS)
def test_the_stand_in_has_the_official_form(task: str, tmp_path: Path) -> None:
    facts = json.loads((prepared(task, tmp_path) / "prepare.json").read_text())
    rows = {split: told["rows"] for split, told in facts["splits"].items()}
    assert rows == {split: ROWS[split] for split in GLUE_TASKS[task].files}
    assert not any(told["dropped"] for told in facts["splits"].values())


# ---- whole runs ----

TINY = ["--arch", "roberta", "--encoder-layers", "2", "--encoder-embed-dim", "16"]
TINY += ["--encoder-ffn-embed-dim", "32", "--encoder-attention-heads", "2", "--cpu"]
TINY += ["--max-update", "3", "--total-num-update", "4", "--warmup-updates", "1"]
TINY += ["--batch-size", "4", "--update-freq", "1", "--num-workers", "0", "--log-interval", "1"]
TINY += ["--disable-validation", "--log-format", "json"]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["STS-B", "MRPC"])
def test_every_method_trains(task: str, tmp_path: Path) -> None:
    """The printed command, with a tiny model; in regression too."""
    data = prepared(task, tmp_path)
    model = write_model(tmp_path / "model.pt", tmp_path / "bpe/dict.txt", TINY_ROBERTA)
    for method in methods_of(task):
        words = training_of(printed(script_of(task), "RAW", "WORK", method, *TINY))
        save_dir = tmp_path / method
        paths = ["--save-dir", save_dir, "--finetune-from-model", model]
        done = fork_fairseq_train(data, *words[2:], *paths)
        log = [entry for entry in train_log(done.stdout) if entry["tag"] == "train_inner"]
        assert [entry["num_updates"] for entry in log] == [1, 2, 3], method
        told = {"recadam": "anchor_distance", "cwgnc": "clipped_share", "freelb": "delta_norm"}
        assert told.get(method, "nll_loss") in log[-1], method
        assert (save_dir / "checkpoint_last.pt").exists()


@pytest.mark.slow
def test_smoke_and_from_the_mnli_model_of_it(tmp_path: Path) -> None:
    """MNLI with both dev sets, then RTE from its checkpoint."""
    mnli, work = tmp_path / "MNLI", tmp_path / "RTE"
    done = run_script("glue/mnli", "--smoke", mnli, "r3f")
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    line = next(x for x in done.stdout.splitlines() if x.startswith("MNLI r3f: "))
    assert re.search(r"matched accuracy [\d.]+ of 12 rows; mismatched accuracy [\d.]+ of 10", line)
    assert "settings of RoBERTa-large" in line
    submitted = sorted((mnli / "r3f/evaluated/submission").iterdir())
    assert sorted(len(path.read_text().splitlines()) for path in submitted) == [1 + 6, 1 + 8]
    best = mnli / "r3f/checkpoints/checkpoint_best.pt"
    assert load_model_state(best)[HEAD].shape == (3, TINY_ROBERTA["encoder_embed_dim"])

    done = run_script("glue/rte", "--smoke", work, "plain", MNLI=str(best))
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert "RTE plain, from an MNLI model: valid accuracy" in done.stdout
    facts = json.loads((work / "plain-mnli/scores.json").read_text())
    assert facts["started_from_mnli"] and facts["start"] == str(best)
    assert facts["splits"]["valid"]["rows"] == 12
    trained = load_model_state(work / "plain-mnli/checkpoints/checkpoint_best.pt")
    assert trained[HEAD].shape == (2, TINY_ROBERTA["encoder_embed_dim"])


SHORT = ["--batch-size", "4", "--max-valid-steps", "4", "--num-workers", "0", "--log-interval", "1"]
SHORT += ["--max-update", "10", "--total-num-update", "10", "--warmup-updates", "1", "--cpu"]
SHORT += ["--save-interval-updates", "2", "--keep-interval-updates", "1", "--log-format", "json"]


@pytest.mark.slow
def test_real_rte_is_killed_and_goes_on(
    shared_data: Path, shared_models: Path, tmp_path: Path
) -> None:
    environment = {
        "ROBERTA": str(shared_models / "roberta_mini" / "model.pt"),
        "BPE": str(shared_data / "gpt2_bpe"),
    }
    call = ("glue/rte", shared_data / "glue", tmp_path, "r3f", *SHORT)
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    kept["PATH"] = f"{Path(sys.executable).parent}:{kept['PATH']}"
    process = subprocess.Popen(
        ["bash", f"{REPO}/examples/glue/rte.sh", *map(str, call[1:])],
        env={**kept, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=REPO,
        start_new_session=True,
    )
    last = tmp_path / "r3f/checkpoints/checkpoint_last.pt"
    until = time.monotonic() + 300
    while not last.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    told = process.communicate()[0]
    assert last.exists(), told[-4000:]
    assert not (tmp_path / "r3f/.done/train").exists()

    done = run_script(*call, **environment)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert "prepare: done before" in done.stdout
    assert "the settings are those of RoBERTa-large; the model here is roberta" in done.stderr
    log = [entry for entry in train_log(done.stdout) if entry["tag"] == "train_inner"]
    updates = [entry["num_updates"] for entry in log]
    # From the last checkpoint, not from the start.
    assert updates == list(range(int(updates[0]), 11)) and updates[0] in (3, 5, 7, 9)
    assert re.search(r"^RTE r3f: valid accuracy [\d.]+ of 277 rows", done.stdout, re.MULTILINE)

    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = run_script(*call, **environment)
    assert again.stdout.count("done before with the same command") == 4
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
