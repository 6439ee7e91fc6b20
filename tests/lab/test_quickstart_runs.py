"""The quickstart: its model, its targets, bad input, and all of it from end to end."""

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import checkpoint_utils

from rxf.errors import UserError
from rxf.lab import model_flags, prepared
from rxf.lab.quickstart import __main__ as quickstart
from rxf.lab.quickstart import data, lexicon, pretrain


def test_the_shipped_model_speaks_the_language_of_the_grammar() -> None:
    assert pretrain.SHIPPED.is_file()
    assert pretrain._language(pretrain.SHIPPED) == data.text_fingerprint()
    assert model_flags.flags_from_checkpoint(pretrain.SHIPPED) == model_flags.TINY
    assert pretrain.SHIPPED.stat().st_size < 5_000_000


def test_the_shipped_model_knows_which_adjectives_are_kind(tmp_path: Path) -> None:
    """ "the soup is ADJECTIVE and <mask> .": nearly all goes to adjectives of the same kind."""
    data.write_text(tmp_path, paragraphs=1, held_out=1)
    (model,), _, task = checkpoint_utils.load_model_ensemble_and_task(
        [str(pretrain.SHIPPED)], arg_overrides={"data": str(tmp_path)}
    )
    words = task.source_dictionary
    model.eval()
    for adjective in lexicon.ADJECTIVES:
        line = words.encode_line(f"the soup is {adjective.word} and dull .").long()
        line[5] = words.index("<mask>")
        rows = torch.cat([torch.tensor([words.bos()]), line]).unsqueeze(0)
        with torch.no_grad():
            shares = model(rows)[0][0, 6].softmax(-1)
        kind = [words.index(a.word) for a in lexicon.ADJECTIVES if a.kind == adjective.kind]
        assert shares[kind].sum() > 0.9, adjective.word


@pytest.mark.parametrize("kind", ["args", "cfg", "cfg_namespace"])
def test_flags_from_older_and_newer_checkpoints(tmp_path: Path, kind: str) -> None:
    settings = {**model_flags.TINY, "arch": "roberta_large", "encoder_layers": 24, "other": 1}
    state: dict[str, Any] = {
        "args": {"args": Namespace(**settings)},
        "cfg": {"args": None, "cfg": {"model": {**settings, "_name": "roberta_large"}}},
        "cfg_namespace": {"args": None, "cfg": {"model": Namespace(**settings)}},
    }[kind]
    path = tmp_path / "model.pt"
    torch.save(state, path)
    flags = model_flags.flags_from_checkpoint(path)
    assert flags == {**model_flags.TINY, "arch": "roberta_large", "encoder_layers": 24}


def test_the_baseline_is_the_commonest_label(tmp_path: Path) -> None:
    data.write_family(tmp_path, data.Sizes(train=12, valid=30))
    assert prepared.baseline(tmp_path / "topic", "accuracy") == pytest.approx(100 * 8 / 30)
    assert prepared.baseline(tmp_path / "topic", "mcc") == 0.0
    # F1 of label "1", which no built-in task has.
    assert prepared.baseline(tmp_path / "polarity", "acc_and_f1") == pytest.approx(25.0)


@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [
        (["RTEE"], {}, "TASK RTEE: unknown"),
        (["RTE"], {}, "RXF_DATA is not set"),
        (["RTE"], {"RXF_DATA": "."}, "RXF_CHECKPOINT is not set"),
        (["RTE"], {"RXF_DATA": ".", "RXF_CHECKPOINT": "x.pt"}, "has no folder glue/"),
        (["--methods", "plain,best"], {}, "--methods best: unknown"),
        (["--lr", "-1"], {}, "--lr -1.0: must be"),
    ],
)
def test_bad_input_is_one_clear_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    environment: dict[str, str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("RXF_DATA", "RXF_CHECKPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=told):
        quickstart.main(arguments)


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", None])
def test_a_checkpoint_that_is_none(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "model.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="--checkpoint .*model.pt"):
        model_flags.flags_from_checkpoint(path)


def test_a_checkpoint_of_another_family(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"args": Namespace(arch="bart_large"), "model": {}}, path)
    with pytest.raises(UserError, match="architecture bart_large is not RoBERTa"):
        model_flags.flags_from_checkpoint(path)


@pytest.mark.slow
def test_the_quickstart_from_end_to_end(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rxf.lab.quickstart", "--smoke", "--out", str(tmp_path)]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    folder = tmp_path / "polarity"
    results = json.loads((folder / "results.json").read_text())
    assert [run["method"] for run in results["runs"]] == ["plain", "r3f", "r4f"]
    assert all(run["status"] == "finished" for run in results["runs"])
    assert (folder / "report.html").is_file() and any((folder / "pictures").glob("*.png"))
    assert "plain" in done.stdout and "majority baseline (polarity 50.0)" in done.stdout
    # Nothing was run again.
    assert "runs:" not in done.stderr
