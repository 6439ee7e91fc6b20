"""`rxf evaluate`: what training logged, in the data's order and words; one line for bad input."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Optional

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.data import Dictionary, data_utils

from rxf import cli
from rxf.errors import UserError
from rxf.lab.evaluate.answers import submission_lines, submission_name
from rxf.lab.prepare.glue_tasks import GLUE_TASKS, REPORT_FLAG
from rxf.lab.prepared import FACTS
from rxf.methods import registry
from tests.support import (
    TINY_SEQ2SEQ,
    fork_fairseq_train,
    load_checkpoint,
    save_pretrained,
    train_flags,
    train_log,
    translation_flags,
    write_sentence_data,
    write_translation_data,
)

ROWS = {"train": 64, "valid": 40, "test": 13}
MNLI_ROWS = {**ROWS, "valid1": 21, "test1": 9}
# In an order that is not that of the alphabet, as frequencies may have it.
LABELS = {"MNLI": ["neutral", "contradiction", "entailment"], "CoLA": ["1", "0"]}
LABELS |= {"MRPC": ["1", "0"], "QQP": ["1", "0"]}


class Task(NamedTuple):
    """A prepared folder, and what fairseq-train is told about it."""

    folder: Path
    settings: dict[str, Any]


def write_task(root: Path, name: str, rows: Optional[dict[str, int]] = None, seed: int = 1) -> Task:
    """A GLUE task on tiny data, whose test splits have no labels."""
    task, rows = GLUE_TASKS[name], rows or ROWS
    folder = write_sentence_data(
        root / name,
        rows,
        classes=task.num_classes,
        seed=seed,
        pair=len(task.sentences) == 2,
        regression=task.regression,
        labels=LABELS.get(name),
    )
    for path in (folder / "label").glob("test*"):
        path.unlink()
    if task.regression:
        for path in (folder / "label").glob("*.label"):
            scores = [float(line) / 5 for line in path.read_text().split()]
            path.write_text("".join(f"{score:.6g}\n" for score in scores))
    facts = {
        "task": name,
        "num_classes": task.num_classes,
        "best_metric": task.best_metric,
        "fairseq_train_flags": task.train_flags(),
        "splits": {split: {"rows": count} for split, count in rows.items()},
    }
    (folder / FACTS).write_text(json.dumps(facts))
    report = REPORT_FLAG.get(task.best_metric, "").removeprefix("--").replace("-", "_")
    settings = {report: True} if report else {}
    settings |= {"best_checkpoint_metric": task.best_metric}
    return Task(folder, {**settings, "maximize_best_checkpoint_metric": True})


def train(task: Task, save_dir: Path, **settings: Any) -> tuple[Path, dict[str, float]]:
    """The best checkpoint, and what was logged of it: metric -> percent."""
    settings = {
        **dict(criterion="sentence_prediction_r3f", disable_validation=None, lr=1e-2),
        **dict(max_update=64, batch_size=8, dropout=0.0, attention_dropout=0.0),
        **task.settings,
        **settings,
    }
    done = fork_fairseq_train(*train_flags(task.folder, save_dir, **settings))
    entries = [e for e in train_log(done.stdout + done.stderr) if e["tag"] == "valid"]
    metric = f"valid_{task.settings['best_checkpoint_metric']}"
    best = max(entries, key=lambda entry: entry[metric])
    logged = {key.removeprefix("valid_"): value for key, value in best.items()}
    return save_dir / "checkpoint_best.pt", logged


def evaluate(*words: object) -> int:
    return cli.main(["evaluate", *map(str, words), "--cpu"])


def error_of(*words: object) -> str:
    with pytest.raises(UserError) as caught:
        evaluate(*words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def scores_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "scores.json").read_text(encoding="utf-8"))


def predictions_of(out: Path, split: str) -> list[str]:
    rows = [line.split("\t") for line in (out / f"{split}.tsv").read_text().splitlines()]
    assert [int(index) for index, _ in rows] == list(range(len(rows)))
    return [answer for _, answer in rows]


@pytest.fixture(scope="module")
def mnli(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """For reading only, as what follows."""
    return write_task(tmp_path_factory.mktemp("data"), "MNLI", MNLI_ROWS)


@pytest.fixture(scope="module")
def model(mnli: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(mnli, tmp_path_factory.mktemp("model"))[0]


@pytest.fixture(scope="module")
def evaluated(mnli: Task, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "evaluated"
    assert evaluate(model, mnli.folder, out, "--batch-size", 5) == 0
    return out


class Trained(NamedTuple):
    """A training with a validation now and then."""

    task: Task
    checkpoint: Path
    logged: dict[str, float]


@pytest.fixture(scope="module")
def bart(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("bart")
    task = write_task(folder, "MRPC")
    return Trained(task, *train(task, folder / "run", **BART))


@pytest.fixture(scope="module")
def regression(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("regression")
    task = write_task(folder, "STS-B")
    return Trained(task, *train(task, folder / "run", regression_target=True))


# ---- equal to training ----

BART = {"arch": "bart_base", **TINY_SEQ2SEQ, "max_positions": None}
BART |= {"add_prev_output_tokens": True}
ALL = [m for m in (registry.PLAIN, *registry.methods()) if m.sentences is not None]


def assert_equal_to_log(trained: Trained, out: Path) -> None:
    task = trained.task
    evaluate(trained.checkpoint, task.folder, out)
    scores = scores_of(out)["splits"]["valid"]
    assert scores.pop("rows") == ROWS["valid"]
    assert task.settings["best_checkpoint_metric"] in scores
    assert scores == {name: pytest.approx(trained.logged[name], abs=1e-4) for name in scores}
    # Else a model that answers anything would do.
    assert len(set(predictions_of(out, "valid"))) > 1


@pytest.mark.parametrize("kind", ["bart", "regression"])
def test_scores_are_what_training_logged(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    assert_equal_to_log(request.getfixturevalue(kind), tmp_path / "out")


@pytest.mark.parametrize(
    "method",
    [pytest.param(m, id=m.name, marks=[pytest.mark.slow] * (m.name != "r4f")) for m in ALL],
)
def test_every_method_scores_what_it_logged(method: registry.Method, tmp_path: Path) -> None:
    task = write_task(tmp_path, "MRPC" if method.name == "r4f" else "CoLA")
    settings = {**registry.flags(method, "sentences"), **method.tiny}
    if method.name == "pac":
        # What moves away from a random start costs it: it goes on from a model that knows the task.
        settings["finetune_from_model"] = train(task, tmp_path / "plain")[0]
    if method.name == "recadam":
        pretrained = save_pretrained(tmp_path / "pretrained", task.folder)
        settings["finetune_from_model"] = pretrained
    trained = Trained(task, *train(task, tmp_path / "run", **settings))
    assert_equal_to_log(trained, tmp_path / "out")


# ---- rows and words ----


def rows_one_by_one(checkpoint: Path, folder: Path, split: str, limit: int = 64) -> list[str]:
    """Predicted labels by fairseq's own loading, a row at a time, with nothing padded."""
    (loaded,), _, _ = checkpoint_utils.load_model_ensemble_and_task(
        [str(checkpoint)], arg_overrides={"data": str(folder)}
    )
    loaded.eval()
    labels = [line.split()[0] for line in (folder / "label/dict.txt").read_text().splitlines()]
    columns = [
        data_utils.load_indexed_dataset(str(folder / s / split)) for s in ("input0", "input1")
    ]
    found = []
    for first, second in zip(*columns, strict=True):
        row = torch.cat([torch.tensor([0]), first, torch.tensor([2]), second])[:limit]
        (name,) = loaded.classification_heads
        with torch.no_grad():
            logits, _ = loaded(row[None].long(), features_only=True, classification_head_name=name)
        found.append(labels[int(logits.argmax())])
    return found


