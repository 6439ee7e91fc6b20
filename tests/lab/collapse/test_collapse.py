"""`rxf probe collapse`: rows, cache, input of both forms, and what is refused."""

import argparse
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rxf.errors import UserError
from rxf.lab import checkpoints, collapse
from rxf.lab.collapse import results
from rxf.representation import Distance, LayerMeasures, MaskedBits, Measurement
from tests.support import (
    REPO,
    fork_fairseq_train,
    load_checkpoint,
    save_pretrained,
    train_flags,
    used_parameters,
)

LAYERS = 3
PER_LAYER = ["cka", "cosine", "effective_rank", "anisotropy"]


@pytest.fixture(scope="module")
def text(sentence_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    for name in ("valid.bin", "valid.idx", "dict.txt"):
        shutil.copy(sentence_data / "input0" / name, folder / name)
    return folder


def moved(pretrained: Path, path: Path, by: float, seed: int = 1, only: str = "encoder.") -> Path:
    """The pre-trained file with random steps of size ``by`` in the parameters named so."""
    state = load_checkpoint(pretrained)
    source = torch.Generator().manual_seed(seed)
    for name, tensor in state["model"].items():
        if name.startswith(only) and tensor.is_floating_point():
            # Not in place: two names may share a tensor.
            state["model"][name] = tensor + by * torch.randn(tensor.shape, generator=source)
    # As in a fine-tuned RoBERTa, the output table is the embedding.
    held = state["model"]
    held["encoder.lm_head.weight"] = held["encoder.sentence_encoder.embed_tokens.weight"].clone()
    torch.save(state, path)
    return path


def probe(pretrained: Path, text: Path, out: Path, *words: object) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    collapse.add_arguments(parser)
    flags = ["--pretrained", pretrained, "--text", text, "--out", out, "--cpu", *words]
    assert collapse.run(parser.parse_args(list(map(str, flags)))) == 0
    return json.loads((out / "probe.json").read_text())


def values(content: dict[str, Any], name: str) -> dict[tuple, float]:
    return {
        (row["measure"], row["layer"], row["component"]): row["value"]
        for row in content["rows"]
        if row["checkpoint"] == name
    }


def test_rows_of_what_has_moved_and_what_has_not(
    pretrained: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    far = moved(pretrained, tmp_path / "far.pt", 0.1)
    content = probe(pretrained, text, tmp_path / "out", "--checkpoint", f"far={far}")
    assert content["kind"] == "collapse" and content["settings"]["tokens"] > 100
    assert {row["checkpoint"] for row in content["rows"]} == {"pretrained", "far"}
    keys = {"checkpoint", "method", "seed", "source", "measure", "layer", "component"}
    assert all(row.keys() == keys | {"value", "unit"} for row in content["rows"])
    assert all(row["unit"] == results.UNITS[row["measure"]] for row in content["rows"])

    start, end = values(content, "pretrained"), values(content, "far")
    for layer in range(LAYERS):
        assert start["cka", layer, None] == pytest.approx(1, abs=1e-9)
        assert start["cosine", layer, None] == pytest.approx(1, abs=1e-9)
        assert end["cka", layer, None] < 0.99 and end["cosine", layer, None] < 0.99
        assert 1 < end["effective_rank", layer, None] <= 16
    assert start["forgotten_bits", None, None] == 0
    assert end["forgotten_bits", None, None] == pytest.approx(
        end["mlm_bits", None, None] - start["mlm_bits", None, None], abs=1e-9
    )
    assert end["forgotten_bits_error", None, None] > 0
    assert start["weight_distance", None, None] == 0

    # By hand, of the files.
    before, after = (used_parameters(load_checkpoint(p)["model"]) for p in (pretrained, far))
    names = [n for n in before if ".sentence_encoder." in n and not n.endswith("version")]
    steps = np.concatenate([(after[n] - before[n]).numpy().ravel() for n in names])
    norm = np.linalg.norm(np.concatenate([before[n].numpy().ravel() for n in names]))
    assert end["weight_distance", None, None] == pytest.approx(np.linalg.norm(steps), rel=1e-5)
    relative = end["weight_distance_relative", None, None]
    assert relative == pytest.approx(np.linalg.norm(steps) / norm, rel=1e-5)
    parts = [v for (m, _, c), v in end.items() if m == "component_distance"]
    assert np.linalg.norm(parts) == pytest.approx(np.linalg.norm(steps), rel=1e-5)
    table = capsys.readouterr().out
    assert "far" in table and "forgotten" in table and f"{relative:.4f}" in table


def test_the_head_is_the_pretrained_one(pretrained: Path, text: Path, tmp_path: Path) -> None:
    """A fine-tuned file's own lm_head, dense, norm, bias and table, changes nothing."""
    other = moved(pretrained, tmp_path / "head.pt", 1.0, only="encoder.lm_head.")
    content = probe(pretrained, text, tmp_path / "out", "--checkpoint", f"head={other}")
    assert "encoder.lm_head.dense.weight" in load_checkpoint(other)["model"]
    start, end = values(content, "pretrained"), values(content, "head")
    for measure in ("mlm_bits", "weight_distance"):
        assert end[measure, None, None] == start[measure, None, None]


def test_the_output_table_is_the_pretrained_one(
    pretrained: Path, text: Path, tmp_path: Path
) -> None:
    """A word whose embedding alone has moved, and that the text has not, is as likely as ever."""
    state = load_checkpoint(pretrained)
    table = state["model"]["encoder.sentence_encoder.embed_tokens.weight"]
    # <pad> of the table is never seen by the encoder, but is one of the softmax's words.
    table[1] += 100.0
    state["model"]["encoder.lm_head.weight"] = table.clone()
    torch.save(state, tmp_path / "table.pt")
    flag = f"table={tmp_path / 'table.pt'}"
    content = probe(pretrained, text, tmp_path / "out", "--checkpoint", flag)
    start, end = values(content, "pretrained"), values(content, "table")
    assert end["mlm_bits", None, None] == pytest.approx(start["mlm_bits", None, None], abs=1e-6)
    assert end["component_distance", None, "embeddings"] == pytest.approx(400.0)


@pytest.mark.parametrize(
    "method",
    [
        "sentence_prediction_r3f",
        pytest.param("sentence_prediction_mhloss", marks=pytest.mark.slow),
    ],
)
def test_a_file_as_training_writes_it(
    method: str, sentence_data: Path, pretrained: Path, text: Path, tmp_path: Path
) -> None:
    """With classification heads and an optimizer; the monitor has logged the same."""
    settings: dict[str, Any] = {"criterion": method, "finetune_from_model": pretrained}
    settings |= {"collapse_interval": 4, "collapse_text": text, "collapse_tokens": 64}
    if method.endswith("r3f"):
        settings["spectral_norm_classification_head"] = True
    flags = train_flags(sentence_data, tmp_path / "run", lr=1e-2, **settings)
    done = fork_fairseq_train(*flags)
    record = {"method": "r4f", "seed": 3, "task": "toy", "status": "finished"}
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    words = ["--checkpoint", f"x={tmp_path / 'run' / 'checkpoint_last.pt'}", "--tokens", 64]
    content = probe(pretrained, text, tmp_path / "out", *words)
    row = next(row for row in content["rows"] if row["checkpoint"] == "x")
    assert (row["method"], row["seed"], row["source"]) == ("r4f", 3, "toy")
    logged = [line for line in done.stdout.splitlines() if "train_inner" in line][-1]
    found = json.loads(logged.partition("train_inner | ")[2])
    end = values(content, "x")
    assert float(found["collapse_mlm_bits"]) == pytest.approx(end["mlm_bits", None, None], abs=1e-4)
    cka = float(found["collapse_cka"])
    assert cka == pytest.approx(end["cka", LAYERS - 1, None], abs=1e-4) and cka < 0.999


@pytest.mark.slow
def test_what_is_measured_is_not_measured_again(
    pretrained: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    one = moved(pretrained, tmp_path / "one.pt", 0.1)
    first = probe(pretrained, text, out, "--checkpoint", f"one={one}")
    calls = []
    original = collapse.measure
    monkeypatch.setattr(collapse, "measure", lambda *a: (calls.append(1), original(*a))[1])
    assert probe(pretrained, text, out, "--checkpoint", f"one={one}") == first and not calls
    # Another name for the same file, another file of the same name, another seed.
    renamed = probe(pretrained, text, out, "--checkpoint", f"two={one}")
    assert values(renamed, "two") == values(first, "one") and not calls
    moved(pretrained, one, 0.2)
    assert values(probe(pretrained, text, out, "--checkpoint", f"one={one}"), "one") != values(
        first, "one"
    )
    assert len(calls) == 1
    probe(pretrained, text, out, "--seed", 2)
    assert len(calls) == 2


@pytest.mark.slow
def test_it_is_the_same_in_any_batches(pretrained: Path, text: Path, tmp_path: Path) -> None:
    far = moved(pretrained, tmp_path / "far.pt", 0.1)
    words = ["--checkpoint", f"far={far}", "--batch-tokens"]
    one = values(probe(pretrained, text, tmp_path / "one", *words, 1), "far")
    many = values(probe(pretrained, text, tmp_path / "many", *words, 4096), "far")
    assert one.keys() == many.keys()
    for key, value in one.items():
        assert many[key] == pytest.approx(value, abs=1e-5, rel=1e-4), key


def test_plain_text_is_the_same_as_prepared(
    pretrained: Path, text: Path, sentence_data: Path, tmp_path: Path
) -> None:
    from rxf.representation.text import binary_rows

    dictionary, rows = binary_rows(text, "--text")
    lines = [" ".join(dictionary[int(word)] for word in row) for row in rows]
    (tmp_path / "plain").mkdir()
    with gzip.open(tmp_path / "plain" / "valid.txt.gz", "wt") as file:
        file.write("\n\n".join(lines) + "\n")
    words = ["--dict", text / "dict.txt"]
    plain = probe(pretrained, tmp_path / "plain", tmp_path / "one", *words)
    prepared = probe(pretrained, text, tmp_path / "two")
    assert plain["rows"] == prepared["rows"]
    assert plain["settings"]["text_sha256"] == prepared["settings"]["text_sha256"]


def test_runs_of_a_sweep(pretrained: Path, text: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    for method, status, by in (("r3f", "finished", 0.1), ("plain", "failed", 0.1)):
        for seed in (1, 2):
            folder = sweep / "SST-2" / method / f"seed{seed}"
            folder.mkdir(parents=True)
            record = {"method": method, "seed": seed, "task": "SST-2", "status": status}
            (folder / "run.json").write_text(json.dumps(record))
            moved(pretrained, folder / "checkpoint_best.pt", by, seed)
    content = probe(pretrained, text, tmp_path / "out", "--sweep", sweep)
    rows = {row["checkpoint"]: row for row in content["rows"]}
    assert list(rows) == ["pretrained", "SST-2/r3f/seed-1", "SST-2/r3f/seed-2"]
    row = rows["SST-2/r3f/seed-2"]
    assert (row["method"], row["seed"], row["source"]) == ("r3f", 2, "SST-2")


def test_bart_has_no_bits(text: Path, sentence_data: Path, tmp_path: Path, capsys: Any) -> None:
    settings: dict[str, Any] = {"arch": "bart_base", "decoder_layers": 1}
    settings |= {"decoder_attention_heads": 2, "add_prev_output_tokens": True}
    settings |= {"max_source_positions": 64, "max_update": 1}
    fork_fairseq_train(*train_flags(sentence_data, tmp_path / "run", **settings))
    file = tmp_path / "run" / "checkpoint_last.pt"
    content = probe(file, text, tmp_path / "out")
    assert {row["measure"] for row in content["rows"]} >= {*PER_LAYER, "weight_distance"}
    assert not any("bits" in row["measure"] for row in content["rows"])
    assert "BARTModel has no masked-LM head" in capsys.readouterr().out


@pytest.mark.slow
def test_a_killed_command_goes_on(pretrained: Path, text: Path, tmp_path: Path) -> None:
    files = [moved(pretrained, tmp_path / f"{n}.pt", 0.1, n) for n in range(4)]
    words = [f"--checkpoint={file.stem}={file}" for file in files]
    out = tmp_path / "out"
    command = [sys.executable, "-m", "rxf.lab.collapse", "--cpu", "--pretrained", pretrained]
    command += ["--text", text, "--out", out, *words]
    with subprocess.Popen(
        list(map(str, command)),
        cwd=REPO,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)},
        stderr=subprocess.PIPE,
    ) as process:
        until = time.monotonic() + 240
        while len(list(out.glob("measured/*.json"))) < 2 and time.monotonic() < until:
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    kept = {path.name: path.read_text() for path in out.glob("measured/*.json")}
    assert len(kept) >= 2
    content = probe(pretrained, text, out, *words)
    assert all((out / "measured" / name).read_text() == held for name, held in kept.items())
    assert content["rows"] == probe(pretrained, text, tmp_path / "whole", *words)["rows"]


def test_kept_results_come_back_as_they_were(tmp_path: Path) -> None:
    layers = [LayerMeasures(0.5, float("nan"), 3.0, 0.25)]
    result = results.Result(
        Measurement(layers, MaskedBits([1.5, 2.0], [1, 2])),
        Distance(1.0, 2.0),
        {"embeddings": Distance(1.0, 0.0)},
    )
    path = results.cache_file(tmp_path, {"a": 1})
    assert path != results.cache_file(tmp_path, {"a": 2}) and results.read(path) is None
    results.write(path, result)
    assert repr(results.read(path)) == repr(result)
    one = checkpoints.Checkpoint("one", tmp_path)
    found = {(r["measure"], r["component"]): r["value"] for r in results.rows(one, result, result)}
    # What is no number is left out: the cosine, and the distance relative to weights of 0.
    assert ("cosine", None) not in found and ("cka", None) in found
    assert ("component_distance", "embeddings") in found
    assert ("component_distance_relative", "embeddings") not in found
    path.write_text("{")
    assert results.read(path) is None


# ----------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "words, message",
    [
        (["--checkpoint", "plain"], "give NAME=FILE"),
        (["--checkpoint", "plain=gone.pt"], "--checkpoint plain gone.pt: does not exist"),
        (["--checkpoint", "pretrained=FILE"], "two checkpoints are called pretrained"),
        (["--sweep", "."], "holds no finished run"),
        (["--tokens", "3"], "--tokens 3: give 16 or more"),
        (["--batch-tokens", "0"], "--batch-tokens 0: give 1 or more"),
        (["--seed", "-1"], "--seed -1: give 0 to"),
        (["--text", "gone"], "--text gone: is no folder"),
        (["--text", "EMPTY"], "holds no dict.txt and valid.bin"),
        (["--pretrained", "gone.pt"], "--pretrained gone.pt: does not exist"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_flags(
    words: list[str], message: str, pretrained: Path, text: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    stands_for = {"EMPTY": "empty", "pretrained=FILE": f"pretrained={pretrained}"}
    with pytest.raises(UserError, match=message):
        probe(pretrained, text, tmp_path / "out", *(stands_for.get(w, w) for w in words))
    assert not (tmp_path / "out").exists()


def test_another_architecture(
    sentence_data: Path, pretrained: Path, text: Path, tmp_path: Path
) -> None:
    other = save_pretrained(tmp_path / "x", sentence_data, extra=["--encoder-layers", "1"])
    with pytest.raises(
        UserError, match="layers.1.*give the checkpoint that it was fine-tuned from"
    ):
        probe(pretrained, text, tmp_path / "out", "--checkpoint", f"x={other}")


def test_another_dictionary(pretrained: Path, text: Path, tmp_path: Path) -> None:
    other = shutil.copytree(text, tmp_path / "other")
    with open(other / "dict.txt", "a") as file:
        file.write("more 1\n")
    with pytest.raises(UserError, match="does not fit its model, or a dictionary of 46 types"):
        probe(pretrained, other, tmp_path / "out")


def test_no_checkpoint(pretrained: Path, text: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.pt").write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match="bad.pt"):
        probe(pretrained, text, tmp_path / "out", "--checkpoint", f"x={tmp_path / 'bad.pt'}")


# -------------------------------------------------------------------------- real data


@pytest.mark.slow
def test_roberta_mini_on_real_text(shared_models: Path, shared_data: Path, tmp_path: Path) -> None:
    """Near the loss that its README gives for this text, in longer blocks."""
    words = ["--bpe-dir", shared_data / "gpt2_bpe", "--tokens", 20_000]
    file = shared_models / "roberta_mini" / "model.pt"
    content = probe(file, shared_data / "reuters_text", tmp_path / "out", *words)
    assert values(content, "pretrained")["mlm_bits", None, None] == pytest.approx(5.51, abs=0.5)
