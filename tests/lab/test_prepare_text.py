"""`rxf prepare text`: documents as rows that fairseq reads back."""

import gzip
import json

import pytest
from fairseq.data import Dictionary, data_utils

from rxf import cli
from rxf.errors import UserError

ROWS = {"train": "a b c d e f g\n\n  \na b a b a\n", "valid": " c a\nb\n"}


@pytest.fixture
def texts(tmp_path):
    """Two and two documents, with blank lines between."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for split, text in ROWS.items():
        (folder / f"{split}.txt").write_text(text)
    return folder


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("".join(f"{word} 1\n" for word in "xgfedcba"))
    return path


def prepare(texts, out, *flags):
    return cli.main(["prepare", "text", str(texts), str(out), *map(str, flags)])


def rows_of(out, split):
    dictionary = Dictionary.load(str(out / "dict.txt"))
    rows = data_utils.load_indexed_dataset(str(out / split), dictionary)
    return ["".join(dictionary[number] for number in row) for row in rows]


def facts_of(out, split):
    return json.loads((out / "prepare.json").read_text())["splits"][split]


def error_of(*arguments):
    with pytest.raises(UserError) as caught:
        prepare(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_document_is_a_row(texts, words, tmp_path):
    assert prepare(texts, tmp_path / "out", "--dict", words) == 0
    assert rows_of(tmp_path / "out", "train") == ["abcdefg</s>", "ababa</s>"]
    assert rows_of(tmp_path / "out", "valid") == ["ca</s>", "b</s>"]
    facts = facts_of(tmp_path / "out", "train")
    assert (facts["documents"], facts["rows"], facts["tokens"]) == (2, 2, 12)


def test_long_documents_are_parted_evenly(texts, words, tmp_path, capsys):
    """Seven in rows of at most five are four and three, not five and two."""
    prepare(texts, tmp_path / "out", "--dict", words, "--row-tokens", 5)
    assert rows_of(tmp_path / "out", "train") == ["abcd</s>", "efg</s>", "ababa</s>"]
    assert "2 documents, 3 rows, 12 tokens" in capsys.readouterr().out


def test_min_count_counts_the_training_text(texts, words, tmp_path):
    prepare(texts, tmp_path / "out", "--dict", words, "--min-count", 2)
    assert (tmp_path / "out" / "dict.txt").read_text() == "b 1\na 1\n"
    assert rows_of(tmp_path / "out", "valid") == ["<unk>a</s>", "b</s>"]
    assert facts_of(tmp_path / "out", "valid")["unknown"] == 1


def test_gzip_and_bpe_files(texts, tiny_bpe, tmp_path):
    (texts / "train.txt").unlink()
    (texts / "train.txt.gz").write_bytes(gzip.compress(ROWS["train"].encode()))
    prepare(texts, tmp_path / "out", "--bpe-dir", tiny_bpe)
    assert facts_of(tmp_path / "out", "train")["documents"] == 2
    for name in ("encoder.json", "vocab.bpe"):
        assert (tmp_path / "out/bpe" / name).read_bytes() == (tiny_bpe / name).read_bytes()


def test_a_second_call_does_nothing(texts, words, tmp_path, capsys):
    prepare(texts, tmp_path / "out", "--dict", words)
    capsys.readouterr()
    prepare(texts, tmp_path / "out", "--dict", words)
    assert "nothing to do" in capsys.readouterr().out
    assert "--row-tokens" in error_of(texts, tmp_path / "out", "--dict", words, "--row-tokens", 5)
    prepare(texts, tmp_path / "out", "--dict", words, "--row-tokens", 5, "--overwrite")
    assert facts_of(tmp_path / "out", "train")["rows"] == 3


def test_bad_input(texts, words, tmp_path):
    call = (texts, tmp_path / "out", "--dict", words)
    assert "is no folder" in error_of(tmp_path / "nowhere", *call[1:])
    assert "--row-tokens 0" in error_of(*call, "--row-tokens", "0")
    assert "--min-count -1" in error_of(*call, "--min-count=-1")
    words.write_text("nothing 1\n")
    assert "another text's dictionary" in error_of(*call)
    (texts / "valid.txt").write_text("\n \n")
    assert "valid.txt: is empty" in error_of(*call)
    (texts / "valid.txt").unlink()
    assert "has no valid.txt (or .gz)" in error_of(*call)
    assert not list(tmp_path.glob("*out*"))