@pytest.mark.parametrize("split", ["valid1", "test", "test1"])
def test_labels_by_name_in_the_order_of_the_rows(
    split: str, mnli: Task, model: Path, evaluated: Path
) -> None:
    found = predictions_of(evaluated, split)
    assert len(found) == MNLI_ROWS[split] and len(set(found)) > 1
    assert found == rows_one_by_one(model, mnli.folder, split)


def test_all_but_train_by_default(evaluated: Path) -> None:
    scores = scores_of(evaluated)
    assert list(scores["splits"]) == ["valid", "test", "valid1", "test1"]
    assert scores["splits"]["test"] == {"rows": 13}
    assert set(scores["splits"]["valid1"]) == {"rows", "accuracy"}
    assert scores["metric"] == "accuracy" and scores["device"] == "cpu"


def test_accuracy_is_that_of_the_predictions(mnli: Task, evaluated: Path) -> None:
    dictionary = Dictionary.load(str(mnli.folder / "label" / "dict.txt"))
    rows = data_utils.load_indexed_dataset(str(mnli.folder / "label" / "valid1"), dictionary)
    labels = [dictionary[int(row[0])] for row in rows]
    right = sum(a == b for a, b in zip(labels, predictions_of(evaluated, "valid1"), strict=True))
    accuracy = scores_of(evaluated)["splits"]["valid1"]["accuracy"]
    assert accuracy == pytest.approx(100 * right / len(labels), abs=1e-4)


def test_splits_by_name_and_pattern(mnli: Task, model: Path, tmp_path: Path) -> None:
    evaluate(model, mnli.folder, tmp_path / "out", "--splits", "train,test*")
    assert list(scores_of(tmp_path / "out")["splits"]) == ["train", "test", "test1"]


