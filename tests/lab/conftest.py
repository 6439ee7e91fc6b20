"""Tiny data in the official layouts, and a tiny BPE."""

import json

import pytest


def tsv(*rows):
    return "".join("\t".join(row) + "\n" for row in rows)


PAIR = ("index", "sentence1", "sentence2", "label")
MNLI_START = ("index", "promptID", "pairID", "genre", "sentence1_binary_parse")
MNLI_START += ("sentence2_binary_parse", "sentence1_parse", "sentence2_parse")
MNLI_PAIR = (*MNLI_START, "sentence1", "sentence2")
MNLI_TRAIN = (*MNLI_PAIR, "label1", "gold_label")
MNLI_DEV = (*MNLI_PAIR, "label1", "label2", "label3", "label4", "label5", "gold_label")
MNLI_FILLER = ("7", "p", "q", "fiction", "( a )", "( b )", "(ROOT a)", "(ROOT b)")
STSB = ("index", "genre", "filename", "year", "old_index", "source1", "source2")
STSB += ("sentence1", "sentence2", "score")
STSB_FILLER = ("0", "main", "f", "2012", "0001", "none", "none")
MRPC = ("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String")
QQP = ("id", "qid1", "qid2", "question1", "question2", "is_duplicate")


def _mnli_dev(first, second, label):
    return tsv(MNLI_DEV, (*MNLI_FILLER, first, second, *["entailment"] * 5, label))


GLUE_FILES = {
    "CoLA": {
        "train.tsv": tsv(("gj04", "1", "", "a dog ran"), ("gj04", "0", "*", "dog a \" ran")),
        "dev.tsv": tsv(("gj04", "1", "", "a cat ran")),
        "test.tsv": tsv(("index", "sentence"), ("0", "a cat sat")),
    },
    "SST-2": {
        "train.tsv": tsv(("sentence", "label"), ("a dog ran ", "1"), ("a cat sat ", "0")),
        "dev.tsv": tsv(("sentence", "label"), ("a cat ran ", "0")),
        "test.tsv": tsv(("index", "sentence"), ("0", "a cat sat")),
    },
    "MRPC": {
        "train.tsv": tsv(MRPC, ("1", "1", "2", "a dog ran", "\" a dog sat"),
                         ("1", "3", "4", "a cat", "the cat"), ("0", "5", "6", "a cat", "a dog")),
        "dev.tsv": tsv(MRPC, ("0", "7", "8", "a cat ran", "a cat sat")),
        "test.tsv": tsv(("index", *MRPC[1:]), ("0", "9", "8", "a cat ran", "a dog sat")),
    },
    "STS-B": {
        "train.tsv": tsv(STSB, (*STSB_FILLER, "a dog", "the dog", "3.800"),
                         (*STSB_FILLER, "a cat", "a dog", "0.000")),
        "dev.tsv": tsv(STSB, (*STSB_FILLER, "a cat", "the cat", "5.000")),
        "test.tsv": tsv(STSB[:-1], (*STSB_FILLER, "a cat", "the dog")),
    },
    "QQP": {
        "train.tsv": tsv(QQP, ("1", "2", "3", "a dog ?", "the dog ?", "1"),
                         ("2", "2", "3", "a cat ?", "a dog ?", "0")),
        "dev.tsv": tsv(QQP, ("1", "2", "3", "a cat ?", "the cat ?", "1")),
        "test.tsv": tsv(("id", "question1", "question2"), ("0", "a dog", "the cat")),
    },
    "MNLI": {
        "train.tsv": tsv(MNLI_TRAIN, (*MNLI_FILLER, "a dog", "a cat", "neutral", "neutral"),
                         (*MNLI_FILLER, "a dog", "the dog", "entailment", "entailment"),
                         (*MNLI_FILLER, "a dog", "the cat", "neutral", "contradiction")),
        "dev_matched.tsv": _mnli_dev("a cat", "a dog", "contradiction"),
        "dev_mismatched.tsv": _mnli_dev("the cat", "a cat", "neutral"),
        "test_matched.tsv": tsv(MNLI_PAIR, (*MNLI_FILLER, "a cat", "a dog ran")),
        "test_mismatched.tsv": tsv(MNLI_PAIR, (*MNLI_FILLER, "a cat", "a dog sat")),
    },
    "QNLI": {
        "train.tsv": tsv(("index", "question", "sentence", "label"),
                         ("0", "a dog ?", "the dog ran", "entailment"),
                         ("1", "a cat ?", "the dog ran", "not_entailment")),
        "dev.tsv": tsv(("index", "question", "sentence", "label"),
                       ("0", "a cat ?", "the cat ran", "entailment")),
        "test.tsv": tsv(("index", "question", "sentence"), ("0", "a cat ?", "the cat sat")),
    },
    "RTE": {
        "train.tsv": tsv(PAIR, ("0", "a dog ran", "the dog ran", "not_entailment"),
                         ("1", "a cat sat", "the cat sat", "entailment"),
                         ("2", "a dog sat", "the cat sat", "not_entailment")),
        "dev.tsv": tsv(PAIR, ("0", "a cat ran", "the cat ran", "entailment")),
        "test.tsv": tsv(PAIR[:-1], ("0", "a cat ran", "the dog ran")),
    },
    "WNLI": {
        "train.tsv": tsv(PAIR, ("0", "a dog ran", "the dog ran", "1"),
                         ("1", "a cat", "a dog", "0")),
        "dev.tsv": tsv(PAIR, ("0", "a cat ran", "the cat ran", "0")),
        "test.tsv": tsv(PAIR[:-1], ("0", "a cat ran", "the dog ran")),
    },
}  # fmt: skip


@pytest.fixture
def glue_dir(tmp_path):
    """A folder that holds all nine tasks, a few rows each."""
    for task, files in GLUE_FILES.items():
        (tmp_path / "glue" / task).mkdir(parents=True)
        for name, text in files.items():
            (tmp_path / "glue" / task / name).write_text(text, encoding="utf-8")
    return tmp_path / "glue"


@pytest.fixture
def words_file(tmp_path):
    """A dictionary of the words in :data:`GLUE_FILES`."""
    path = tmp_path / "words.txt"
    words = ["a", "the", "dog", "cat", "ran", "sat", "?", '"']
    path.write_text("".join(f"{word} 1\n" for word in words), encoding="utf-8")
    return path


@pytest.fixture
def tiny_bpe(tmp_path):
    """The 256 bytes and two merges, numbered backwards in the dictionary."""
    from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode

    folder = tmp_path / "bpe"
    folder.mkdir()
    symbols = [*bytes_to_unicode().values(), "do", "dog"]
    (folder / "encoder.json").write_text(json.dumps({s: i for i, s in enumerate(symbols)}))
    (folder / "vocab.bpe").write_text("#version: 0.2\nd o\ndo g\n", encoding="utf-8")
    numbers = reversed(range(len(symbols)))
    (folder / "dict.txt").write_text("".join(f"{number} 1\n" for number in numbers))
    return folder
