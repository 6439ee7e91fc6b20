"""``rxf probe generalization`` from end to end on tiny data, its caches, and bad input."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rxf import cli
from rxf.errors import UserError
from rxf.lab import probe
from rxf.lab.checkpoints import checkpoints_of
from rxf.lab.probe import features, probing
from tests.lab.probe.tasks import write_task
from tests.support import load_checkpoint, save_pretrained

Tasks = dict[str, Path]


def generalization(*words: object) -> int:
    return cli.main(["probe", "generalization", *map(str, words)])


def rows_of(out: Path) -> list[dict[str, Any]]:
    return json.loads((out / "probe.json").read_text())["rows"]


def test_from_end_to_end(
    tasks: Tasks, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = save_pretrained(tmp_path / "other", tasks["two"], seed=8)
    words = ["--pretrained", model, "--checkpoint", f"r3f/2={other}", "--out", tmp_path / "out"]
    names = ["two", "number"]
    words += ["--tasks", *[tasks[name] for name in names]]
    assert generalization(*words) == 0
    rows = rows_of(tmp_path / "out")
    assert [(row["checkpoint"], row["task"]) for row in rows] == [
        (name, task) for name in ("pretrained", "r3f/2") for task in names
    ]
    assert {(row["method"], row["seed"]) for row in rows} == {(None, None), ("r3f", 2)}
    by_task = {row["task"]: row for row in rows if row["checkpoint"] == "pretrained"}
    # The words that tell the class apart are found on a random encoder too.
    assert by_task["two"]["value"] > by_task["two"]["baseline"] >= 50
    assert by_task["number"]["metric"] == "pearson" and by_task["number"]["baseline"] == 0
    printed = capsys.readouterr().out
    assert "chance" in printed and "r3f/2" in printed
    assert generalization(*words) == 0
    assert rows_of(tmp_path / "out") == rows


def test_what_was_computed_is_not_computed_again(
    tasks: Tasks, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    compute, fit = features.compute, probing.fit_classes

    def counted(*args: Any) -> Any:
        calls.append("features")
        return compute(*args)

    def killed(*args: Any) -> Any:
        calls.append("fit")
        if calls.count("fit") == 2:
            raise KeyboardInterrupt
        return fit(*args)

    monkeypatch.setattr(features, "compute", counted)
    monkeypatch.setattr(probing, "fit_classes", killed)
    words = ["--pretrained", model, "--out", tmp_path, "--tasks", tasks["two"], tasks["three"]]
    assert generalization(*words) == probe.STOPPED
    assert calls == ["features", "fit", "features", "fit"]
    assert not (tmp_path / "probe.json").exists()
    # The first task is done, and the features of the second are there.
    assert generalization(*words) == 0
    assert calls[4:] == ["fit"]
    shutil.rmtree(tmp_path / "cells")
    assert generalization(*words) == 0
    assert calls[5:] == ["fit", "fit"]


@pytest.mark.slow
def test_a_changed_checkpoint_is_probed_anew(tasks: Tasks, tmp_path: Path) -> None:
    path = save_pretrained(tmp_path / "model", tasks["two"], seed=1)
    words = ["--pretrained", path, "--out", tmp_path / "out", "--tasks", tasks["three"]]
    assert generalization(*words) == 0
    before = rows_of(tmp_path / "out")
    save_pretrained(tmp_path / "model", tasks["two"], seed=2)
    assert generalization(*words) == 0
    after = rows_of(tmp_path / "out")
    assert [r["value"] for r in after] != [r["value"] for r in before]
    assert len(list((tmp_path / "out" / "cells").iterdir())) == 2


@pytest.mark.slow
def test_the_valid_split_chooses_nothing(tasks: Tasks, model: Path, tmp_path: Path) -> None:
    """Other labels in it, and the same layer is trained."""
    copy = shutil.copytree(tasks["two"], tmp_path / "two")
    binary = copy / "label" / "valid.bin"
    numbers = np.fromfile(binary, np.uint16)
    low, high = sorted(set(numbers.tolist()) - {2})[:2]
    swapped = np.where(numbers == low, high, np.where(numbers == high, low, numbers))
    swapped.astype(np.uint16).tofile(binary)
    values = []
    for folder in (tasks["two"], copy):
        out = tmp_path / f"out-{len(values)}"
        assert generalization("--pretrained", model, "--tasks", folder, "--out", out) == 0
        (cell,) = (json.loads(path.read_text()) for path in (out / "cells").iterdir())
        values.append((cell["value"], cell["strength"]))
    assert values[0][1] == values[1][1]
    assert values[0][0] == pytest.approx(100 - values[1][0], abs=1e-3)


def test_a_sweep_tells_method_seed_and_source(model: Path, tmp_path: Path) -> None:
    for method, seed, status in (("plain", 1, "finished"), ("r3f", 10, "finished")):
        folder = tmp_path / "SST-2" / method / f"seed-{seed}"
        folder.mkdir(parents=True)
        shutil.copy(model, folder / "checkpoint_best.pt")
        record = {"task": "SST-2", "method": method, "seed": seed, "status": status}
        (folder / "run.json").write_text(json.dumps(record))
    failed = tmp_path / "SST-2" / "r3f" / "seed-11"
    failed.mkdir()
    (failed / "run.json").write_text(json.dumps({**record, "seed": 11, "status": "failed"}))
    parser = probe.argparse.ArgumentParser()
    probe.importlib.import_module("rxf.lab.probe.generalization").add_arguments(parser)
    words = ["--pretrained", str(model), "--sweep", str(tmp_path), "--tasks", "x", "--out", "y"]
    found = checkpoints_of(parser.parse_args(words))
    assert [(c.method, c.seed, c.source) for c in found] == [
        (None, None, None),
        ("plain", 1, "SST-2"),
        ("r3f", 10, "SST-2"),
    ]


@pytest.mark.parametrize(
    ("name", "method", "seed"),
    [
        ("r3f/3", "r3f", 3),
        ("r3f-seed-12", "r3f", 12),
        ("SST-2/pac_tuning/seed-1", "pac_tuning", 1),
        ("mine", None, None),
        ("SST-2", None, None),
        ("mine/other", None, None),
    ],
)
def test_names_tell_method_and_seed(
    name: str, method: str, seed: int, model: Path, tmp_path: Path
) -> None:
    parser = probe.argparse.ArgumentParser()
    probe.importlib.import_module("rxf.lab.probe.generalization").add_arguments(parser)
    words = ["--pretrained", str(model), "--checkpoint", f"{name}={model}"]
    args = parser.parse_args([*words, "--tasks", "x", "--out", "y"])
    _, named = checkpoints_of(args)
    assert (named.name, named.method, named.seed) == (name, method, seed)


def test_bad_input(tasks: Tasks, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def refused(told: str, *words: object, folder: Path = tasks["two"]) -> None:
        with pytest.raises(UserError, match=told):
            generalization("--tasks", folder, "--out", out, *words)
        assert not (out / "cells").exists()

    given = ["--pretrained", model]
    refused("--pretrained .*none.pt: does not exist", "--pretrained", tmp_path / "none.pt")
    refused("--checkpoint x: give NAME=FILE", *given, "--checkpoint", "x")
    refused("--checkpoint .*no.pt: does not exist", *given, "--checkpoint", f"x={tmp_path}/no.pt")
    refused("two checkpoints are called a", *given, *["--checkpoint", f"a={model}"] * 2)
    refused("--sweep .*holds no finished run", *given, "--sweep", tmp_path)
    refused("--batch-tokens 0", *given, "--batch-tokens", 0)
    refused("is no prepared task", *given, folder=tmp_path)
    (tmp_path / "text.pt").write_text("no checkpoint")
    refused("text.pt", "--pretrained", tmp_path / "text.pt")
    with pytest.raises(SystemExit):
        generalization(*given, "--tasks", tasks["two"], "--out", out, "--", "--lr", "1")


def test_a_checkpoint_of_another_vocabulary(tasks: Tasks, model: Path, tmp_path: Path) -> None:
    state = load_checkpoint(model)
    for name, tensor in state["model"].items():
        if tensor.dim() and len(tensor) == 45:
            state["model"][name] = tensor[:-1].clone()
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(UserError, match="other.pt: knows 44 symbols, but the dictionary of .*45"):
        generalization(
            *["--pretrained", model, "--checkpoint", f"x={tmp_path / 'other.pt'}"],
            *["--tasks", tasks["two"], "--out", tmp_path / "out"],
        )
    assert not (tmp_path / "out").exists()


def test_one_label_in_training(model: Path, tmp_path: Path) -> None:
    folder = write_task(tmp_path / "one", classes=1)
    with pytest.raises(UserError, match="one: all its training rows have one label"):
        generalization("--pretrained", model, "--tasks", folder, "--out", tmp_path / "out")


def test_two_probes_in_one_folder(tasks: Tasks, model: Path, tmp_path: Path) -> None:
    with probing.locked(tmp_path), pytest.raises(UserError, match="another rxf probe is at work"):
        generalization("--pretrained", model, "--tasks", tasks["two"], "--out", tmp_path)
