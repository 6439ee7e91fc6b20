"""The readers of files on whatever may stand in one: read right, or refused in one line.

What is right is stated here anew, without the code that is tested. The examples are the same in
every run.
"""

import gzip
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rxf.errors import UserError
from rxf.fairseq_fixes.checkpoint_allow_list import CheckpointRefused, load
from rxf.lab.files import read_json
from rxf.lab.paired_files import read_pairs
from rxf.lab.prepare import tokens
from rxf.lab.prepare.lines import read_lines
from rxf.lab.prepare.summarization import prepare_summarization
from rxf.lab.prepare.tsv import read_table
from rxf.lab.prepared import read_prepared
from rxf.lab.runs.log import last_error, read_log, updates_so_far
from tests.support import write_sentence_data

T = TypeVar("T")


def examples(number: int) -> Callable[[T], T]:
    """So many examples a test, the same ones each time."""
    quiet = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    return settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=quiet,
    )


def written(content: bytes, name: str = "file") -> Path:
    """A file with this content, in a folder of its own."""
    path = Path(tempfile.mkdtemp(dir=_folder[0])) / name
    path.write_bytes(content)
    return path


_folder: list[Path] = []


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    _folder.append(tmp_path_factory.mktemp("files"))


def one_line(error: Exception, *paths: Path) -> None:
    """The error names one of the files, in a single line."""
    text = str(error)
    assert "\n" not in text and "\r" not in text, text
    assert any(str(path) in text for path in paths), text


# A text is more often one that a file may hold than one of random signs.
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=20)
WORDS = st.text('ab\t\r "\u2028\xa0', max_size=12)
ROUGH = st.lists(TEXTS | WORDS, max_size=8).map(lambda lines: "\n".join(lines).encode())
BYTES = st.binary(max_size=60) | ROUGH


def lines_of(content: bytes) -> "list[str] | None":
    """What the lines are, None where they are no UTF-8."""
    try:
        text = content.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError:
        return None
    found = text.split("\n")
    if found[-1] == "":
        found.pop()
    return [line[:-1] if line.endswith("\r") else line for line in found]


# ------------------------------------------------------------------------ lines


@given(BYTES)
@examples(150)
def test_lines(content: bytes) -> None:
    path = written(content)
    wanted = lines_of(content)
    if wanted is None:
        with pytest.raises(UserError) as caught:
            list(read_lines(path))
        one_line(caught.value, path)
    else:
        assert list(read_lines(path)) == wanted


@given(ROUGH, st.integers(0, 200), st.binary(max_size=4))
@examples(150)
def test_gzipped_lines_that_were_cut_and_changed(content: bytes, kept: int, changed: bytes) -> None:
    whole = gzip.compress(content, mtime=0)
    damaged = whole[:kept] + changed + whole[kept + len(changed) :]
    path = written(damaged[: max(kept, len(damaged) - len(changed))], "file.gz")
    try:
        got = list(read_lines(path))
    except UserError as error:
        one_line(error, path)
    else:
        assert got == lines_of(gzip.decompress(path.read_bytes()) if path.stat().st_size else b"")


# -------------------------------------------------------------------------- tsv

CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\n\t\r"), max_size=6)


@given(st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=6))
@examples(150)
def test_tables(rows: list[list[str]]) -> None:
    lines = ["\t".join(row) for row in [["one", "two", "three"], *rows]]
    path = written("\n".join(lines).encode())
    while lines[-1] == "":
        lines.pop()
    if len(lines) == 1:
        with pytest.raises(UserError, match="has a header and no rows"):
            read_table(path, ("three", "one"))
        return
    table = read_table(path, ("three", "one"))
    cells = {number: line.split("\t") for number, line in enumerate(lines[1:], start=2)}
    whole = {number: row for number, row in cells.items() if len(row) == 3}
    assert table.found == len(cells)
    assert {row.line: row.values for row in table.rows} == {
        number: (row[2].strip(), row[0].strip()) for number, row in whole.items()
    }
    assert len(table.dropped) == len(cells) - len(whole)


@given(BYTES)
@examples(100)
def test_tables_of_anything(content: bytes) -> None:
    path = written(content)
    try:
        table = read_table(path, ("a", "b"))
    except UserError as error:
        one_line(error, path)
    else:
        assert (lines_of(content) or [""])[0].split("\t").count("a") >= 1
        assert table.found == len(table.rows) + len(table.dropped)


# ----------------------------------------------------------------- dictionaries

