"""Bad input, one table: what is typed, and the one line that the person gets.

In words and lines ``{none}`` is a path where nothing is; ``{dir}`` a folder that holds but the
files of :func:`places`. Three dots in a line stand for what is left out of it here.
"""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import pytest
from fairseq import checkpoint_utils, options, tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.trainer import Trainer

from rxf import cli
from rxf.errors import UserError
from tests.support import (
    REPO,
    fork_fairseq_train,
    save_pretrained,
    train_flags,
    translation_flags,
    write_sentence_data,
    write_translation_data,
)

Places = dict[str, Path]

# What is typed behind `rxf`.  An argparse message starts with the command, all others with
# "rxf: error: ", which is left out here.
RXF = [
    ("", "rxf: error: the following arguments are required: SUBCOMMAND"),
    (
        "frobnicate",
        "rxf: error: argument SUBCOMMAND: invalid choice: 'frobnicate' (choose from ...",
    ),
    ("doctor twice", "rxf doctor: error: unrecognized arguments: twice"),
    ("methods --write {none}", "--write {none}: there is no such file"),
    ("methods --write {dir}/text", "--write {dir}/text: the file needs <!-- methods: begin ..."),
    # prepare
    ("prepare", "rxf prepare: error: the following arguments are required: DATASET"),
    ("prepare glue {dir} SNLI {none}", "TASK SNLI is no GLUE task: give one of CoLA, ..."),
    (
        "prepare glue {none} RTE {none} --dict {dir}/dict.txt",
        "DIR {none}: is no folder: give the one that holds RTE/",
    ),
    (
        "prepare glue {dir} RTE {none} --dict {dir}/dict.txt",
        "DIR {dir}: has no folder RTE: give the folder that holds it",
    ),
    (
        "prepare glue {dir} MRPC {none} --dict {dir}/dict.txt",
        "{dir}/MRPC/train.tsv:1: no column '#1 String' in the header 'one line of text': the "
        "official file names its columns in its first line",
    ),
    (
        "prepare glue {dir} MRPC {none}",
        "no dictionary: give --bpe-dir DIR (... or --dict FILE alone ...",
    ),
    ("prepare glue {dir} MRPC {none} --dict {none}", "--dict: there is no file {none}; ..."),
    (
        "prepare glue {dir} MRPC {none} --dict {dir}/empty",
        "{dir}/empty: is empty: a fairseq dictionary has one 'WORD COUNT' a line",
    ),
    (
        "prepare glue {dir} MRPC {none} --dict {dir}/text",
        "{dir}/text: is no fairseq dictionary (...)",
    ),
    (
        "prepare glue {dir} MRPC {none} --vocab-bpe {dir}/text",
        "--encoder-json is missing: give all three files or --bpe-dir; ...",
    ),
    (
        "prepare summarization {dir} {none} --dict {dir}/dict.txt",
        "{dir}/train.source has 2 lines and {dir}/train.target has 1: line N of one belongs to "
        "line N of the other; get both files again",
    ),
    (
        "prepare summarization {dir} {none} --dict {dir}/dict.txt --min-count -1",
        "--min-count -1: give 0 or more",
    ),
    (
        "prepare text {dir} {none} --dict {dir}/dict.txt",
        "DIR {dir}: has no train.txt (or .gz), needed as train",
    ),
    (
        "prepare surt {dir} {none}",
        "DATA {dir}: has no input0/dict.txt: give a folder that `rxf prepare glue` made",
    ),
    # scores
    ("rouge {none} {dir}/text", "{none}: cannot be read (No such file or directory): check ..."),
    (
        "rouge {dir}/text {dir}/train.source",
        "{dir}/text has 1 lines and {dir}/train.source has 2: line by line they must belong "
        "together: give the files of one split, whole",
    ),
    ("rouge {dir}/text {dir}/empty", "{dir}/empty: is empty: give a file with one example a line"),
    ("rouge {dir}/bad.jsonl {dir}/text", "{dir}/bad.jsonl:1: is not JSON: mend the line"),
    (
        "rouge {dir}/text {dir}/bad.jsonl",
        "{dir}/bad.jsonl: is JSON: give plain text, one line each, as second argument",
    ),
    ("rouge {dir}/latin1 {dir}/text", "{dir}/latin1:1: is not UTF-8 text: convert the file to ..."),
    (
        "rouge {dir}/text {dir}/text --eos ' '",
        "--eos ' ': give what stands between the spaces, such as .",
    ),
    (
        "rouge {dir}/text {dir}/text --json {none}/report.json",
        "{none}/report.json: cannot be written: give a file in a folder that is there",
    ),
    (
        "rouge {dir}/text {dir}/text --per-pair {dir}/pairs.tsv --tool files2rouge",
        "--per-pair: files2rouge prints averages only: give --tool builtin",
    ),
    (
        "bleu {dir}/text {dir}/text --tokenize klingon",
        "rxf bleu: error: argument --tokenize: invalid choice: 'klingon' (choose from ...",
    ),
    # generate
    (
        "generate {dir}/model.pt",
        "rxf generate wants CHECKPOINT DATA OUT first, then flags (see --help)",
    ),
    (
        "generate {dir}/text {dir} {none} --beem 4",
        "... --beem ...",
    ),
    (
        "generate {dir}/text {dir} {none} --no-repeat-ngram-size 1",
        "--no-repeat-ngram-size 1 bans the </s> that every hypothesis starts with, so that none "
        "can end: give 2 or more",
    ),
    # report, sweep, probe
    ("report {none}", "DIR {none}: there is no such folder"),
    ("report {dir} --format pdf", "--format pdf: unknown; choose among csv,json,md,tex,png,html"),
    (
        "report {dir} --best-of 0",
        "--best-of 0: must be a whole number from 1 on, or several: 2,5,10",
    ),
    (
        "sweep {none} --pretrained {dir}/text",
        "rxf sweep: error: the following arguments are required: --tasks",
    ),
    (
        "sweep {none} --tasks {dir} --pretrained {dir}/text",
        "{dir}: is no prepared task (prepare.json is missing or cannot be read): make it by "
        "`rxf prepare glue`",
    ),
    (
        "sweep {none} --tasks {dir} --pretrained {dir}/text --seeds 5-1",
        "--seeds 5-1: give numbers and ranges, as in 1-5 or 1,2,7-9",
    ),
    (
        "sweep {none} --tasks {dir} --pretrained {dir}/text --jobs 0",
        "--jobs 0: must be at least 1",
    ),
    (
        "sweep {none} --tasks {dir}/task --pretrained {dir}/text",
        "--pretrained {dir}/text: it is damaged, cut short or no checkpoint at all ...",
    ),
    (
        "sweep {none} --tasks {dir}/task --pretrained {dir}/model.pt --methods r3f,r5f",
        "--methods r5f: unknown; choose among plain, ...",
    ),
    (
        "sweep {none} --tasks {dir}/task --pretrained {dir}/model.pt --methods surt",
        "--methods surt: is a course of several trainings: run examples/glue/surt.sh",
    ),
    (
        "sweep {none} --tasks {dir}/task --pretrained {dir}/model.pt --set r3f.eps",
        "--set r3f.eps: write METHOD.NAME=VALUE, as in r3f.r3f_lambda=0.1",
    ),
    (
        "sweep {none} common.seed=1,2 --tasks {dir}/task --pretrained {dir}/text",
        "OVERRIDE common.seed=1,2: one value for all runs: sweep others in another OUT",
    ),
    (
        "probe guess",
        "rxf probe: error: argument PROBE: invalid choice: 'guess' (choose from ...",
    ),
    (
        "probe generalization --pretrained {none} --tasks {dir}/task --out {dir}/probe",
        "--pretrained {none}: does not exist or is no file: correct the path",
    ),
    (
        "probe generalization --pretrained {dir}/text --checkpoint x --tasks {dir}/task "
        "--out {dir}/probe",
        "--checkpoint x: give NAME=FILE, as in plain/1=runs/plain/best.pt",
    ),
    (
        "probe retention --pretrained {dir}/text --tasks {dir}/task --out {dir}/probe",
        "--tasks: name two or more different tasks, each once",
    ),
    (
        "probe collapse --pretrained {dir}/text --text {dir} --out {dir}/probe --seed -1",
        "--seed -1: give 0 to 4294967295",
    ),
]

