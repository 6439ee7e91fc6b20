"""`rxf prepare summarization`: what it writes, read back with fairseq's own task and tools."""

import gzip
import json

import pytest
from fairseq import options, tasks
from fairseq.data import Dictionary, data_utils
from fairseq_cli import preprocess

from rxf import cli
from rxf.errors import UserError
from rxf.lab.prepare import summarization

EOS, UNK = 2, 3
ROWS = {
    "train": [("the dog ran . a cat sat", "dog ran"), ("a cat sat", "cat . sat"), ("dog", "a dog")],
    "dev": [("the cat ran", "cat ran"), ("the dog sat", "dog sat")],
    "test": [("a dog sat", " dog  sat ")],
}


def write_rows(folder, split, rows):
    for index, side in enumerate(("source", "target")):
        text = "".join(row[index] + "\n" for row in rows)
        (folder / f"{split}.{side}").write_text(text, encoding="utf-8", newline="\n")


@pytest.fixture
def texts(tmp_path):
    """A folder of :data:`ROWS`."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for split, rows in ROWS.items():
        write_rows(folder, split, rows)
    return folder


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "words.txt"
    known = ["unseen", "a", "the", "dog", "cat", "ran", "sat", "."]
    path.write_text("".join(f"{word} {count}\n" for count, word in enumerate(known, start=7)))
    return path


def prepare(texts, out, *flags):
    return cli.main(["prepare", "summarization", str(texts), str(out), *map(str, flags)])


def error_of(*arguments):
    with pytest.raises(UserError) as caught:
        prepare(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def facts_of(out, split):
    return json.loads((out / "prepare.json").read_text())["splits"][split]


def rows_of(out, split, side):
    rows = data_utils.load_indexed_dataset(str(out / f"{split}.source-target.{side}"))
    return [row.tolist() for row in rows]


def words_of(out, split, side):
    dictionary = Dictionary.load(str(out / f"dict.{side}.txt"))
    return [[dictionary[number] for number in row] for row in rows_of(out, split, side)]


def expected(rows, index):
    return [[*row[index].split(), "</s>"] for row in rows]


# ---- what is written ----


def test_fairseqs_translation_task_reads_it(texts, words, tmp_path):
    out = tmp_path / "new" / "out"
    assert prepare(texts, out, "--dict", words) == 0
    flags = json.loads((out / "prepare.json").read_text())["fairseq_train_flags"]
    parser = options.get_training_parser("translation")
    args = options.parse_args_and_arch(
        parser, [str(out), *flags, "--arch", "transformer", "--left-pad-source"]
    )
    task = tasks.setup_task(args)
    for split, ours in (("train", "train"), ("dev", "valid"), ("test", "test")):
        task.load_dataset(ours)
        dataset = task.dataset(ours)
        assert len(dataset) == len(ROWS[split])
        for index in range(len(dataset)):
            item = dataset[index]
            for side, dictionary in (("source", task.src_dict), ("target", task.tgt_dict)):
                text = expected(ROWS[split], side == "target")[index]
                assert [dictionary[number] for number in item[side]] == text


def test_bytes_equal_fairseq_preprocess(texts, words, tmp_path):
    out, theirs = tmp_path / "out", tmp_path / "theirs"
    prepare(texts, out, "--dict", words)
    flags = ["--source-lang", "source", "--target-lang", "target", "--destdir", str(theirs)]
    flags += ["--srcdict", str(words), "--tgtdict", str(words)]
    for name, split in (("train", "train"), ("valid", "dev"), ("test", "test")):
        flags += [f"--{name}pref", str(texts / split)]
    preprocess.main(options.get_preprocessing_parser().parse_args(flags))
    names = [path.name for path in theirs.iterdir() if path.name != "preprocess.log"]
    assert len(names) == 2 + 3 * 4
    for name in names:
        assert (out / name).read_bytes() == (theirs / name).read_bytes()


@pytest.mark.parametrize("stem", ["dev", "val", "valid"])
def test_gzip_and_other_names_change_nothing(stem, texts, words, tmp_path):
    prepare(texts, tmp_path / "plain", "--dict", words)
    for path in list(texts.iterdir()):
        name = path.name.replace("dev", stem)
        packed = b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n")
        path.unlink()
        (texts / f"{name}.gz").write_bytes(gzip.compress(packed))
    prepare(texts, tmp_path / "packed", "--dict", words)
    files = json.loads((tmp_path / "plain" / "prepare.json").read_text())["files"]
    assert len(files) == 12 + 2 + 2
    for name in files:
        plain, packed = tmp_path / "plain" / name, tmp_path / "packed" / name
        assert plain.read_bytes() == packed.read_bytes()


def test_references_are_the_raw_lines(texts, words, tmp_path):
    write_rows(
        texts, "dev", [("a", " a  dog . the\u2028cat sat\x85 . "), ("dog", "a\rdog ran . sat")]
    )
    prepare(texts, tmp_path / "out", "--dict", words)
    for ours, split in (("valid", "dev"), ("test", "test")):
        reference = tmp_path / "out" / f"{ours}.reference"
        assert reference.read_bytes() == (texts / f"{split}.target").read_bytes()
    assert not (tmp_path / "out" / "train.reference").exists()


def test_a_missing_test_split_is_no_error(texts, words, tmp_path):
    (texts / "test.source").unlink()
    (texts / "test.target").unlink()
    prepare(texts, tmp_path / "out", "--dict", words)
    assert not list((tmp_path / "out").glob("test*"))


# ---- long and empty rows, unknown words ----


def test_long_sources_are_cut_and_counted(texts, words, tmp_path, capsys):
    """Four tokens with </s>: a source of three words is whole, one of four is not."""
    write_rows(texts, "dev", [("the cat ran", "a cat ran a dog"), ("the dog sat .", "dog")])
    prepare(texts, tmp_path / "out", "--dict", words, "--max-source-tokens", 4)
    rows = words_of(tmp_path / "out", "valid", "source")
    assert rows == [["the", "cat", "ran", "</s>"], ["the", "dog", "sat", "</s>"]]
    assert words_of(tmp_path / "out", "valid", "target")[0] == [
        "a",
        "cat",
        "ran",
        "a",
        "dog",
        "</s>",
    ]
    facts = facts_of(tmp_path / "out", "valid")
    assert (facts["truncated"], facts["rows"]) == (1, 2)
    assert facts["source"] == {"tokens": 6, "unknown": 0, "longest": 4}
    assert facts["target"] == {"tokens": 6, "unknown": 0, "longest": 6}
    assert "1 sources cut to 4 tokens" in capsys.readouterr().out


def test_barts_positions_are_the_default(texts, words, tmp_path):
    write_rows(texts, "test", [("a " * 1023, "a " * 1023), ("a " * 1024, "a " * 1024)])
    prepare(texts, tmp_path / "out", "--dict", words)
    facts = facts_of(tmp_path / "out", "test")
    assert facts["truncated"] == facts["targets_too_long"] == 1
    assert (facts["source"]["longest"], facts["target"]["longest"]) == (1024, 1025)
    assert [len(row) for row in rows_of(tmp_path / "out", "test", "source")] == [1024, 1024]


def test_empty_rows_of_train_are_dropped_and_named(texts, words, tmp_path, capsys):
    write_rows(texts, "train", [*ROWS["train"], ("", "dog"), ("a", " "), *ROWS["train"]])
    prepare(texts, tmp_path / "out", "--dict", words)
    facts = facts_of(tmp_path / "out", "train")
    assert (facts["rows"], facts["rows_in_file"]) == (6, 8)
    shown = capsys.readouterr().out
    for reason in (f"{texts / 'train.source'}:4: empty", f"{texts / 'train.target'}:5: empty"):
        assert reason in facts["dropped"] and reason in shown
    for index, side in enumerate(("source", "target")):
        rows = words_of(tmp_path / "out", "train", side)
        assert rows == 2 * expected(ROWS["train"], index)


@pytest.mark.parametrize("split, ours", [("dev", "valid"), ("test", "test")])
def test_rows_that_get_scored_are_all_kept(split, ours, texts, words, tmp_path, capsys):
    write_rows(texts, split, [("a dog", "dog"), ("", "cat"), ("cat", ""), ("", "")])
    prepare(texts, tmp_path / "out", "--dict", words)
    facts = facts_of(tmp_path / "out", ours)
    assert (facts["rows"], facts["empty_kept"], facts["dropped"]) == (4, 3, [])
    assert rows_of(tmp_path / "out", ours, "source")[1] == [EOS]
    assert len(rows_of(tmp_path / "out", ours, "target")) == 4
    assert (tmp_path / "out" / f"{ours}.reference").read_text() == "dog\ncat\n\n\n"
    assert "3 rows with an empty side kept" in capsys.readouterr().out


def test_unknown_words_are_counted_by_side(texts, words, tmp_path, capsys):
    write_rows(texts, "dev", [("the wolf ran", "a lone wolf"), ("the dog sat", "a dog sat")])
    prepare(texts, tmp_path / "out", "--dict", words)
    facts = facts_of(tmp_path / "out", "valid")
    assert (facts["source"]["unknown"], facts["target"]["unknown"]) == (1, 2)
    shown = capsys.readouterr().out
    assert "1 source tokens (17 %)" in shown and "2 target tokens (33 %)" in shown


def test_min_count_leaves_out_what_train_lacks(texts, words, tmp_path):
    write_rows(texts, "dev", [("the unseen dog", "unseen dog")])
    prepare(texts, tmp_path / "full", "--dict", words)
    prepare(texts, tmp_path / "out", "--dict", words, "--min-count", 1)
    for side in ("source", "target"):
        lines = (tmp_path / "out" / f"dict.{side}.txt").read_text().splitlines()
        assert lines == words.read_text().splitlines()[1:]
        # The first word of the whole dictionary is gone, so all numbers are one less.
        for split in ("train", "test"):
            full, ours = (words_of(tmp_path / name, split, side) for name in ("full", "out"))
            assert full == ours
    assert rows_of(tmp_path / "out", "valid", "target") == [[UNK, 6, EOS]]
    assert facts_of(tmp_path / "out", "valid")["source"]["unknown"] == 1


def test_min_count_counts_both_sides_of_whole_rows(texts, words, tmp_path):
    """ "sat" stands in train 4 times, "." twice; dropped rows do not count."""
    write_rows(texts, "train", [*ROWS["train"], ("unseen unseen unseen . .", "")])
    prepare(texts, tmp_path / "out", "--dict", words, "--min-count", 3)
    kept = (tmp_path / "out" / "dict.source.txt").read_text().split()[::2]
    assert kept == ["a", "dog", "cat", "sat"]


# ---- done once, or not at all ----


def test_a_second_call_does_nothing(texts, words, tmp_path, capsys):
    out = tmp_path / "out"
    prepare(texts, out, "--dict", words)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    capsys.readouterr()
    assert prepare(texts, out, "--dict", words) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert times == {path: path.stat().st_mtime_ns for path in out.rglob("*")}


@pytest.mark.parametrize("flags", [["--max-source-tokens", "3"], ["--min-count", "1"]])
def test_other_settings_need_overwrite(flags, texts, words, tmp_path):
    prepare(texts, tmp_path / "out", "--dict", words)
    message = error_of(texts, tmp_path / "out", "--dict", words, *flags)
    assert flags[0] in message and "--overwrite" in message
    prepare(texts, tmp_path / "out", "--dict", words, *flags, "--overwrite")
    assert not list(tmp_path.glob(".out*"))


def test_an_interrupted_run_leaves_nothing(texts, words, tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(summarization, "_write_companions", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(texts, tmp_path / "out", "--dict", words)
    assert not list(tmp_path.glob("*out*"))


# ---- bad input ----


def test_other_numbers_of_lines(texts, words, tmp_path):
    (texts / "dev.target").write_text("dog\n")
    message = error_of(texts, tmp_path / "out", "--dict", words)
    assert f"{texts / 'dev.source'} has 2 lines and {texts / 'dev.target'} has 1" in message
    assert not list(tmp_path.glob("*out*"))


def test_a_blank_last_line_counts(texts, words, tmp_path):
    """Two files with one blank line at the end of one do not fit together."""
    with open(texts / "test.target", "a") as stream:
        stream.write("\n")
    assert "has 1 lines" in error_of(texts, tmp_path / "out", "--dict", words)


def test_files_that_are_missing_or_there_twice(texts, words, tmp_path):
    call = (texts, tmp_path / "out", "--dict", words)
    assert "is no folder" in error_of(tmp_path / "nowhere", *call[1:])
    (texts / "val.source").write_text("a\n")
    assert "keep one name a split" in error_of(*call)
    (texts / "val.source").unlink()
    (texts / "train.source.gz").write_bytes(b"")
    assert "train.source and train.source.gz" in error_of(*call)
    (texts / "train.source.gz").unlink()
    (texts / "test.target").unlink()
    assert "has test.source and no test.target" in error_of(*call)
    (texts / "test.source").unlink()
    (texts / "dev.source").unlink()
    assert "has dev.target and no dev.source" in error_of(*call)
    (texts / "dev.target").unlink()
    assert "has no valid.source or dev.source or val.source" in error_of(*call)


BAD_FILES = {
    "not UTF-8": ("train.source", b"a\nb\xff\nc\n", "train.source:2: is not UTF-8"),
    "no gzip": ("test.source.gz", b"a\n", "test.source.gz: cannot be read"),
    "gzip cut off": ("test.source.gz", gzip.compress(b"a dog\n")[:-9], "cannot be read"),
    "gzip damaged": ("test.source.gz", gzip.compress(b"a")[:10] + b"\xff" * 20, "cannot be read"),
    "empty": ("test.source", b"", "test.source has 0 lines"),
}


@pytest.mark.parametrize("name, data, part", BAD_FILES.values(), ids=list(BAD_FILES))
def test_bad_files(name, data, part, texts, words, tmp_path):
    (texts / name.removesuffix(".gz")).unlink()
    (texts / name).write_bytes(data)
    assert part in error_of(texts, tmp_path / "out", "--dict", words)
    assert not list(tmp_path.glob("*out*"))


def test_train_without_any_whole_row(texts, words, tmp_path):
    write_rows(texts, "train", [("", "dog"), ("a", "")])
    assert "no row has text on both sides" in error_of(texts, tmp_path / "out", "--dict", words)
    write_rows(texts, "train", [])
    assert "train.source: is empty" in error_of(texts, tmp_path / "out", "--dict", words)


def test_bad_settings_and_dictionary(texts, words, tmp_path):
    call = (texts, tmp_path / "out", "--dict", words)
    assert "--max-source-tokens 1" in error_of(*call, "--max-source-tokens", "1")
    assert "--min-count -1" in error_of(*call, "--min-count=-1")
    words.write_text("nothing 1\n")
    assert "another text's dictionary" in error_of(*call)
    assert not list(tmp_path.glob("*out*"))


# ---- GPT-2 BPE and real data ----


def test_bpe_files_come_along(texts, tiny_bpe, tmp_path):
    prepare(texts, tmp_path / "out", "--bpe-dir", tiny_bpe)
    for name in ("encoder.json", "vocab.bpe"):
        assert (tmp_path / "out/bpe" / name).read_bytes() == (tiny_bpe / name).read_bytes()


def test_words_need_no_bpe_folder(texts, words, tmp_path):
    prepare(texts, tmp_path / "out", "--dict", words)
    assert not (tmp_path / "out" / "bpe").exists()


def test_rare_bpe_tokens_are_taken_apart(texts, tiny_bpe, tmp_path):
    """ "dog" is the only token that is made of another merge's result."""
    write_rows(texts, "dev", [("dog do \u00e9", "dog")])
    prepare(texts, tmp_path / "full", "--bpe-dir", tiny_bpe)
    prepare(texts, tmp_path / "out", "--bpe-dir", tiny_bpe, "--min-count", 5)
    numbers = json.loads((tiny_bpe / "encoder.json").read_text())
    symbols = {str(number): symbol for symbol, number in numbers.items()}
    for name, dog, do in (("full", ["dog"], ["do"]), ("out", ["d", "o", "g"], ["d", "o"])):
        row = [symbols.get(word) for word in words_of(tmp_path / name, "valid", "source")[0]]
        assert row == [*dog, "\u0120", *do, "\u0120", "\u00c3", "\u00a9", None]
        assert facts_of(tmp_path / name, "valid")["target"]["tokens"] == len(dog)
    assert len((tmp_path / "out" / "dict.target.txt").read_text().splitlines()) == 256


