"""The generated files of ``examples``, the flags of a checkpoint, the score line."""

import json
from pathlib import Path
from typing import Any

import pytest

from examples.stand_in import TINY_ROBERTA, write_bpe, write_model
from rxf.errors import UserError
from rxf.lab.recipes import __main__ as command
from rxf.lab.recipes import architecture, files, score
from rxf.lab.recipes.bash import WIDTH
from rxf.lab.recipes.glue import recipe, recipes
from tests.support import REPO


@pytest.fixture(scope="module")
def generated() -> dict[Path, str]:
    return dict(files.generated(REPO))


def test_nothing_is_stale(generated: dict[Path, str]) -> None:
    there = {path: (REPO / path).read_text(encoding="utf-8") for path in generated}
    stale = [path for path, text in generated.items() if there[path] != text]
    assert stale == [], "run `python -m rxf.lab.recipes --write`"


def test_no_config_without_a_recipe(generated: dict[Path, str]) -> None:
    for folder in ("glue", "summarization"):
        there = {
            p.relative_to(REPO) for p in (REPO / "examples" / folder / "config").rglob("*.yaml")
        }
        assert there <= generated.keys()


def test_lines_that_a_person_can_read(generated: dict[Path, str]) -> None:
    for path, text in generated.items():
        if path.suffix == ".sh":
            assert max(map(len, text.splitlines())) <= WIDTH, path


def test_a_changed_file_is_stale_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = tmp_path / files.README
    readme.parent.mkdir(parents=True)
    readme.write_text((REPO / files.README).read_text())
    monkeypatch.setattr(files, "SUMMARIZATION", ())
    monkeypatch.setattr(files, "XNLI", ())
    monkeypatch.setattr(files, "recipes", lambda: [recipe("RTE", "r3f")])
    monkeypatch.setattr(files, "repository", lambda: tmp_path)
    assert command.main([]) == 1
    assert command.main(["--write"]) == 0
    script = tmp_path / "examples/glue/rte.sh"
    assert script.stat().st_mode & 0o111
    capsys.readouterr()
    assert command.main([]) == 0 and capsys.readouterr().out == ""
    script.write_text(script.read_text().replace("0.7", "0.8"))
    assert command.main([]) == 1
    assert capsys.readouterr().out == "stale: examples/glue/rte.sh\n"


def test_a_readme_without_its_markers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = tmp_path / files.README
    readme.parent.mkdir(parents=True)
    readme.write_text("no markers\n")
    monkeypatch.setattr(files, "SUMMARIZATION", ())
    monkeypatch.setattr(files, "XNLI", ())
    monkeypatch.setattr(files, "recipes", tuple)
    with pytest.raises(UserError, match="settings: begin"):
        files.stale(tmp_path)


def test_the_table_has_every_recipe() -> None:
    text = (REPO / files.README).read_text(encoding="utf-8")
    for one in recipes():
        assert text.count(f"| [{one.task.name}]({one.stem}.sh) |") >= 5


# ---- a checkpoint's model ----


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    return write_model(folder / "model.pt", write_bpe(folder) / "dict.txt", TINY_ROBERTA)


def test_the_sizes_of_a_file(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert architecture.main([str(tiny)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("--arch roberta --encoder-layers 2 --encoder-embed-dim 16 ")
    assert told.endswith("--max-positions 512\n") and told.count("\n") == 1
    assert architecture.main([str(tiny), "--hydra"]) == 0
    words = capsys.readouterr().out.split()
    assert {"model._name=roberta", "model.encoder_layers=2", "task.max_positions=512"} <= set(words)
    assert "model.max_positions=512" in words


@pytest.mark.parametrize(
    ("sizes", "name"),
    [((24, 1024, 4096, 16), "roberta_large"), ((12, 768, 3072, 12), "roberta_base")],
    ids=["large", "base"],
)
def test_the_published_sizes_have_names(sizes: tuple[int, ...], name: str) -> None:
    keys = ["encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim"]
    keys += ["encoder_attention_heads"]
    found: dict[str, Any] = dict(zip(keys, sizes, strict=True))
    found |= {"arch": "roberta", "max_positions": 512}
    assert architecture.architecture(found) == {"arch": name}
    # A name is not enough: these are not its sizes.
    other = {**found, "arch": name, "encoder_layers": 3}
    assert architecture.architecture(other) == other
    assert architecture.architecture({**found, "max_positions": 256})["max_positions"] == 256


def test_a_file_that_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        architecture.main([str(tmp_path / "model.pt")])


# ---- the score line ----


def scored(tmp_path: Path, splits: dict[str, Any], *more: str, task: str = "RTE") -> dict[str, Any]:
    evaluated = tmp_path / "evaluated" / "scores.json"
    evaluated.parent.mkdir(exist_ok=True)
    evaluated.write_text(json.dumps({"splits": splits}))
    words = [evaluated, tmp_path / "scores.json", "--task", task, "--method", "r3f", "--model"]
    words += ["roberta_base", "--settings-of", "RoBERTa-large", "--start", "model.pt", *more]
    assert score.main(list(map(str, words))) == 0
    return json.loads((tmp_path / "scores.json").read_text())


def test_the_score_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splits = {"valid": {"rows": 277, "accuracy": 88.4476}, "test": {"rows": 3000}}
    facts = scored(tmp_path, splits)
    assert capsys.readouterr().out == (
        "RTE r3f: valid accuracy 88.45 of 277 rows (roberta_base, settings of RoBERTa-large)\n"
    )
    assert facts["splits"] == {"valid": splits["valid"]} and not facts["started_from_mnli"]


def test_the_score_says_that_it_started_from_mnli(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "evaluated" / "submission").mkdir(parents=True)
    splits = {"valid": {"rows": 408, "accuracy": 90.0, "f1": 92.5}}
    facts = scored(tmp_path, splits, "--from-mnli", task="MRPC")
    told = capsys.readouterr().out
    assert "MRPC r3f, from an MNLI model: valid accuracy 90.00, f1 92.50 of 408 rows" in told
    assert "in GLUE's format" in told
    assert facts["started_from_mnli"] and facts["start"] == "model.pt"


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("CoLA", ("mcc",)),
        ("STS-B", ("pearson", "spearman")),
        ("QQP", ("accuracy", "f1")),
        ("WNLI", ("accuracy",)),
    ],
)
def test_what_glue_reports(task: str, names: tuple[str, ...], tmp_path: Path) -> None:
    splits = {"valid": {"rows": 3, **dict.fromkeys(names, 50.0)}}
    assert scored(tmp_path, splits, task=task)["splits"] == splits
    for name in names:
        lacking = {"valid": {key: v for key, v in splits["valid"].items() if key != name}}
        with pytest.raises(UserError, match=f"split valid has no {name}"):
            scored(tmp_path, lacking, task=task)


@pytest.mark.parametrize(
    ("content", "told"),
    [("", "cannot be read"), ("{}", "cannot be read"), ('{"splits": {}}', "no split with labels")],
)
def test_scores_that_are_none(content: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    path.write_text(content)
    with pytest.raises(UserError, match=told):
        score._labelled(path)
