"""Collapse watched during training: what is logged, and that nothing else changes."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from rxf.representation import layer_states, masked_lm_head, measure, weight_distance
from rxf.representation.monitor import NOTE
from rxf.representation.text import binary_rows, make_batches, pick, wrapped
from tests.support import (
    RANKS,
    assert_bit_equal,
    assert_close,
    build_from_flags,
    fork_fairseq_train,
    load_checkpoint,
    save_pretrained,
    train_flags,
    train_log,
    trained_weights,
    two_ranks_and_one,
    write_sentence_data,
)

R3F: dict[str, Any] = {"criterion": "sentence_prediction_r3f", "r3f_lambda": 0.1}
NAMES = ["mlm_bits", "cka", "cosine", "effective_rank", "anisotropy", "weight_distance"]
TOKENS = 96


def watched(text: Path, **changes: Any) -> dict[str, Any]:
    return {"collapse_interval": 2, "collapse_text": text, "collapse_tokens": TOKENS, **changes}


def logged(stdout: str) -> dict[int, dict[str, float]]:
    """Update -> what was logged of collapse with it."""
    found = {}
    for entry in train_log(stdout):
        values = {k: v for k, v in entry.items() if k.startswith("collapse_") and v is not None}
        if entry["tag"] == "train_inner" and values:
            found[int(entry["num_updates"])] = values
    return found


def start(done: Any) -> dict[str, float]:
    """The values before training."""
    line = re.search(r"collapse before training.*?model\.pt: (.*)", done.stdout + done.stderr)
    assert line is not None
    pairs = (words.split() for words in line[1].split(", "))
    return {name: float(value) for name, value in pairs}


# ------------------------------------------------------------- nothing else changes


@pytest.mark.parametrize(
    "method",
    [
        {**R3F},
        {**R3F, "fp16": True, "fp16_init_scale": 4},
        {"criterion": "sentence_prediction_mhloss"},
        pytest.param({"criterion": "sentence_prediction_freelb"}, marks=pytest.mark.slow),
        pytest.param({"criterion": "sentence_prediction_pac"}, marks=pytest.mark.slow),
        pytest.param({"criterion": "sentence_prediction_smart"}, marks=pytest.mark.slow),
    ],
    ids=lambda method: "-".join(map(str, method.values())),
)
def test_a_training_is_the_same_bit_for_bit(
    method: dict[str, Any], sentence_data: Path, pretrained: Path, text: Path, tmp_path: Path
) -> None:
    settings = {**method, "finetune_from_model": pretrained, "update_freq": 2, "max_update": 3}
    flags = train_flags(sentence_data, tmp_path / "without", **settings)
    without = fork_fairseq_train(*flags)
    settings = {**settings, **watched(text, collapse_interval=1)}
    done = fork_fairseq_train(*train_flags(sentence_data, tmp_path / "with", **settings))
    assert_bit_equal(trained_weights(tmp_path / "with"), trained_weights(tmp_path / "without"))
    states = [
        load_checkpoint(tmp_path / name / "checkpoint_last.pt") for name in ("with", "without")
    ]
    assert_states(states[0]["last_optimizer_state"], states[1]["last_optimizer_state"])
    assert (states[0].get("criterion") or {}).keys() == (states[1].get("criterion") or {}).keys()
    assert list(logged(done.stdout)) == [1, 2, 3]
    assert not logged(without.stdout) and not (tmp_path / "without" / NOTE).exists()


def assert_states(one: Any, other: Any) -> None:
    """Of an optimizer: the same tensors and numbers in the same places."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_states(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_states(a, b)
    elif torch.is_tensor(one):
        assert torch.equal(one, other)
    else:
        assert one == other


def test_off_is_no_part_of_the_criterion(sentence_data: Path, tmp_path: Path) -> None:
    _, _, _, criterion = build_from_flags(train_flags(sentence_data, tmp_path, **R3F))
    assert not list(criterion.children()) and criterion.cfg.collapse_interval == 0


# ------------------------------------------------------------------------- the values


