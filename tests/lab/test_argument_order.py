"""REFERENCE and the model's output swapped: what is noticed, and what raises no alarm."""

import json

import pytest

from rxf import cli
from rxf.errors import UserError
from rxf.lab.argument_order import check_order, length_doubt
from rxf.lab.paired_files import PairedFiles


def warnings(reference, output, capsys, references=None, outputs=None):
    pairs = PairedFiles(
        reference, output, references or [["a b"]] * 60, outputs or ["a b"] * 60, multiple=False
    )
    check_order(pairs, "SUMMARY")
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    "reference, output",
    [
        ("xsum500.hyp", "xsum500.ref"),
        ("test.hypo", "test.target"),
        ("hypotheses.txt", "summaries.txt"),
        ("epoch3_pred.txt", "test.txt"),
        ("test.txt", "test_references.txt"),
        ("generated.txt", "gold.txt"),
    ],
)
def test_swapped_names_warn(reference, output, tmp_path, capsys):
    lines = warnings(tmp_path / reference, tmp_path / output, capsys)
    assert len(lines) == 1 and "swapped" in lines[0] and reference in lines[0]
    # And in the right order they do not.
    assert warnings(tmp_path / output, tmp_path / reference, capsys) == []


@pytest.mark.parametrize(
    "reference, output",
    [
        ("test.target", "summaries.txt"),
        ("test.summary", "out.txt"),
        ("dev.refs.jsonl", "dev.txt"),
        # fairseq's CNN/DailyMail recipe: tokenised references, both words in one name.
        ("test.hypo.target", "test.hypo.tokenized"),
        ("hypothermia.txt", "b.txt"),
        ("prefix.txt", "reform.txt"),
        ("a.hyp", "b.hyp"),
    ],
)
def test_names_that_say_nothing_or_fit(reference, output, tmp_path, capsys):
    assert warnings(tmp_path / reference, tmp_path / output, capsys) == []


def test_lengths_that_say_nothing():
    varied = [5, 10, 15, 20, 25, 30] * 10
    assert length_doubt(varied, varied) is None
    # Somewhat more even, or one line that runs away.
    assert length_doubt([8, 10, 15, 20, 25, 27] * 10, varied) is None
    assert length_doubt(varied, [*varied[:-1], 3000]) is None
    # A model is more even than people: that is the right order.
    assert length_doubt(varied, [15, 16, 17, 18, 19, 20] * 10) is None


def test_an_even_reference_is_doubted():
    varied = [5, 10, 15, 20, 25, 30] * 10
    even = [15, 16, 17, 18, 19, 20] * 10
    assert "less in length" in (length_doubt(even, varied) or "")
    assert length_doubt(even[:49], varied[:49]) is None


def test_a_far_longer_file_is_doubted_on_either_side():
    short, long = [20] * 60, [61] * 60
    assert "has 20 words" in (length_doubt(short, long) or "")
    assert "has 61 words" in (length_doubt(long, short) or "")
    assert length_doubt(short, [59] * 60) is None


def test_names_that_fit_end_the_check(tmp_path, capsys):
    even = [["a b c d"]] * 60
    varied = [" ".join("a" * size) for size in range(2, 62)]
    assert len(warnings(tmp_path / "a", tmp_path / "b", capsys, even, varied)) == 1
    assert warnings(tmp_path / "a.ref", tmp_path / "b.hyp", capsys, even, varied) == []


@pytest.mark.parametrize("command", ["rouge", "bleu"])
def test_what_rxf_generate_wrote_is_no_reference(command, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "generate.json").write_text(json.dumps({}))
    generated, plain = tmp_path / "out" / "hypotheses.txt", tmp_path / "lines.txt"
    for path in (generated, plain):
        path.write_text("a cat\na dog\n")
    with pytest.raises(UserError) as caught:
        cli.main([command, str(generated), str(plain)])
    assert "swap the arguments" in str(caught.value) and "\n" not in str(caught.value)
    assert cli.main([command, str(plain), str(generated)]) == 0


def test_two_runs_may_be_compared(tmp_path, capsys):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "generate.json").write_text("{}")
        (tmp_path / name / "hypotheses.txt").write_text("a cat\n")
    paths = [str(tmp_path / name / "hypotheses.txt") for name in ("one", "two")]
    assert cli.main(["bleu", *paths]) == 0
    assert "swapped" not in capsys.readouterr().err


def test_official_pairs_and_peoples_references_raise_no_alarm(shared_data):
    def lengths(lines):
        return [len(line.split()) for line in lines]

    files = [shared_data / "rouge" / f"xsum500.{side}" for side in ("ref", "hyp")]
    reference, output = (lengths(file.read_text("utf-8").splitlines()) for file in files)
    assert length_doubt(reference, output) is None
    for split in ("dev", "test"):
        text = (shared_data / "scitldr" / f"{split}.refs.jsonl").read_text(encoding="utf-8")
        several = [json.loads(line)["target"] for line in text.splitlines()]
        first, last = (lengths(texts[at] for texts in several) for at in (0, -1))
        assert length_doubt(first, last) is None and length_doubt(last, first) is None
        source = (shared_data / "scitldr" / f"{split}.source").read_text(encoding="utf-8")
        assert length_doubt(lengths(source.split("\n")[:-1]), first)