# What is typed behind `fairseq-train --user-dir rxf` and the flags of a short training.
SENTENCES = [
    # every method
    ("r3f --eps -1", "--eps -1.0: must be a finite number of 0 or more"),
    ("r3f --r3f-lambda nan", "--r3f-lambda nan: must be a finite number of 0 or more"),
    ("r3f --noise-type gauss", "error: argument --noise-type: invalid choice: 'gauss' ..."),
    ("r3f --r3f-passes twice", "error: argument --r3f-passes: invalid choice: 'twice' ..."),
    (
        "r3f --spectral-norm-classification-head --spectral-norm-scope body",
        "... --spectral-norm-scope: invalid choice: 'body' ...",
    ),
    (
        "r3f --spectral-norm-classification-head --quant-noise-pq 0.1",
        "--spectral-norm-classification-head and --quant-noise-pq both rewrite the weight of the "
        "head: use one of them",
    ),
    ("smart --smart-steps 0", "--smart-steps 0: must be a finite number of 1 or more"),
    ("smart --smart-beta 2", "--smart-beta 2.0: must be a finite number from 0 to 1"),
    (
        "smart --max-update 0 --max-epoch 1",
        "--smart-late-beta holds behind --smart-early-share of all updates, and their number is "
        "not known: pass --max-update (or --smart-early-share 1 for --smart-beta alone)",
    ),
    ("freelb --freelb-steps 0", "--freelb-steps 0: must be a finite number of 1 or more"),
    ("freelb --freelb-norm l3", "error: argument --freelb-norm: invalid choice: 'l3' ..."),
    ("rdrop --rdrop-alpha -1", "--rdrop-alpha -1.0: must be a finite number of 0 or more"),
    ("mmr --mmr-alpha inf", "--mmr-alpha inf: must be a finite number of 0 or more"),
    ("mhloss --mhloss-heads 0", "--mhloss-heads 0: must be a finite number of 1 or more"),
    (
        "mhloss --spectral-norm-classification-head",
        "--criterion sentence_prediction_mhloss averages plain linear heads, which out_proj ... "
        "is not: leave out --spectral-norm-classification-head, ...",
    ),
    ("pac --pac-gamma 0", "--pac-gamma 0.0: must be a finite number above 0"),
    ("pac --pac-k-models 0", "--pac-k-models 0: must be a finite number of 1 or more"),
    (
        "r3f --optimizer recadam --lr 0.0001",
        "--recadam-init pretrained starts from the file that --finetune-from-model (or "
        "--restore-file) names: give it, or --recadam-init random",
    ),
    (
        "r3f --optimizer recadam --lr 0.01",
        "--optimizer recadam: the largest learning rate 0.01 times the largest pull 5000 is 2 or "
        "more, which drives weights away from the anchor: lower --lr below 0.0004, or ...",
    ),
    (
        "r3f --optimizer recadam --recadam-anneal-w 0",
        "--recadam-anneal-w 0.0: must be a finite number above 0",
    ),
    (
        "r3f --optimizer cwgnc_adam --component-clip-norm -1",
        "--component-clip-norm -1.0: must be a finite number of 0 or more",
    ),
    (
        "r3f --optimizer cwgnc_adam --layer-lr-decay 2",
        "--layer-lr-decay 2.0: must be a finite number above 0 and up to 1",
    ),
    (
        "r3f --optimizer cwgnc_adam --adam-betas 0.9",
        '--adam-betas 0.9: must be two numbers from 0 to below 1, "(0.9, 0.999)"',
    ),
    (
        "r3f --optimizer cwgnc_adam --l2sp-weight 1",
        "--optimizer cwgnc_adam pulls towards pre-trained weights, and no file of them is named: "
        "give --finetune-from-model (or --restore-file with the --reset flags)",
    ),
    # metrics and data
    (
        "r3f --num-classes 1",
        "--num-classes is 1, but label/dict.txt holds 2 labels (0, 1): pass --num-classes 2",
    ),
    (
        "r3f --regression-target",
        "--regression-target predicts one number, but --num-classes is 2: pass --num-classes 1",
    ),
    (
        "mmr --regression-target --num-classes 1",
        "--regression-target has no classes for --criterion sentence_prediction_mmr to keep "
        "apart: use another criterion, such as sentence_prediction_r3f",
    ),
    (
        "r3f --report-pearson-and-spearman",
        "--report-pearson-and-spearman compares numbers: pass --regression-target too",
    ),
    # files
    (
        "r3f --restore-file {none}",
        "--restore-file {none} does not exist or is not a file: correct the path, or leave the "
        "flag out to start from random weights",
    ),
    (
        "r3f --finetune-from-model {dir}",
        "--finetune-from-model {dir} does not exist or is not a file: ...",
    ),
    (
        "r3f --finetune-from-model {dir}/text",
        "checkpoint {dir}/text was refused: it is damaged, cut short or no checkpoint at all ...",
    ),
]
GENERATION = [
    ("r3f --label-smoothing 1.5", "--label-smoothing 1.5: must be in [0, 1)"),
    ("r3f --r3f-reduction mean", "error: argument --r3f-reduction: invalid choice: 'mean' ..."),
    ("smart --smart-eta 0", "--smart-eta 0.0: must be a finite number above 0"),
    ("rdrop --rdrop-alpha nan", "--rdrop-alpha nan: must be a finite number of 0 or more"),
]