def test_values_are_those_of_the_checkpoint(
    sentence_data: Path, pretrained: Path, text: Path, tmp_path: Path
) -> None:
    """By the weights that were saved, the text and the pre-trained file alone."""
    settings = {**R3F, **watched(text), "finetune_from_model": pretrained, "lr": 1e-2}
    flags = train_flags(sentence_data, tmp_path, **settings)
    done = fork_fairseq_train(*flags)
    found = logged(done.stdout)
    assert list(found) == [2, 4]

    _, task, model, _ = build_from_flags(flags)
    rows = wrapped(binary_rows(text, "")[1], task.source_dictionary, 64)
    batches = make_batches(pick(rows, TOKENS, 1), task.source_dictionary, 2048, 1)
    before, after = load_checkpoint(pretrained)["model"], trained_weights(tmp_path)
    model.load_state_dict({**model.state_dict(), **before})
    states = [layer_states(model, batch.tokens) for batch in batches]
    # The fine-tuned file has a head of its own, tied to a table that was trained.
    lm_head = build_from_flags(flags)[2]
    lm_head.load_state_dict({**lm_head.state_dict(), **before})
    model.load_state_dict({**model.state_dict(), **after})
    wanted = measure(model, batches, states, masked_lm_head(lm_head))
    assert wanted.masked_lm is not None
    values = {"mlm_bits": wanted.masked_lm.per_token, **wanted.layers[-1]._asdict()}
    names = [n for n in before if "sentence_encoder" in n and not n.endswith("version")]
    values["weight_distance"] = weight_distance(before, after, names).relative
    assert found[4] == pytest.approx(
        {f"collapse_{name}": value for name, value in values.items()}, abs=2e-5, rel=1e-5
    )
    own = measure(model, batches, states, masked_lm_head(model)).masked_lm
    assert own is not None and abs(own.per_token - values["mlm_bits"]) > 1e-3

    at_start = start(done)
    assert list(at_start) == NAMES
    assert at_start["cka"] == at_start["cosine"] == 1 and at_start["weight_distance"] == 0
    assert found[4]["collapse_cka"] < 0.99 and found[4]["collapse_weight_distance"] > 0.01


def test_updates_in_between_have_no_value(
    sentence_data: Path, pretrained: Path, text: Path, tmp_path: Path
) -> None:
    settings = {**R3F, **watched(text, collapse_interval=3), "finetune_from_model": pretrained}
    flags = train_flags(sentence_data, tmp_path, disable_validation=None, **settings)
    done = fork_fairseq_train(*flags)
    assert list(logged(done.stdout)) == [3]
    end = next(entry for entry in train_log(done.stdout) if entry["tag"] == "train")
    assert end["train_collapse_cka"] == logged(done.stdout)[3]["collapse_cka"]


@pytest.mark.slow
def test_half_precision_starts_at_the_pretrained_vectors(
    sentence_data: Path, pretrained: Path, text: Path, tmp_path: Path
) -> None:
    """The file is rounded as the model is."""
    settings = {**R3F, **watched(text), "finetune_from_model": pretrained, "fp16": True}
    done = fork_fairseq_train(*train_flags(sentence_data, tmp_path, fp16_init_scale=4, **settings))
    at_start = start(done)
    assert at_start["cka"] == at_start["cosine"] == 1
    assert at_start["weight_distance"] < 1e-3


def test_bart_is_measured_on_its_encoder(sentence_data: Path, text: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"arch": "bart_base"}
    settings |= {"decoder_layers": 1, "decoder_attention_heads": 2}
    settings |= {"add_prev_output_tokens": True, "max_source_positions": 64, **R3F}
    flags = train_flags(sentence_data, tmp_path / "first", max_update=1, **settings)
    fork_fairseq_train(*flags)
    file = tmp_path / "model.pt"
    shutil.copy(tmp_path / "first" / "checkpoint_last.pt", file)
    settings = {**settings, **watched(text), "finetune_from_model": file}
    done = fork_fairseq_train(*train_flags(sentence_data, tmp_path / "bart", **settings))
    wanted = [f"collapse_{name}" for name in NAMES[1:]]
    assert list(logged(done.stdout)[4]) == wanted and list(start(done)) == NAMES[1:]


# ------------------------------------------------------------------------- going on


def test_a_run_that_goes_on_has_the_same_reference(
    sentence_data: Path, pretrained: Path, text: Path, tmp_path: Path
) -> None:
    settings = {**R3F, **watched(text), "finetune_from_model": pretrained}
    whole = fork_fairseq_train(*train_flags(sentence_data, tmp_path / "whole", **settings))
    parts = tmp_path / "parts"
    fork_fairseq_train(*train_flags(sentence_data, parts, **settings, max_update=2))
    # Without the flag the note beside the checkpoint says where the file is.
    settings["finetune_from_model"] = None
    done = fork_fairseq_train(*train_flags(sentence_data, parts, **settings))
    assert_bit_equal(trained_weights(parts), trained_weights(tmp_path / "whole"))
    assert logged(done.stdout)[4] == logged(whole.stdout)[4]
    assert "collapse before training" not in done.stdout + done.stderr


