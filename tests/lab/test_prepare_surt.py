"""`rxf prepare surt`: the rows that fine-tuning shows the model, for masked_lm."""

import json
import shutil

import pytest
import torch
from fairseq.tasks.masked_lm import MaskedLMConfig, MaskedLMTask

from rxf import cli
from rxf.errors import UserError
from tests.support import build_from_flags, train_flags, write_sentence_data


@pytest.fixture
def task_data(tmp_path):
    return write_sentence_data(tmp_path / "task", rows={"train": 9, "valid": 5}, pair=True)


def prepare(data, out, *flags):
    return cli.main(["prepare", "surt", str(data), str(out), *flags])


def masked_lm(out):
    task = MaskedLMTask.setup_task(MaskedLMConfig(data=str(out), sample_break_mode="eos", seed=1))
    return task, {split: task._load_dataset_split(split, 1, False) for split in ("train", "valid")}


@pytest.mark.parametrize("pair", [True, False])
@pytest.mark.parametrize("regression", [True, False])
def test_rows_are_what_fine_tuning_shows_the_model(tmp_path, pair, regression):
    data = write_sentence_data(tmp_path / "task", rows=9, pair=pair, regression=regression)
    assert prepare(data, tmp_path / "out") == 0
    _, shown, _, _ = build_from_flags(train_flags(data, tmp_path / "none", no_shuffle=True))
    task, splits = masked_lm(tmp_path / "out")
    for split, rows in splits.items():
        shown.load_dataset(split)
        wanted = [shown.dataset(split)[index]["net_input.src_tokens"] for index in range(len(rows))]
        assert len(shown.dataset(split)) == len(rows)
        assert all(torch.equal(row, other) for row, other in zip(rows, wanted, strict=True))
        assert all(int((row == 2).sum()) == (3 if pair else 1) for row in rows)
    # What masks and embeddings go by.
    assert len(task.dictionary) == len(shown.source_dictionary)
    assert task.mask_idx == shown.source_dictionary.index("<mask>")
    copied = (tmp_path / "out" / "dict.txt").read_bytes()
    assert copied == (data / "input0" / "dict.txt").read_bytes()


def test_what_it_says_and_notes(task_data, tmp_path, capsys):
    prepare(task_data, tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "prepare.json").read_text())["splits"]["train"]
    _, splits = masked_lm(tmp_path / "out")
    tokens = sum(len(row) - 1 for row in splits["train"])
    assert facts == {"rows": 9, "tokens": tokens, "longer_than_512": 0}
    out = capsys.readouterr().out
    assert f"9 rows, {tokens} tokens" in out and "--task masked_lm" in out


def test_a_second_call_does_nothing(task_data, tmp_path, capsys):
    prepare(task_data, tmp_path / "out")
    capsys.readouterr()
    prepare(task_data, tmp_path / "out")
    assert "nothing to do" in capsys.readouterr().out
    other = write_sentence_data(tmp_path / "other", rows=4)
    with pytest.raises(UserError, match="was prepared from other files"):
        prepare(other, tmp_path / "out")
    prepare(other, tmp_path / "out", "--overwrite")
    assert len(masked_lm(tmp_path / "out")[1]["train"]) == 4


def _gone(data):
    shutil.rmtree(data)


def _no_text(data):
    shutil.rmtree(data / "input0")


def _no_split(data):
    (data / "input1" / "valid.idx").unlink()


def _garbage(data):
    (data / "input0" / "train.idx").write_bytes(b"no index at all")


def _cut_off(data):
    path = data / "input1" / "train.bin"
    path.write_bytes(path.read_bytes()[:20])


def _another_number_of_rows(data):
    for ending in ("bin", "idx"):
        shutil.copy(data / "input1" / f"valid.{ending}", data / "input1" / f"train.{ending}")


def _another_dictionary(data):
    (data / "input0" / "dict.txt").write_text("w00 1\nw01 1\n")


def _no_dictionary(data):
    (data / "input0" / "dict.txt").write_bytes(b"\xff\xfe no dictionary")


BAD = [
    (_gone, "is no folder"),
    (_no_text, "has no input0/dict.txt"),
    (_no_split, "has no input1/valid.idx"),
    (_garbage, "input0/train.bin: cannot be read"),
    (_cut_off, "input1/train.bin: cannot be read"),
    (_another_number_of_rows, "input1/train: has 5 rows, and"),
    (_another_dictionary, "but dict.txt has 6"),
    (_no_dictionary, "is no fairseq dictionary"),
]


@pytest.mark.parametrize(("spoil", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_input(task_data, tmp_path, spoil, message):
    spoil(task_data)
    with pytest.raises(UserError) as caught:
        prepare(task_data, tmp_path / "out")
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*out*"))
