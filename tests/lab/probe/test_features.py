"""Features and scores, against one row at a time and against scikit-learn and scipy."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from scipy import stats

from rxf.errors import UserError
from rxf.lab.prepared import read_prepared
from rxf.lab.probe import features
from rxf.lab.probe.encoder import build, keep_encoder, read_encoder
from rxf.lab.probe.task_data import open_task, read_tasks, task_fingerprint
from tests.lab.probe.tasks import write_task
from tests.support import HEAD, build_from_flags, load_checkpoint, train_flags

Tasks = dict[str, Path]

HISTORY = {
    "criterion_name": "SentencePredictionCriterion",
    "optimizer_name": "FairseqAdam",
    "lr_scheduler_state": {"best": None},
    "num_updates": 0,
}


def bart(folder: Path, data: Path) -> Path:
    """A checkpoint as fairseq saves it of a tiny BART, with dropout among its settings."""
    sizes: dict[str, Any] = {
        "encoder_embed_dim": 16,
        "decoder_embed_dim": 16,
        "decoder_layers": 1,
        "decoder_attention_heads": 2,
        "decoder_ffn_embed_dim": 32,
        "max_source_positions": 64,
        "max_target_positions": 64,
        "add_prev_output_tokens": True,
    }
    flags = train_flags(data, folder, **sizes)
    flags[flags.index("--arch") + 1] = "bart_base"
    cfg, _, model, _ = build_from_flags(flags)
    state = {
        "args": None,
        "cfg": OmegaConf.to_container(cfg, resolve=True, enum_to_str=True),
        "model": model.state_dict(),
        "optimizer_history": [HISTORY],
        "extra_state": {},
        "last_optimizer_state": None,
    }
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / "bart.pt")
    return folder / "bart.pt"


@pytest.mark.parametrize("family", ["roberta", "bart"])
@pytest.mark.parametrize("name", ["two", "pair", "number"])
def test_features_are_what_the_head_is_given(
    family: str, name: str, tasks: Tasks, model: Path, tmp_path: Path
) -> None:
    """Row by row, without padding, in the data's order."""
    path = model if family == "roberta" else bart(tmp_path, tasks["two"])
    encoder = read_encoder(path, "--pretrained")
    assert encoder.is_seq2seq == (family == "bart")
    data = open_task(read_prepared(tasks[name]), encoder)
    built = build(encoder, data.task)
    found = features.compute(built, data, encoder, batch_tokens=100)
    again = features.compute(built, data, encoder, batch_tokens=1)
    for split in ("train", "valid"):
        rows = data.task.dataset(split)
        assert len(found[split].features) == len(rows)
        np.testing.assert_allclose(found[split].features, again[split].features, atol=1e-5)
        for number in (0, 5, len(rows) - 1):
            sample = rows.collater([rows[number]])
            with torch.no_grad():
                states, _ = built(**sample["net_input"], features_only=True)
            at = 0 if family == "roberta" else -1
            np.testing.assert_allclose(
                found[split].features[number], states[0, at].numpy(), atol=1e-5
            )
            assert found[split].targets[number] == pytest.approx(float(sample["target"].view(-1)))


def test_targets_are_those_of_the_files(tasks: Tasks, model: Path) -> None:
    encoder = read_encoder(model, "--pretrained")
    data = open_task(read_prepared(tasks["number"]), encoder)
    found = features.compute(build(encoder, data.task), data, encoder, 500)
    wanted = [float(line) for line in (tasks["number"] / "label/train.label").open()]
    np.testing.assert_allclose(found["train"].targets, wanted)


def test_features_come_back_from_disk(tmp_path: Path) -> None:
    source = np.random.default_rng(1)
    found = {
        split: features.Split(source.normal(size=(4, 3)).astype(np.float32), np.arange(4))
        for split in ("train", "valid")
    }
    path = tmp_path / "cache" / "key.npz"
    assert features.read(path) is None
    features.write(path, found)
    back = features.read(path)
    assert back is not None
    for split, held in found.items():
        np.testing.assert_array_equal(back[split].features, held.features)
        np.testing.assert_array_equal(back[split].targets, held.targets)
    path.write_bytes(path.read_bytes()[:100])
    assert features.read(path) is None