SYMBOLS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=5
)


@given(st.dictionaries(SYMBOLS, st.integers(0, 10**6), min_size=1, max_size=8))
@examples(80)
def test_dictionaries(counts: dict[str, int]) -> None:
    names = [name for name in counts if name not in ("<s>", "<pad>", "</s>", "<unk>")]
    path = written("".join(f"{name} {counts[name]}\n" for name in names).encode())
    if not names:
        return
    encoder = tokens.word_encoder(path)
    numbers = encoder.encode(" ".join(names))
    # Four special symbols come first, then the file's order.
    assert numbers == list(range(4, 4 + len(names)))


@given(
    BYTES
    | st.lists(st.sampled_from(["a 1", "b -1", "<s> 2", "a 1 #fairseq:overwrite", "c"])).map(
        lambda lines: "\n".join(lines).encode()
    )
)
@examples(120)
def test_dictionaries_of_anything(content: bytes) -> None:
    path = written(content)
    try:
        encoder = tokens.word_encoder(path)
    except UserError as error:
        one_line(error, path)
    else:
        assert len(encoder.dictionary) > encoder.dictionary.nspecial


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70_000) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)
MERGES = st.lists(st.sampled_from(["a b", "ab c", "a", "a b c", "", "#version", "é b"]), max_size=5)


@given(JSON, MERGES)
@example({"a": [1]}, ["#version", "a b", ""])
@examples(120)
def test_bpe_of_anything(encoder: Any, merges: list[str]) -> None:
    symbols = written(json.dumps(encoder).encode(), "encoder.json")
    rules = written("\n".join(merges).encode(), "vocab.bpe")
    dictionary = written(b"1 1\n", "dict.txt")
    with pytest.raises(UserError) as caught:
        tokens.gpt2_encoder(symbols, rules, dictionary)
    one_line(caught.value, symbols)


# ---------------------------------------------------------------- pairs of lines


@given(ROUGH, ROUGH)
@examples(60)
def test_summarization_pairs(source: bytes, target: bytes) -> None:
    files = Path(tempfile.mkdtemp(dir=_folder[0]))
    for split in ("train", "val"):
        (files / f"{split}.source").write_bytes(source)
        (files / f"{split}.target").write_bytes(target)
    encoder = tokens.word_encoder(written(b"a 1\nb 1\nab 1\nba 1\n"))
    sides = [lines_of(side) or [] for side in (source, target)]
    whole = [all(text.strip() for text in pair) for pair in zip(*sides, strict=False)]
    try:
        made = prepare_summarization(files, encoder, files / "out")
    except UserError as error:
        one_line(error, files, *encoder.files.values())
        assert not (files / "out").exists()
        unknown = "another text's dictionary" in str(error)
        assert len(sides[0]) != len(sides[1]) or not any(whole) or unknown
    else:
        assert made["splits"]["train"]["rows"] == sum(whole)
        assert made["splits"]["valid"]["rows"] == len(whole) == len(sides[0]) == len(sides[1])


@given(ROUGH, st.lists(JSON | st.lists(TEXTS, min_size=1, max_size=3), min_size=1, max_size=4))
@examples(120)
def test_rouge_references(output: bytes, references: list[Any]) -> None:
    lines = [json.dumps(value) for value in references]
    reference, summary = written("\n".join(lines).encode(), "r.jsonl"), written(output)
    try:
        pairs = read_pairs(reference, summary)
    except UserError as error:
        one_line(error, reference, summary)
    else:
        assert pairs.outputs == lines_of(output)
        strings = [value for value in references if isinstance(value, list)]
        assert [texts for texts in pairs.references if texts in strings] == strings


@given(BYTES, BYTES)
@examples(80)
def test_rouge_files_of_anything(reference: bytes, output: bytes) -> None:
    paths = written(reference), written(output)
    try:
        pairs = read_pairs(*paths)
    except UserError as error:
        one_line(error, *paths)
    else:
        assert [texts[0] for texts in pairs.references] == lines_of(reference)
        assert pairs.outputs == lines_of(output)


# ---------------------------------------------------------------- prepare.json

FACTS: dict[str, Any] = {
    "task": "MADE",
    "num_classes": 2,
    "best_metric": "accuracy",
    "fairseq_train_flags": ["--task", "sentence_prediction"],
    "splits": {"train": {"rows": 8}, "valid": {"rows": 24}},
}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sentence_data(tmp_path_factory.mktemp("task"), rows=8)


