"""`rxf report`: what it reads, what it writes, and what it says of bad input."""

import argparse
import builtins
import csv
import importlib.util
import io
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import rxf.lab.report as command
from rxf.cli import main
from rxf.errors import UserError
from tests.lab.report.made_up import METHODS, record, write_everything, write_probe, write_run


def arguments(*folders: Path, **flags: Any) -> argparse.Namespace:
    """The arguments as the command line gives them."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return parser.parse_args([*map(str, folders), *words])


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with all its files, made without a warning."""
    root = write_everything(tmp_path_factory.mktemp("all"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main(["report", str(root)]) == 0
    return root / "report"


def test_every_file_is_written(everything: Path) -> None:
    names = {path.name for path in everything.iterdir()}
    assert names == {
        *("results.csv", "probes.csv", "summary.csv", "comparisons.csv", "results.json"),
        *("results.md", "results.tex", "report.html", "pictures"),
    }
    with (everything / "results.csv").open() as table:
        rows = list(csv.DictReader(table))
    # Two tasks, three methods, five seeds, and one run that stopped.
    assert len(rows) == 31
    failed = [(row["task"], row["method"], row["seed"]) for row in rows if row["failed"] == "True"]
    assert failed == [("polarity", "r4f", "6"), ("topic", "plain", "2")]
    assert len(json.loads((everything / "results.json").read_text())["runs"]) == 31
    kinds = [row["kind"] for row in csv.DictReader((everything / "probes.csv").open())]
    assert set(kinds) == {"generalization", "degradation", "retention", "collapse"}


def test_the_pictures_show_what_they_are_named_for(everything: Path) -> None:
    drawn = {path.stem: path for path in (everything / "pictures").iterdir()}
    assert set(drawn) == {
        *("seeds-fine-tuning-polarity", "seeds-fine-tuning-topic", "cost-polarity", "cost-topic"),
        "generalization-polarity",
        *(
            f"seeds-generalization-{task}-after-polarity"
            for task in ("agreement", "tense", "agent")
        ),
        *("degradation-polarity", "retention-polarity", "retention-topic"),
        *("collapse-cka", "seeds-collapse-forgotten"),
    }
    for name, path in drawn.items():
        with Image.open(path) as image:
            assert image.width > 800 and image.height > 300
            colours = {colour for _, colour in image.convert("RGB").getcolors(10**7) or []}
        # plain, R3F and R4F in their colours, everywhere.
        assert {(0, 114, 178), (230, 159, 0), (0, 158, 115)} <= colours, name
        # Vermilion is for the run that failed alone.
        assert ((213, 94, 0) in colours) == (name == "seeds-fine-tuning-topic")


def test_the_markdown_shows_the_pictures_that_are_there(everything: Path) -> None:
    text = (everything / "results.md").read_text()
    for picture in (everything / "pictures").iterdir():
        assert f"](pictures/{picture.name})" in text


def test_the_latex_is_whole(everything: Path) -> None:
    text = (everything / "results.tex").read_text()
    bare = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    for begin in ("table", "tabular"):
        assert bare.count(rf"\begin{{{begin}}}") == bare.count(rf"\end{{{begin}}}") > 5
    for row in bare.splitlines():
        if row.endswith(r"\\"):
            assert "%" not in row.replace(r"\%", "") and "_" not in row.replace(r"\_", "")


def test_the_page_needs_nothing_else(everything: Path) -> None:
    text = (everything / "report.html").read_text()
    assert "http" not in text and "<script" not in text
    assert 'name="viewport"' in text and "@media print" in text and "prefers-color-scheme" in text


def test_a_violin_is_drawn_from_ten_seeds_on(tmp_path: Path) -> None:
    sizes = {}
    for seeds in (9, 10):
        for method in METHODS:
            for seed in range(seeds):
                write_run(tmp_path / str(seeds), record(method, seed, 70.0 + seed % 4))
        command.run(arguments(tmp_path / str(seeds), format="png"))
        path = tmp_path / str(seeds) / "report" / "pictures" / "seeds-fine-tuning-polarity.png"
        with Image.open(path) as image:
            colours = image.convert("RGB").getcolors(10**7) or []
        # The blue of plain at 22 %, on white.
        sizes[seeds] = sum(n for n, colour in colours if colour == (199, 224, 238))
    assert sizes[9] == 0 and sizes[10] > 1000


def test_only_what_is_asked_for_is_written(tmp_path: Path) -> None:
    write_run(tmp_path, record("plain", 1, 70.0))
    command.run(arguments(tmp_path, format="md, tex", out=tmp_path / "out"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"results.md", "results.tex"}
    assert "pictures" not in (tmp_path / "out" / "results.md").read_text()


def test_names_that_are_no_file_names_and_no_formulas(tmp_path: Path) -> None:
    """A task named like a path, a method named like broken mathtext."""
    made = record("plain", 1, 70.0, task="a/../b $x") | {"method": r"$\frac{"}
    path = tmp_path / "one" / "run.json"
    path.parent.mkdir()
    path.write_text(json.dumps(made))
    command.run(arguments(tmp_path))
    drawn = [path.name for path in (tmp_path / "report" / "pictures").iterdir()]
    assert sorted(drawn) == ["cost-a-..-b-x.png", "seeds-fine-tuning-a-..-b-x.png"]


# -------------------------------------------------------------------------- what is read


def test_what_cannot_be_read_is_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, record("plain", 1, 70.0))
    broken = {
        "cut": '{"task": ',
        "list": "[]",
        "part": json.dumps({"task": "polarity", "method": "plain"}),
        "bytes": b"\xff\xfe",
    }
    for name, text in broken.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_bytes(
            text if isinstance(text, bytes) else text.encode()
        )
    write_probe(tmp_path / "odd", "guess", [])
    write_probe(tmp_path / "row", "collapse", [{"checkpoint": "x"}])
    assert command.run(arguments(tmp_path, format="json")) == 0
    warned = json.loads((tmp_path / "report" / "results.json").read_text())["warnings"]
    told = " ".join(warned)
    assert len(warned) == 6
    shown = capsys.readouterr().err.splitlines()
    assert shown == [f"rxf report: warning: {warning}" for warning in warned]
    assert "part/run.json: says nothing of seed, metric, status: left out" in told
    assert "odd/probe.json: kind guess is unknown" in told
    assert "row/probe.json: row 1 says nothing of measure, unit: left out" in told


def test_a_run_that_diverged_has_no_value(tmp_path: Path) -> None:
    write_run(tmp_path, record("plain", 1, float("nan")))
    write_run(tmp_path, record("plain", 2, 70.0))
    command.run(arguments(tmp_path, format="json"))
    (summary,) = json.loads((tmp_path / "report" / "results.json").read_text())["summary"]
    assert (summary["n"], summary["values"], summary["failed"]) == (2, 1, 1)


def test_the_steps_of_a_probe_are_no_runs_of_their_own(tmp_path: Path) -> None:
    write_run(tmp_path, record("plain", 1, 70.0))
    write_run(tmp_path / "chain", record("plain", 1, 20.0, probe="degradation", step=2))
    command.run(arguments(tmp_path, format="csv"))
    rows = list(csv.DictReader((tmp_path / "report" / "results.csv").open()))
    assert [row["best"] for row in rows] == ["70.0"]


def test_what_was_probed_twice_counts_once(tmp_path: Path) -> None:
    row = {"method": "plain", "seed": 1, "source": "A", "task": "B", "metric": "accuracy"}
    for folder, name, value in (("1", "plain-1", 60.0), ("2", "plain/seed-1", 70.0)):
        made = {**row, "checkpoint": name, "value": value, "baseline": 50.0, "seconds": value}
        write_probe(tmp_path / folder, "generalization", [made, {**made, "task": "C"}])
    command.run(arguments(tmp_path, format="json"))
    found = json.loads((tmp_path / "report" / "results.json").read_text())
    assert [(s["item"], s["n"], s["median"]) for s in found["summary"]] == [
        ("B, after A", 1, 70.0),
        ("C, after A", 1, 70.0),
    ]
    told = f"{tmp_path / '1'}: figures of its probe.json stand in {tmp_path / '2'} too"
    assert found["warnings"] == [f"{told}: those are taken"]


def test_overlapping_folders_count_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, record("plain", 1, 70.0))
    command.run(arguments(tmp_path, tmp_path / "polarity", format="csv"))
    assert len((tmp_path / "report" / "results.csv").read_text().splitlines()) == 2
    assert capsys.readouterr().err == ""


# ----------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"format": "pdf"}, "--format pdf: unknown; choose among csv,json"),
        ({"best-of": "0"}, "--best-of 0: must be a whole number"),
        ({"best-of": "2,x"}, "--best-of x: must be a whole number"),
        ({"control": "best"}, "--control best: no run is of it; there are plain"),
        ({"out": "/dev/null/x"}, "--out /dev/null/x: cannot be written to"),
    ],
)
def test_bad_flags_are_one_clear_line(tmp_path: Path, flags: dict[str, str], told: str) -> None:
    write_run(tmp_path, record("plain", 1, 70.0))
    with pytest.raises(UserError, match=told) as refused:
        command.run(arguments(tmp_path, **flags))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "report").exists()