def params(rows: list[tuple[str, str]]) -> Any:
    return pytest.mark.parametrize(
        "words, line", rows, ids=[words or "nothing" for words, _ in rows]
    )


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """What stands in the table's braces, and the data for trainings."""
    folder = tmp_path_factory.mktemp("bad_input")
    (folder / "text").write_text("one line of text\n")
    (folder / "empty").write_text("")
    (folder / "latin1").write_bytes(b"caf\xe9\n")
    (folder / "bad.jsonl").write_text("{\n")
    (folder / "dict.txt").write_text("word 1\n")
    (folder / "train.source").write_text("a\nb\n")
    (folder / "train.target").write_text("a\n")
    for name in ("train", "dev"):
        (folder / "MRPC").mkdir(exist_ok=True)
        (folder / "MRPC" / f"{name}.tsv").write_text("one line of text\n")
    for name in ("val", "test"):
        (folder / f"{name}.source").write_text("a\n")
        (folder / f"{name}.target").write_text("a\n")
    write_sentence_data(folder / "task", rows=8)
    write_translation_data(folder / "pairs", rows=8)
    save_pretrained(folder, folder / "task")
    flags = ["--task", "sentence_prediction", "--num-classes", "2"]
    (folder / "task" / "prepare.json").write_text(_facts(flags))
    return {"dir": folder, "none": folder / "none"}


