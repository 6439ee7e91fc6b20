"""The XNLI recipe: flags that its commands know, its table, and all stages on small data."""

import json
import runpy
import shlex
import statistics
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from rxf.errors import UserError
from tests.lab.recipes.commands import run_script
from tests.lab.sentence_pieces import train_pieces
from tests.support import REPO, train_log

FOLDER = REPO / "examples" / "xnli"
METHODS = ("plain", "r3f", "r4f")


def recipe(
    *arguments: object, check: bool = True, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run xnli.sh with this environment's commands."""
    done = run_script("xnli/xnli", *arguments, **variables)
    assert not check or done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
    return done


def printed(*arguments: object, **variables: str) -> list[list[str]]:
    done = recipe("--dry-run", *arguments, **{"XLMR": "xlmr/model.pt", **variables})
    return [shlex.split(line) for line in done.stdout.splitlines()]


def parsed_training(words: list[str]) -> Namespace:
    """The command line as fairseq-train reads it, with rxf's names known."""
    from fairseq import options

    import rxf  # noqa: F401

    trainer = next(i for i, word in enumerate(words) if Path(word).name == "fairseq-train")
    return options.parse_args_and_arch(options.get_training_parser(), words[trainer + 1 :])


def parsed_rxf(words: list[str], monkeypatch: pytest.MonkeyPatch) -> Namespace:
    """The command line as `rxf` reads it, up to where the work would begin."""
    from rxf import cli
    from rxf.lab import evaluate
    from rxf.lab.prepare import xnli

    caught: list[Namespace] = []
    for module in (evaluate, xnli):
        monkeypatch.setattr(module, "run", lambda args: caught.append(args) or 0)
    assert words[0] == "rxf" and cli.main(words[1:]) == 0
    return caught[0]


# ---- what a dry run prints ----


@pytest.mark.parametrize("method", METHODS)
def test_every_flag_is_known(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = printed("raw files", "work", method, "--weight-decay", 0.5)
    prepare, training, evaluate, table = commands
    args = parsed_rxf(prepare, monkeypatch)
    assert (args.dir, args.out) == (Path("raw files"), Path("work/data"))
    assert args.spm == Path("xlmr/sentencepiece.bpe.model")
    assert args.dict == Path("xlmr/dict.txt") and args.train is None

    train = parsed_training(training)
    assert (train.data, train.arch, train.num_classes) == ("work/data", "roberta_large", 3)
    assert train.finetune_from_model == "xlmr/model.pt"
    assert train.restore_file == "checkpoint_last.pt" and not train.reset_optimizer
    assert train.criterion == "sentence_prediction_r3f" and train.fp16
    assert train.r3f_lambda == (0.0 if method == "plain" else 1.0)
    assert train.spectral_norm_classification_head == (method == "r4f")
    assert train.max_update == float(str(train.total_num_update)) > train.warmup_updates
    # What stands behind METHOD comes last and so counts.
    assert train.weight_decay == 0.5

    args = parsed_rxf(evaluate, monkeypatch)
    assert str(args.checkpoint) == f"{train.save_dir}/checkpoint_best.pt"
    assert str(args.out) == f"work/{method}-1/evaluation" and not args.cpu
    assert table[0] == "python" and table[-1] == "work"


def test_a_typo_would_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare, training, evaluate, _ = printed("raw", "work", "plain", "--weight-decai", 1)
    with pytest.raises(SystemExit):
        parsed_training(training)
    for words in (prepare, evaluate):
        with pytest.raises(SystemExit):
            parsed_rxf([*words, "--no-such-flag"], monkeypatch)


def test_runs_by_seed_and_rows_from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    env = {"SEEDS": "3 7", "TRAIN": "a b.tsv", "TRAIN_ROWS": "9", "SPM": "s", "DICT": "d"}
    commands = printed("raw", "work", "r3f", **env)
    assert len(commands) == 6
    runs = [parsed_training(words) for words in commands if words[0] == "fairseq-train"]
    assert [(run.seed, run.save_dir) for run in runs] == [
        (seed, f"work/r3f-{seed}/checkpoints") for seed in (3, 7)
    ]
    args = parsed_rxf(commands[0], monkeypatch)
    assert (args.train, args.train_rows) == (Path("a b.tsv"), 9)
    assert (args.spm, args.dict) == (Path("s"), Path("d"))


@pytest.mark.parametrize("gpus", [1, 2, 4])
def test_any_number_of_processes_makes_the_batch(gpus: int) -> None:
    train = parsed_training(printed("raw", "work", "plain", GPUS=str(gpus))[1])
    assert train.batch_size * train.update_freq[0] * gpus == 32
    assert train.distributed_world_size == gpus


def test_a_cpu_gets_no_half_precision() -> None:
    _, training, evaluate, _ = printed("raw", "work", "plain", "--cpu")
    assert not parsed_training(training).fp16 and evaluate[-1] == "--cpu"


# ---- what goes wrong ----


def test_one_line_where_something_is_missing(tmp_path: Path) -> None:
    done = recipe("raw", check=False)
    assert done.returncode == 2 and done.stderr.startswith("usage: XLMR=model.pt ")
    (tmp_path / "model.pt").touch()
    here = {"XLMR": str(tmp_path / "model.pt")}
    pieces = {"SPM": here["XLMR"], "DICT": here["XLMR"]}
    calls: list[tuple[str, tuple[object, ...], dict[str, str]]] = [
        ("set XLMR to the pre-trained", (tmp_path, "w", "plain"), {}),
        ("RAW: there is no folder no", ("no", "w", "plain"), here),
        ("XLMR: there is no file no.pt", (tmp_path, "w", "plain"), {"XLMR": "no.pt"}),
        ("SPM: there is no file", (tmp_path, "w", "plain"), here),
        ("DICT: there is no file", (tmp_path, "w", "plain"), {**here, "SPM": here["XLMR"]}),
        ("TRAIN: there is no file x", (tmp_path, "w", "plain"), {**here, **pieces, "TRAIN": "x"}),
        ("METHOD smart: give plain, r3f or r4f", (tmp_path, "w", "smart"), {**here, **pieces}),
        ("give a divisor of 4", (tmp_path, "w", "plain"), {**here, **pieces, "GPUS": "3"}),
    ]
    for told, arguments, variables in calls:
        done = recipe(*arguments, check=False, **variables)
        assert done.returncode == 1 and told in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
    assert not (REPO / "w").exists()


# ---- the table ----


def write_scores(work: Path, run: str, splits: dict[str, float]) -> None:
    folder = work / run / "evaluation"
    folder.mkdir(parents=True)
    facts = {name: {"rows": 9, "accuracy": value} for name, value in splits.items()}
    (folder / "scores.json").write_text(json.dumps({"splits": facts}))


def table(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["table.py", str(work)])
    # It has the errors of its module shown in one line, for the whole process.
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    runpy.run_path(str(FOLDER / "table.py"), run_name="__main__")


def cells(text: str) -> dict[str, list[str]]:
    """First cell of a row -> the others."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return {row[0].strip(" *"): [cell.strip() for cell in row[1:]] for row in rows}


def test_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    both = {"valid": 1.0, "dev-en": 2.0, "test-en": 80.0, "test-ur": 60.0}
    write_scores(tmp_path, "r3f-1", both)
    write_scores(tmp_path, "r3f-2", {**both, "test-en": 81.0, "test-zh": 50.0})
    write_scores(tmp_path, "my-own-7", {"valid": 1.0, "dev-en": 70.0, "dev-fr": 65.0})
    table(tmp_path, monkeypatch)
    text = capsys.readouterr().out
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == text
    rows = cells(text)
    languages = "en fr es de el bg ru tr ar vi th zh hi sw ur"
    assert " ".join(rows[""]) == f"rows runs {languages} avg"
    none = ["-"] * 13
    assert rows["r3f"] == ["test", "2", "80.5", *none, "60.0", "70.2 (2 of 15)"]
    assert rows["my-own"] == ["dev", "1", "70.0", "65.0", *none, "67.5 (2 of 15)"]
    # The average that the paper prints is that of its row, which it had before rounding: no
    # figure was copied wrongly.
    published = [row for row in rows.values() if row[1] == "5"]
    assert len(published) == 5
    for row in published:
        values = [float(value) for value in row[2:]]
        assert statistics.mean(values[:-1]) == pytest.approx(values[-1], abs=0.1)


def test_table_of_all_languages_and_of_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, none = tmp_path / "work", tmp_path / "none"
    write_scores(work, "r4f-1", {f"test-{name}": 70.0 for name in _languages()})
    table(work, monkeypatch)
    rows = cells((work / "table.md").read_text(encoding="utf-8"))
    assert rows["r4f"] == ["test", "1", *["70.0"] * 16]
    none.mkdir()
    for told in ("holds no METHOD-SEED/evaluation/scores.json", "no accuracy of test-LL or dev-LL"):
        with pytest.raises(UserError, match=told):
            table(none, monkeypatch)
        assert not (none / "table.md").exists()
        if not list(none.iterdir()):
            write_scores(none, "plain-1", {"valid": 70.0})


def _languages() -> tuple[str, ...]:
    from rxf.lab.prepare.xnli import LANGUAGES

    return LANGUAGES


# ---- every stage ----


def files_of(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_smoke(tmp_path: Path) -> None:
    work = tmp_path / "work"
    recipe("--smoke", work, "r4f")
    rows = cells((work / "table.md").read_text(encoding="utf-8"))
    assert rows["r4f"][:2] == ["test", "1"] and rows["r4f"][-1].endswith("(4 of 15)")
    scores = json.loads((work / "r4f-1" / "evaluation" / "scores.json").read_text())
    names = [f"{kind}-{name}" for kind in ("dev", "test") for name in ("en", "de", "zh", "sw")]
    assert list(scores["splits"]) == ["valid", *names]

    before = files_of(work)
    again = recipe("--smoke", work, "r4f")
    assert again.stdout.count("done before with the same command") == 4
    assert files_of(work) == before

    done = recipe("--smoke", work, "r4f", "--lr", 1, check=False)
    assert done.returncode == 1 and "are of other flags" in done.stderr


@pytest.fixture
def real(shared_data: Path, tmp_path: Path) -> dict[str, str]:
    """What names a tiny random model with pieces of its own, trained on XNLI's text.

    The development files are all that is here of XNLI: they have to do for training rows too,
    so that the scores of this test mean nothing but that the stages agree.
    """
    from examples.stand_in import TINY_ROBERTA, write_model

    xnli = shared_data / "xnli"
    if not (xnli / "dev-en.tsv").is_file():
        pytest.skip(f"no XNLI: {xnli}/dev-en.tsv is not there")
    lines = [line for path in sorted(xnli.glob("dev-*.tsv")) for line in _lines(path)[:1500:3]]
    text = [sentence for line in lines for sentence in line.split("\t")[:2]]
    pieces = train_pieces(tmp_path, text, vocabulary=2000)
    model = write_model(tmp_path / "model.pt", pieces.dictionary, TINY_ROBERTA)
    return {"XLMR": str(model), "TRAIN": str(xnli / "dev-en.tsv"), "TRAIN_ROWS": "600"}


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


@pytest.mark.slow
def test_real_development_files(shared_data: Path, real: dict[str, str], tmp_path: Path) -> None:
    work = tmp_path / "work"
    words = ["--cpu", "--max-update", 300, "--total-num-update", 300, "--warmup-updates", 20]
    words += ["--lr", 3e-3, "--update-freq", 1, "--save-interval-updates", 150]
    words += ["--log-format", "json", "--num-workers", 0]
    done = recipe(shared_data / "xnli", work, "r3f", *words, **real)
    logged = [e for e in train_log(done.stdout + done.stderr) if e["tag"] == "valid"]
    best = max(entry["valid_accuracy"] for entry in logged)

    out = work / "r3f-1" / "evaluation"
    scores = json.loads((out / "scores.json").read_text(encoding="utf-8"))["splits"]
    assert list(scores) == ["valid", "dev-en", "dev-de", "dev-zh", "dev-sw"]
    assert scores["valid"]["accuracy"] == pytest.approx(best, abs=1e-4)
    assert scores["valid"] == scores["dev-en"]
    for language in ("en", "de", "zh", "sw"):
        given = [line.split("\t")[2] for line in _lines(shared_data / f"xnli/dev-{language}.tsv")]
        said = [line.split("\t")[1] for line in _lines(out / f"dev-{language}.tsv")]
        right = sum(a == b for a, b in zip(given, said, strict=True))
        accuracy = 100 * right / len(given)
        assert scores[f"dev-{language}"]["accuracy"] == pytest.approx(accuracy, abs=1e-4)
    assert len({line.split("\t")[1] for line in _lines(out / "dev-en.tsv")}) > 1
    rows = cells((work / "table.md").read_text(encoding="utf-8"))
    assert rows["r3f"][:2] == ["dev", "1"] and rows["r3f"][-1].endswith("(4 of 15)")