def test_long_rows_are_cut_and_counted(
    mnli: Task, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "MNLI"
    shutil.copytree(mnli.folder, folder)
    words = Dictionary.load(str(folder / "input0" / "dict.txt"))
    lengths = {0: 70, 5: 60, 12: 100}
    rows = list(data_utils.load_indexed_dataset(str(folder / "input1" / "test")))
    for index, length in lengths.items():
        rows[index] = torch.cat([rows[index][:1].expand(length), rows[index][-1:]])
    write_column(folder / "input1" / "test", words, rows)
    evaluate(model, folder, tmp_path / "out", "--splits", "test,test1")
    first = [len(row) for row in data_utils.load_indexed_dataset(str(folder / "input0" / "test"))]
    cut = sum(first[i] + 1 + len(row) + 1 > 64 for i, row in enumerate(rows))
    assert 2 <= cut <= 3
    assert scores_of(tmp_path / "out")["cut"] == {"test": cut, "test1": 0}
    assert f"{cut} rows were cut to the 64 tokens" in capsys.readouterr().out
    assert predictions_of(tmp_path / "out", "test") == rows_one_by_one(model, folder, "test")


def write_column(prefix: Path, dictionary: Dictionary, rows: list[torch.Tensor]) -> None:
    from rxf.lab.prepare.binary import column_writer

    with column_writer(prefix, dictionary) as writer:
        for row in rows:
            writer.add_item(row.int())


# ---- GLUE's submission ----


def test_submission_of_two_test_sets(evaluated: Path) -> None:
    names = sorted(path.name for path in (evaluated / "submission").iterdir())
    assert names == ["MNLI-m.tsv", "MNLI-mm.tsv"]
    for name, split in (("MNLI-m", "test"), ("MNLI-mm", "test1")):
        lines = (evaluated / "submission" / f"{name}.tsv").read_text().splitlines()
        assert lines[0] == "index\tprediction"
        assert lines[1:] == (evaluated / f"{split}.tsv").read_text().splitlines()
        assert {line.split("\t")[1] for line in lines[1:]} <= set(LABELS["MNLI"])


def test_submission_names_are_those_of_glue() -> None:
    names = {
        submission_name(name, split)
        for name, task in GLUE_TASKS.items()
        for split in task.files
        if split.startswith("test")
    }
    assert names == {"MNLI-m", "MNLI-mm", *GLUE_TASKS} - {"MNLI"}
    assert submission_name("RTE", "valid") is None
    assert submission_name("XNLI", "test-en") is None


def test_scores_stay_on_the_scale() -> None:
    lines = submission_lines("STS-B", ["-0.2", "3.25", "5.4"])
    assert lines == ["index\tprediction\n", "0\t0\n", "1\t3.25\n", "2\t5\n"]
    assert submission_lines("RTE", ["entailment"])[1] == "0\tentailment\n"


def test_regression_on_the_tasks_own_scale(regression: Trained, tmp_path: Path) -> None:
    folder = regression.task.folder
    evaluate(regression.checkpoint, folder, tmp_path / "out")
    found = [float(answer) for answer in predictions_of(tmp_path / "out", "valid")]
    wanted = [5 * float(x) for x in (folder / "label/valid.label").read_text().split()]
    # On a scale of 0 to 1 the mean would be about 0.5.
    assert sum(found) / len(found) == pytest.approx(sum(wanted) / len(wanted), abs=1.2)
    assert (tmp_path / "out" / "submission" / "STS-B.tsv").is_file()


# ---- once, and not over anything else ----


def test_a_second_call_does_nothing(
    mnli: Task, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    call = (model, mnli.folder, out, "--splits", "valid")
    evaluate(*call)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    evaluate(*call, "--batch-size", 7)
    assert "nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    other = (model, mnli.folder, out, "--splits", "test")
    assert "was made from other files" in error_of(*other)
    evaluate(*other, "--overwrite")
    assert not (out / "valid.tsv").exists() and (out / "test.tsv").is_file()
    (out / "mine.txt").touch()
    assert "holds mine.txt, which rxf evaluate did not write" in error_of(*call, "--overwrite")
    assert "was not made by rxf evaluate" in error_of(model, mnli.folder, model.parent)


# ---- bad input ----


def broken(change: Callable[[Path], None]) -> Callable[[Path, Path, Path], tuple[object, ...]]:
    """A call on a copy of the data that ``change`` was done to."""

    def call(model: Path, data: Path, tmp_path: Path) -> tuple[object, ...]:
        shutil.copytree(data, tmp_path / "copy")
        change(tmp_path / "copy")
        return (model, tmp_path / "copy")

    return call


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _forget(path: Path, **changes: Any) -> None:
    facts = json.loads((path / FACTS).read_text())
    (path / FACTS).write_text(json.dumps({**facts, **changes}))


def _reorder(folder: Path) -> None:
    lines = (folder / "label" / "dict.txt").read_text().splitlines()
    (folder / "label" / "dict.txt").write_text("\n".join([*lines[1:], lines[0]]) + "\n")


def _more_words(folder: Path) -> None:
    for side in ("input0", "input1"):
        with (folder / side / "dict.txt").open("a") as file:
            file.write("more 1\n")


def _no_head(model: Path, data: Path, tmp_path: Path) -> tuple[object, ...]:
    return (save_pretrained(tmp_path, data), data)


def _two_heads(model: Path, data: Path, tmp_path: Path) -> tuple[object, ...]:
    state = load_checkpoint(model)
    heads = {k: v for k, v in state["model"].items() if k.startswith("classification_heads.")}
    for key, value in heads.items():
        state["model"][key.replace("sentence_classification_head", "other")] = value
    torch.save(state, tmp_path / "two.pt")
    return (tmp_path / "two.pt", data)


BAD = {
    "no checkpoint": (lambda m, d, t: (t / "no.pt", d), "CHECKPOINT", "there is no such file"),
    "a text for a checkpoint": (lambda m, d, t: (d / FACTS, d), FACTS, "checkpoint"),
    "not prepared": (lambda m, d, t: (m, t), "is no prepared task", "rxf prepare"),
    "no such split": (
        lambda m, d, t: (m, d, "--splits", "valid,dev"),
        "--splits dev",
        "train, valid, test, valid1, test1",
    ),
    "batch size": (lambda m, d, t: (m, d, "--batch-size", 0), "--batch-size 0", "1 or more"),
    "no head": (_no_head, "holds no classification head", "sentence_prediction"),
    "two heads": (_two_heads, "sentence_classification_head, other", "--classification-head-name"),
    "no such head": (
        lambda m, d, t: (m, d, "--classification-head-name", "x"),
        "--classification-head-name x",
        "it has sentence_classification_head",
    ),
    "another dictionary": (broken(_more_words), "symbols", "prepare the task with the BPE"),
    "other classes": (
        broken(lambda f: _forget(f, num_classes=2)),
        "its head has 3 outputs",
        "another task",
    ),
    "classes in another order": (broken(_reorder), "in this order", "prepare DATA with"),
    "a file is gone": (
        broken(lambda f: (f / "input1" / "test.idx").unlink()),
        "input1/test.idx is missing",
        "prepare the task again",
    ),
    "a file is cut": (
        broken(lambda f: _truncate(f / "input0" / "valid1.idx")),
        "split valid1 cannot be read",
        "prepare the task again",
    ),
}


@pytest.mark.parametrize("call, names, mends", BAD.values(), ids=list(BAD))
def test_bad_input_is_one_line(
    call: Any, names: str, mends: str, mnli: Task, model: Path, tmp_path: Path
) -> None:
    checkpoint, data, *flags = call(model, mnli.folder, tmp_path)
    message = error_of(checkpoint, data, tmp_path / "out", *flags)
    assert names in message and mends in message
    assert not list(tmp_path.glob("*out*"))


def test_models_that_generate_are_refused(mnli: Task, bart: Trained, tmp_path: Path) -> None:
    data = write_translation_data(tmp_path / "data")
    fork_fairseq_train(*translation_flags(data, tmp_path, max_update=1))
    message = error_of(tmp_path / "checkpoint_last.pt", mnli.folder, tmp_path / "out")
    assert "CHECKPOINT" in message and "no sentence head" in message

    state = load_checkpoint(bart.checkpoint)
    for name in [name for name in state["model"] if name.startswith("classification_heads.")]:
        del state["model"][name]
    torch.save(state, tmp_path / "bart.pt")
    message = error_of(tmp_path / "bart.pt", mnli.folder, tmp_path / "out")
    assert "CHECKPOINT" in message and "rxf generate" in message


def test_bart_takes_no_row_that_it_would_have_to_cut(bart: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "MRPC"
    shutil.copytree(bart.task.folder, folder)
    words = Dictionary.load(str(folder / "input0" / "dict.txt"))
    rows = list(data_utils.load_indexed_dataset(str(folder / "input0" / "test")))
    rows[3] = torch.cat([rows[3][:1].expand(70), rows[3][-1:]])
    write_column(folder / "input0" / "test", words, rows)
    message = error_of(bart.checkpoint, folder, tmp_path / "out")
    assert "1 rows of test have more than the 64 tokens" in message and "BART" in message
    evaluate(bart.checkpoint, folder, tmp_path / "out", "--splits", "valid")