def test_a_prepared_task(task: Path) -> None:
    (task / "prepare.json").write_text(json.dumps(FACTS))
    prepared = read_prepared(task)
    assert (prepared.name, prepared.train_rows, prepared.valid_rows) == ("MADE", 8, 24)


@given(st.sampled_from(list(FACTS)), JSON)
@example("num_classes", "many")
@example("splits", {"train": {"rows": 1e999}, "valid": {"rows": 1}})
@examples(150)
def test_a_prepared_task_with_another_value(task: Path, key: str, value: Any) -> None:
    (task / "prepare.json").write_text(json.dumps({**FACTS, key: value}))
    try:
        prepared = read_prepared(task)
    except UserError as error:
        one_line(error, task)
    else:
        assert prepared.num_classes == int({**FACTS, key: value}["num_classes"])
        assert all(isinstance(flag, str) for flag in prepared.flags)


@given(BYTES | JSON.map(lambda value: json.dumps(value).encode()))
@examples(80)
def test_a_prepared_task_of_anything(task: Path, content: bytes) -> None:
    (task / "prepare.json").write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_prepared(task)
    one_line(caught.value, task)


@given(st.binary(max_size=60))
@examples(40)
def test_a_prepared_task_whose_labels_are_anything(content: bytes) -> None:
    folder = write_sentence_data(Path(tempfile.mkdtemp(dir=_folder[0])), rows=8)
    (folder / "prepare.json").write_text(json.dumps(FACTS))
    (folder / "label" / "valid.idx").write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_prepared(folder)
    one_line(caught.value, folder)


# --------------------------------------------------------------- logs and records

NUMBERS = st.integers(0, 99).map(str) | st.sampled_from(["nan", "1e-3", "", "x", "-1", "inf"])
EVENTS = st.dictionaries(
    st.sampled_from(["num_updates", "wps", "wpb", "valid_accuracy", "valid_num_updates"]),
    NUMBERS | JSON,
    max_size=5,
)
TAGS = st.sampled_from(["train_inner", "valid", "train"])
LOGGED = st.builds(lambda tag, event: f"x | INFO | {tag} | {json.dumps(event)}", TAGS, EVENTS)


@given(st.lists(LOGGED | TEXTS, max_size=6), st.binary(max_size=8))
@examples(100)
def test_logs(lines: list[str], end: bytes) -> None:
    """What is no event as fairseq writes them is passed over, at a line's end or within."""
    good = 'y | INFO | valid | {"valid_accuracy": "50.5", "valid_num_updates": "7"}'
    path = written("\n".join([*lines, good, ""]).encode() + end)
    log = read_log(path, "accuracy")
    assert log.values[7] == 50.5
    assert log.updates >= 7
    assert "\n" not in last_error(path, 1)
    assert updates_so_far(path) >= 0


@given(BYTES)
@examples(60)
def test_json_files_of_anything(content: bytes) -> None:
    path = written(content)
    found = read_json(path)
    if found is not None:
        assert json.loads(content) == found or found != found


# ------------------------------------------------------------------- checkpoints

STATE = {
    "model": {"weight": torch.arange(12.0).view(3, 4)},
    "extra_state": {"train_iterator": {"epoch": 1}, "best": 0.5},
    "optimizer_history": [{"criterion_name": "C", "num_updates": 3}],
}


def _saved(zipped: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(STATE, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


SAVED = {zipped: _saved(zipped) for zipped in (True, False)}
CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4)


@given(st.booleans(), CHANGES, st.floats(0, 1) | st.just(1.0))
@examples(250)
def test_checkpoints_that_were_changed(
    zipped: bool, changes: list[tuple[float, int]], kept: float
) -> None:
    """A changed weight cannot be told from a right one; anything else is refused."""
    content = bytearray(SAVED[zipped])
    for place, byte in changes:
        content[int(place * (len(content) - 1))] = byte
    path = written(bytes(content[: int(kept * len(content))]), "model.pt")
    try:
        state = load(path, map_location="cpu")
    except (CheckpointRefused, OSError) as error:
        assert "\n" not in str(error)
    else:
        unchanged = path.read_bytes() == SAVED[zipped]
        assert not unchanged or torch.equal(state["model"]["weight"], STATE["model"]["weight"])


@given(BYTES)
@examples(80)
def test_checkpoints_of_anything(content: bytes) -> None:
    with pytest.raises(CheckpointRefused) as caught:
        load(written(content, "model.pt"))
    assert "\n" not in str(caught.value)