def test_a_trimmed_dictionary_serves_other_texts(texts, tiny_bpe, tmp_path):
    """As --dict it gives the numbers that it was made with, and knows all text."""
    prepare(texts, tmp_path / "one", "--bpe-dir", tiny_bpe, "--min-count", 5)
    dictionary = tmp_path / "one" / "dict.source.txt"
    prepare(texts, tmp_path / "two", "--bpe-dir", tiny_bpe, "--dict", dictionary)
    for split in ("train", "valid", "test"):
        for side in ("source", "target"):
            one, two = (rows_of(tmp_path / name, split, side) for name in ("one", "two"))
            assert one == two
            assert not facts_of(tmp_path / "two", split)[side]["unknown"]


@pytest.mark.slow
@pytest.mark.parametrize("min_count, types", [(0, 50264), (20, None)])
def test_scitldr_decodes_to_its_own_text(min_count, types, shared_data, tmp_path):
    from fairseq.data.encoders.gpt2_bpe import GPT2BPE, GPT2BPEConfig

    bpe_flags = ["--bpe-dir", shared_data / "gpt2_bpe", "--min-count", min_count]
    prepare(shared_data / "scitldr", tmp_path / "out", *bpe_flags)
    loaded = Dictionary.load(str(tmp_path / "out" / "dict.source.txt"))
    assert len(loaded) == types if types else 256 < len(loaded) < 5000
    bpe = tmp_path / "out" / "bpe"
    config = GPT2BPEConfig(
        gpt2_encoder_json=str(bpe / "encoder.json"), gpt2_vocab_bpe=str(bpe / "vocab.bpe")
    )
    decoder = GPT2BPE(config)
    for split, rows in (("train", 1992), ("valid", 619), ("test", 618)):
        facts = facts_of(tmp_path / "out", split)
        assert facts["rows"] == rows
        assert not facts["source"]["unknown"] and not facts["truncated"]
    summaries = words_of(tmp_path / "out", "test", "target")
    references = (tmp_path / "out" / "test.reference").read_text().splitlines()
    for summary, reference in zip(summaries, references, strict=True):
        assert decoder.decode(" ".join(summary[:-1])) == reference.strip()