def test_scores_are_those_of_the_metric(tasks: Tasks, model: Path) -> None:
    encoder = read_encoder(model, "--pretrained")
    source = np.random.default_rng(2)
    outputs = source.normal(size=(30, 3)).astype(np.float32)
    targets = np.arange(30) % 3
    three = open_task(read_prepared(tasks["three"]), encoder)
    assert three.score(outputs, targets) == pytest.approx(
        100 * (outputs.argmax(1) == targets).mean(), abs=1e-3
    )
    number = open_task(read_prepared(tasks["number"]), encoder)
    wanted = 100 * stats.pearsonr(outputs[:, 0], targets)[0]
    assert number.score(outputs[:, :1], targets.astype(np.float32)) == pytest.approx(
        wanted, abs=1e-3
    )
    # Nothing is left over from one score to the next.
    assert number.score(targets[:, None] * 1.0, targets.astype(np.float32)) == pytest.approx(100)


def test_long_rows_are_cut(tasks: Tasks, model: Path) -> None:
    encoder = read_encoder(model, "--pretrained")
    assert encoder.positions == 64
    short = encoder._replace(positions=4)
    data = open_task(read_prepared(tasks["two"]), short)
    assert int(np.max(data.task.load_dataset("train").sizes)) == 4


def test_a_task_fingerprint_changes_with_a_label(tmp_path: Path) -> None:
    one, two = write_task(tmp_path / "a" / "x"), write_task(tmp_path / "b" / "x")
    before = [task_fingerprint(read_prepared(folder)) for folder in (one, two)]
    assert before[0] == before[1]
    binary = two / "label" / "valid.bin"
    binary.write_bytes(binary.read_bytes()[::-1])
    assert task_fingerprint(read_prepared(two)) != before[0]


def test_a_kept_encoder_has_no_head_and_no_optimizer(tasks: Tasks, tmp_path: Path) -> None:
    path = bart(tmp_path, tasks["two"])
    path.rename(tmp_path / "checkpoint_best.pt")
    before = load_checkpoint(tmp_path / "checkpoint_best.pt")["model"]
    for _ in range(2):
        kept = keep_encoder(tmp_path)
    assert not (tmp_path / "checkpoint_best.pt").exists()
    state = load_checkpoint(kept)
    assert state["last_optimizer_state"] is None
    heads = {name for name in before if name.startswith(f"classification_heads.{HEAD}")}
    assert heads and before.keys() - state["model"].keys() == heads
    with pytest.raises(UserError, match="neither encoder.pt nor checkpoint_best.pt"):
        keep_encoder(tmp_path / "none")


def _without(path: Path, *names: str) -> Path:
    for name in names:
        (path / name).unlink()
    return path


def test_bad_tasks(tasks: Tasks, tmp_path: Path) -> None:
    def refused(told: str, *folders: Path) -> None:
        with pytest.raises(UserError, match=told):
            read_tasks(list(folders), "--tasks")

    refused("--tasks .*none: is no prepared task", tmp_path / "none")
    refused("valid.idx is missing", _without(write_task(tmp_path / "a"), "input0/valid.idx"))
    number = write_task(tmp_path / "n", regression=True)
    refused("valid.label is missing", _without(number, "label/valid.label"))
    refused("is called two too", tasks["two"], write_task(tmp_path / "two"))
    other = write_task(tmp_path / "other")
    (other / "input0" / "dict.txt").write_text("a 1\n")
    refused("its dictionary is not that of", tasks["two"], other)
    lacking = write_task(tmp_path / "lacking")
    facts = json.loads((lacking / "prepare.json").read_text())
    facts["splits"].pop("valid")
    (lacking / "prepare.json").write_text(json.dumps(facts))
    refused("says nothing of 'valid'", lacking)
