"""Bad input to `rxf prepare glue`: one line that names the file and the mend, nothing written."""

import os
import subprocess
import sys

import pytest

from rxf import cli
from rxf.errors import UserError

HEAD = "index\tsentence1\tsentence2\tlabel\n"
GOOD = "0\ta dog\tthe dog\tentailment\n"
STSB_HEAD = "index\tsentence1\tsentence2\tscore\n"


def error_of(*arguments):
    with pytest.raises(UserError) as caught:
        cli.main(["prepare", "glue", *map(str, arguments)])
    message = str(caught.value)
    assert "\n" not in message
    return message


# What is done to RTE's train.tsv, and what the one line must say.
BAD_TRAIN_FILES = {
    "empty file": (b"", ["train.tsv: is empty", "official file"]),
    "blank file": (b"\r\n\n", ["train.tsv: is empty"]),
    "header only": (HEAD.encode(), ["train.tsv: has a header and no rows"]),
    "wrong header": (b"a\tb\n1\t2\n", ["train.tsv:1: no column 'sentence1'", "'a | b'"]),
    "no header": (GOOD.encode(), ["train.tsv:1: no column 'sentence1'"]),
    "label column gone": (b"index\tsentence1\tsentence2\n0\ta\ta\n", ["no column 'label'"]),
    "field missing": ((HEAD + GOOD + "1\ta dog\n").encode(), ["train.tsv:3: 2 tab-separated"]),
    "field too many": ((HEAD + GOOD[:-1] + "\tx\n").encode(), ["train.tsv:2: 5 tab-separated"]),
    "empty sentence": (
        (HEAD + GOOD + "1\t \ta\tentailment\n").encode(),
        ["train.tsv:3: empty sentence", "mend the rows"],
    ),
    "unknown label": (
        (HEAD + GOOD + "1\ta\ta\tneutral\n").encode(),
        ["train.tsv:3: label 'neutral'", "entailment, not_entailment"],
    ),
    "not UTF-8": ((HEAD + GOOD).encode() + b"1\ta\xff\ta\tentailment\n", ["train.tsv:3:", "UTF-8"]),
    "spaces for tabs": ((HEAD + GOOD).replace("\t", " ").encode(), ["train.tsv:1: no column"]),
}


@pytest.mark.parametrize("data, expected", BAD_TRAIN_FILES.values(), ids=list(BAD_TRAIN_FILES))
def test_bad_training_file(data, expected, glue_dir, words_file, tmp_path):
    (glue_dir / "RTE" / "train.tsv").write_bytes(data)
    message = error_of(glue_dir, "RTE", tmp_path / "out", "--dict", words_file)
    for part in expected:
        assert part in message
    assert str(glue_dir / "RTE" / "train.tsv") in message
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize("score", ["high", "", "nan", "inf", "-0.1", "5.01"])
def test_bad_score(score, glue_dir, words_file, tmp_path):
    train = glue_dir / "STS-B" / "train.tsv"
    train.write_text(f"{STSB_HEAD}0\ta\ta\t5.0\n1\ta\ta\t{score}\n")
    message = error_of(glue_dir, "STS-B", tmp_path / "out", "--dict", words_file)
    assert f"{train}:3: score {score!r} is no number from 0 to 5" in message


def test_a_broken_test_row_is_an_error(glue_dir, words_file, tmp_path):
    rows = "".join(f"{index}\ta\ta\n" for index in range(1000))
    (glue_dir / "RTE" / "test.tsv").write_text(HEAD.replace("\tlabel", "") + rows + "1000\ta\n")
    message = error_of(glue_dir, "RTE", tmp_path / "out", "--dict", words_file)
    assert "test.tsv:1002: 2 tab-separated fields where 3 are due" in message


def test_missing_files(glue_dir, words_file, tmp_path):
    flags = ("RTE", tmp_path / "out", "--dict", words_file)
    assert "is no folder" in error_of(tmp_path / "nowhere", *flags)
    assert "has no folder RTE" in error_of(glue_dir / "RTE", *flags)
    (glue_dir / "RTE" / "dev.tsv").unlink()
    assert f"{glue_dir / 'RTE' / 'dev.tsv'}: there is no such file" in error_of(glue_dir, *flags)


def test_unknown_task(glue_dir, words_file, tmp_path):
    message = error_of(glue_dir, "SNLI", tmp_path / "out", "--dict", words_file)
    assert "TASK SNLI" in message and "CoLA, SST-2" in message