def _facts(flags: list[str]) -> str:
    splits = {name: {"rows": 8} for name in ("train", "valid")}
    facts = {"task": "MADE", "num_classes": 2, "best_metric": "accuracy", "splits": splits}
    return json.dumps({**facts, "fairseq_train_flags": flags})


def test_there_are_enough() -> None:
    assert len(RXF) + len(SENTENCES) + len(GENERATION) >= 80


@params(RXF)
def test_rxf(
    words: str,
    line: str,
    places: Places,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RXF_DATA", raising=False)
    typed = shlex.split(words.format(**places))
    _check(line, places, _line_of(lambda: cli.main(typed), capsys))
    assert not places["none"].exists()


@params(SENTENCES)
def test_fairseq_train(
    words: str, line: str, places: Places, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    criterion, *more = shlex.split(words.format(**places))
    data = places["dir"] / "task"
    flags = train_flags(data, tmp_path, criterion=f"sentence_prediction_{criterion}")
    _check(line, places, _line_of(lambda: _train([*flags, *more]), capsys))
    assert list(tmp_path.iterdir()) == []


@params(GENERATION)
def test_fairseq_train_for_generation(
    words: str, line: str, places: Places, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    criterion, *more = shlex.split(words)
    data = places["dir"] / "pairs"
    flags = translation_flags(data, tmp_path, criterion=f"label_smoothed_cross_entropy_{criterion}")
    _check(line, places, _line_of(lambda: _train([*flags, *more]), capsys))
    assert list(tmp_path.iterdir()) == []


def _train(flags: list[str]) -> None:
    """What fairseq-train does up to the first update."""
    args = options.parse_args_and_arch(options.get_training_parser(), flags)
    cfg = convert_namespace_to_omegaconf(args)
    task = tasks.setup_task(cfg.task)
    trainer = Trainer(cfg, task, task.build_model(cfg.model), task.build_criterion(cfg.criterion))
    checkpoint_utils.load_checkpoint(cfg.checkpoint, trainer)
    trainer.begin_epoch(1)


def _line_of(call: Callable[[], Any], capsys: pytest.CaptureFixture[str]) -> str:
    """The line that the person gets, who in the end gets an exit status other than 0, too."""
    said: Optional[str] = None
    try:
        status = call()
    except UserError as error:
        # What the hook of rxf/errors.py prints; the three real processes below show that.
        assert "\n" not in str(error)
        return f"rxf: error: {error}"
    except SystemExit as end:
        status, said = end.code, capsys.readouterr().err
    assert status == 2, f"ended with {status}, without an error"
    assert said and said.startswith("usage: ") and "Traceback" not in said
    return said.splitlines()[-1]


def _check(line: str, places: Places, got: str) -> None:
    wanted = line.format(**places)
    if not re.match(r"\S+( \S+)?: error: |error: |\.\.\. ", wanted):
        wanted = f"rxf: error: {wanted}"
    parts = [re.escape(part) for part in wanted.split("...")]
    pattern = ".*".join(parts)
    if wanted.startswith("error: "):
        # argparse puts the program's name before it, which here is pytest's.
        pattern = rf"\S.*: {pattern}"
    assert re.fullmatch(pattern, got), f"wanted {wanted!r}, got {got!r}"


# ------------------------------------------------------------------- real processes


def test_a_person_at_the_rxf_command(places: Places) -> None:
    command = [sys.executable, "-c", "import sys; from rxf.cli import main; sys.exit(main())"]
    command += ["report", str(places["none"])]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == f"rxf: error: DIR {places['none']}: there is no such folder\n"


def test_a_person_at_fairseq_train(places: Places, tmp_path: Path) -> None:
    flags = train_flags(places["dir"] / "task", tmp_path, criterion="sentence_prediction_r3f")
    done = fork_fairseq_train(*flags, "--eps", "-1", check=False)
    assert done.returncode == 1
    line = "rxf: error: --eps -1.0: must be a finite number of 0 or more"
    assert done.stderr.strip().splitlines()[-1] == line
    assert "Traceback" not in done.stderr


def test_a_switch_that_is_none(places: Places, tmp_path: Path) -> None:
    flags = train_flags(places["dir"] / "task", tmp_path)
    done = fork_fairseq_train(*flags, env={"RXF_FIXES": "everything"}, check=False)
    line = "rxf: error: RXF_FIXES names no fix called everything: use off, or any of "
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith(line)