def test_folders_with_nothing_in_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gone: there is no such folder"):
        command.run(arguments(tmp_path / "gone"))
    with pytest.raises(UserError, match="no run.json and no probe.json to be read below it: name"):
        command.run(arguments(tmp_path))
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UserError, match=r"below it \(.*run.json: cannot be read"):
        command.run(arguments(tmp_path))


def test_without_matplotlib_all_but_the_pictures_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find, real = importlib.util.find_spec, builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        return None if name == "matplotlib" else find(name, *rest)

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    monkeypatch.setattr(builtins, "__import__", refuse)
    write_run(tmp_path, record("plain", 1, 70.0))
    assert command.run(arguments(tmp_path)) == 0
    out = tmp_path / "report"
    assert "<img" not in (out / "report.html").read_text()
    assert "pip install" in (out / "report.html").read_text()
    assert "matplotlib is not installed" in capsys.readouterr().err
    assert not (out / "pictures").exists()


def test_the_command_says_where_all_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, record("plain", 1, 70.0))
    write_run(tmp_path, record("r3f", 1, 71.0))
    command.run(arguments(tmp_path, format="csv,png"))
    told = io.StringIO(capsys.readouterr().out).readlines()
    assert told[-1].startswith(f"In {tmp_path / 'report'}: results.csv, summary.csv, comparisons")
    assert told[-1].rstrip().endswith("pictures/")