def test_missing_dictionary(glue_dir, tmp_path, monkeypatch):
    monkeypatch.delenv("RXF_DATA", raising=False)
    where = "dl.fbaipublicfiles.com/fairseq/gpt2_bpe/"
    call = (glue_dir, "RTE", tmp_path / "out")
    message = error_of(*call)
    assert where in message and "--bpe-dir" in message
    message = error_of(*call, "--bpe-dir", tmp_path / "none")
    assert where in message and str(tmp_path / "none" / "encoder.json") in message
    message = error_of(*call, "--encoder-json", __file__)
    assert where in message and "--vocab-bpe is missing" in message
    assert f"there is no file {tmp_path / 'none'}" in error_of(*call, "--dict", tmp_path / "none")


@pytest.mark.parametrize(
    "text, part",
    [("", "is empty"), ("one\n", "no fairseq dictionary"), ("a 1\na 1\n", "Duplicate")],
    ids=["empty", "no counts", "twice"],
)
def test_bad_dictionary(text, part, glue_dir, words_file, tmp_path):
    words_file.write_text(text)
    message = error_of(glue_dir, "RTE", tmp_path / "out", "--dict", words_file)
    assert str(words_file) in message and part in message


def test_another_texts_dictionary(glue_dir, words_file, tmp_path):
    words_file.write_text("nothing 1\n")
    message = error_of(glue_dir, "RTE", tmp_path / "out", "--dict", words_file)
    assert str(words_file) in message and "another text's dictionary" in message
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize(
    "encoder, part",
    [("[]", "no GPT-2 BPE"), ("{", "no GPT-2 BPE"), ('{"a": 0}', "do not belong together")],
    ids=["list", "cut off", "other merges"],
)
def test_bad_bpe_files(encoder, part, glue_dir, words_file, tmp_path):
    (tmp_path / "encoder.json").write_text(encoder)
    (tmp_path / "vocab.bpe").write_text("#version\na b\n")
    words_file.rename(tmp_path / "dict.txt")
    message = error_of(glue_dir, "RTE", tmp_path / "out", "--bpe-dir", tmp_path)
    assert str(tmp_path / "encoder.json") in message and part in message


def test_out_that_cannot_be_made(glue_dir, words_file):
    message = error_of(glue_dir, "RTE", words_file / "out", "--dict", words_file)
    assert f"OUT {words_file / 'out'}: cannot be written" in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_out_without_permission(glue_dir, words_file, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    message = error_of(glue_dir, "RTE", tmp_path / "locked" / "out", "--dict", words_file)
    assert "cannot be written (Permission denied)" in message


def test_out_that_holds_something_else(glue_dir, words_file, tmp_path):
    out = tmp_path / "out"
    call = (glue_dir, "RTE", out, "--dict", words_file)
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    assert "was not made by rxf prepare" in error_of(*call)
    assert "was not made by rxf prepare" in error_of(*call, "--overwrite")
    assert "was not made by rxf prepare" in error_of(glue_dir, "RTE", words_file, *call[3:])
    assert (out / "thesis.tex").exists()


def test_out_made_from_other_files(glue_dir, words_file, tmp_path):
    out = tmp_path / "out"
    call = (glue_dir, "RTE", out, "--dict", words_file)
    cli.main(["prepare", "glue", *map(str, call)])
    with open(glue_dir / "RTE" / "dev.tsv", "a") as stream:
        stream.write(GOOD)
    message = error_of(*call)
    assert "prepared from other files (dev.tsv)" in message and "--overwrite" in message
    (out / "checkpoint_best.pt").write_text("a week of training")
    assert "holds checkpoint_best.pt" in error_of(*call, "--overwrite")


def test_out_that_was_damaged(glue_dir, words_file, tmp_path):
    out = tmp_path / "out"
    call = (glue_dir, "RTE", out, "--dict", words_file)
    cli.main(["prepare", "glue", *map(str, call)])
    (out / "input0" / "train.bin").write_bytes(b"")
    assert "was changed or is gone: give --overwrite" in error_of(*call)
    cli.main(["prepare", "glue", *map(str, call), "--overwrite"])
    assert (out / "input0" / "train.bin").stat().st_size > 0


def test_a_person_sees_one_line_and_status_1(glue_dir, tmp_path):
    command = [sys.executable, "-c", "import sys; from rxf.cli import main; sys.exit(main())"]
    command += ["prepare", "glue", str(glue_dir), "SNLI", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("rxf: error: TASK SNLI is no GLUE task")
    assert "Traceback" not in done.stderr
