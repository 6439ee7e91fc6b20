"""`rxf bleu`: sacrebleu's figures and signatures, by hand where a hand can."""

import json
import math

import pytest

from rxf import cli
from rxf.errors import UserError


@pytest.fixture
def bleu(tmp_path):
    def call(reference, hypothesis, *flags, name="a.ref"):
        (tmp_path / name).write_text(reference, encoding="utf-8")
        (tmp_path / "a.hyp").write_text(hypothesis, encoding="utf-8")
        report = tmp_path / "r.json"
        files = [str(tmp_path / name), str(tmp_path / "a.hyp")]
        assert cli.main(["bleu", *files, "--json", str(report), *flags]) == 0
        return json.loads(report.read_text())

    return call


def test_by_hand(bleu, capsys):
    found = bleu("the cat sat on the mat\n", "the cat sat on mat\n")["scores"]["BLEU"]
    # 5/5, 3/4, 2/3 and 1/2 of the n-grams; 5 words for 6.
    precisions = [1, 3 / 4, 2 / 3, 1 / 2]
    assert found["precisions"] == pytest.approx([100 * value for value in precisions])
    assert found["brevity_penalty"] == pytest.approx(math.exp(1 - 6 / 5))
    expected = 100 * math.exp(1 - 6 / 5) * math.prod(precisions) ** 0.25
    assert found["score"] == pytest.approx(expected)
    out = capsys.readouterr().out
    assert f"{expected:.2f}" in out and "brevity penalty 0.819 (5 tokens for 6)" in out


def test_signatures_and_files_are_in_the_report(bleu, capsys):
    report = bleu("Ein Hund läuft weg.\nJa.\n", "Ein Hund läuft weg.\nJa.\n")
    signatures = {name: facts["signature"] for name, facts in report["scores"].items()}
    assert "nrefs:1" in signatures["BLEU"] and "tok:13a" in signatures["BLEU"]
    assert "nc:6" in signatures["chrF"] and "version:" in signatures["chrF"]
    assert report["scores"]["BLEU"]["score"] == pytest.approx(100)
    assert report["scores"]["chrF"]["score"] == pytest.approx(100)
    assert report["pairs"] == 2 and len(report["hypothesis"]["sha256"]) == 64
    out = capsys.readouterr().out
    assert all(signature in out for signature in signatures.values())


def test_chrf_sees_parts_of_words(bleu):
    scores = bleu("translation\n", "translations\n")["scores"]
    assert scores["BLEU"]["score"] == 0 and 80 < scores["chrF"]["score"] < 100


def test_tokenize_is_passed_on(bleu):
    words = bleu("他是好人吗\n", "他是个好人\n")["scores"]["BLEU"]
    signs = bleu("他是好人吗\n", "他是个好人\n", "--tokenize", "zh")["scores"]["BLEU"]
    assert "tok:zh" in signs["signature"]
    assert (words["hypothesis_length"], signs["hypothesis_length"]) == (1, 5)


def test_several_references(bleu):
    lines = '["the cat sat on the mat", "a cat sat on a mat"]\n["one two three four"]\n'
    scores = bleu(lines, "a cat sat on a mat\none two three four\n", name="a.jsonl")["scores"]
    assert scores["BLEU"]["score"] == pytest.approx(100)
    assert "nrefs:var" in scores["BLEU"]["signature"]


def test_empty_lines_stay_in(bleu, capsys):
    report = bleu("a b c d e\n\n", "a b c d e\nx\n")
    assert report["scores"]["BLEU"]["precisions"][0] == pytest.approx(100 * 5 / 6)
    assert "a.ref: 1 of 2 lines are empty" in capsys.readouterr().err


def test_a_tokenizer_that_is_not_installed(bleu, monkeypatch):
    from sacrebleu.metrics import BLEU

    def refuse(self, *args, **kwargs):
        raise RuntimeError("Japanese tokenization requires\nextra dependencies.\n")

    monkeypatch.setattr(BLEU, "__init__", refuse)
    with pytest.raises(UserError, match="^--tokenize ja-mecab: Japanese.*requires extra dep") as e:
        bleu("a\n", "a\n", "--tokenize", "ja-mecab")
    assert "\n" not in str(e.value)