def test_a_run_that_goes_on_refuses_another_file(
    sentence_data: Path, pretrained: Path, text: Path, tmp_path: Path
) -> None:
    other = save_pretrained(tmp_path / "other", sentence_data, seed=8)
    run = tmp_path / "run"
    settings = {**R3F, **watched(text), "finetune_from_model": pretrained}
    fork_fairseq_train(*train_flags(sentence_data, run, **settings, max_update=2))
    note = json.loads((run / NOTE).read_text())
    # The note's file is gone, and the flag names another.
    (run / NOTE).write_text(json.dumps({**note, "path": str(tmp_path / "gone.pt")}))
    settings["finetune_from_model"] = other
    done = fork_fairseq_train(*train_flags(sentence_data, run, **settings), check=False)
    last = error_of(done)
    assert "holds other weights than" in last and "gone.pt" in last


@pytest.mark.slow
def test_a_next_run_starts_from_the_checkpoint_it_is_given(
    sentence_data: Path, pretrained: Path, text: Path, tmp_path: Path
) -> None:
    """In a chain of tasks each is compared with the weights that it starts from."""
    settings = {**R3F, **watched(text), "lr": 1e-2}
    one, two = tmp_path / "one", tmp_path / "two"
    flags = train_flags(sentence_data, one, finetune_from_model=pretrained, **settings)
    fork_fairseq_train(*flags)
    file = shutil.copy(one / "checkpoint_last.pt", tmp_path / "model.pt")
    done = fork_fairseq_train(
        *train_flags(sentence_data, two, finetune_from_model=file, **settings)
    )
    assert start(done)["weight_distance"] == 0 and start(done)["cka"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("backend", RANKS)
def test_two_ranks(
    backend: str, sentence_data: Path, pretrained: Path, text: Path, tmp_path: Path
) -> None:
    settings = {**R3F, **watched(text), **RANKS[backend], "finetune_from_model": pretrained}
    settings["r3f_lambda"] = 0.0
    one, two = two_ranks_and_one(train_flags, sentence_data, tmp_path, **settings)
    assert_close(trained_weights(tmp_path / "two"), trained_weights(tmp_path / "one"))
    found, wanted = logged(two.stdout), logged(one.stdout)
    assert list(found) == [2, 4]
    for update, values in wanted.items():
        assert found[update] == pytest.approx(values, abs=1e-3)
    assert (two.stdout + two.stderr).count("collapse before training") == 1


# ----------------------------------------------------------------------------- errors


def error_of(done: Any) -> str:
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and last.startswith("rxf: error: "), done.stderr[-2000:]
    return last


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"collapse_text": None}, ["--collapse-text DIR", "rxf prepare text"]),
        ({"collapse_interval": -1}, ["--collapse-interval -1"]),
        ({"collapse_tokens": 3}, ["--collapse-tokens 3"]),
        ({"collapse_text": "nowhere"}, ["--collapse-text nowhere", "rxf prepare text"]),
        ({"finetune_from_model": None}, ["give --finetune-from-model"]),
        ({"env": {"RXF_FIXES": "criterion-hooks"}}, ["needs the fix criterion-hooks"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_input_ends_in_one_line(
    changes: dict[str, Any],
    words: list[str],
    sentence_data: Path,
    pretrained: Path,
    text: Path,
    tmp_path: Path,
) -> None:
    env = changes.pop("env", None)
    settings = {**R3F, **watched(text), "finetune_from_model": pretrained, **changes}
    flags = train_flags(sentence_data, tmp_path, **settings)
    last = error_of(fork_fairseq_train(*flags, check=False, env=env))
    assert all(word in last for word in words), last
    assert not (tmp_path / "checkpoint_last.pt").exists()


def test_text_of_other_words_is_refused(
    sentence_data: Path, pretrained: Path, text: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(text, tmp_path / "other")
    lines = (other / "dict.txt").read_text().splitlines()
    (other / "dict.txt").write_text("\n".join(reversed(lines)) + "\n")
    settings = {**R3F, **watched(other), "finetune_from_model": pretrained}
    flags = train_flags(sentence_data, tmp_path, **settings)
    assert "is not that of the sentences" in error_of(fork_fairseq_train(*flags, check=False))


def test_regression_is_measured_too(pretrained: Path, text: Path, tmp_path: Path) -> None:
    numbers = write_sentence_data(tmp_path / "numbers", regression=True)
    settings = {**R3F, **watched(text), "finetune_from_model": pretrained}
    done = fork_fairseq_train(*train_flags(numbers, tmp_path / "run", **settings))
    assert list(logged(done.stdout)) == [2, 4]
