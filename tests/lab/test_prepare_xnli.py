"""`rxf prepare xnli`: both official forms, SentencePiece as XLM-R has it, and bad input."""

import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

import pytest
from fairseq.data import Dictionary
from fairseq.data.encoders.sentencepiece_bpe import SentencepieceBPE, SentencepieceConfig
from fairseq.tasks.sentence_prediction import SentencePredictionConfig, SentencePredictionTask

from rxf import cli
from rxf.errors import UserError
from rxf.lab.prepare.tokens import sentencepiece_encoder
from rxf.lab.prepare.xnli import LANGUAGES, in_order
from rxf.lab.prepared import read_prepared
from tests.lab.sentence_pieces import Pieces, train_pieces

BOS, EOS = 0, 2
LABELS = ("entailment", "neutral", "contradiction")
HEADER = ["language", "gold_label", "sentence1_binary_parse", "sentence1", "sentence2", "match"]
# In the order of an official file, by the alphabet.
TEXT = {
    "de": ("der Hund läuft", "ein Hund schläft nicht"),
    "en": ("the dog runs", "a dog does not sleep"),
    "zh": ("狗在跑。", "狗没有睡觉。"),
}
Row = tuple[str, str, str]


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Pieces:
    """Trained on the sentences above and below; for reading only."""
    folder = tmp_path_factory.mktemp("pieces")
    source = random.Random(1)
    words = [word for sentences in TEXT.values() for text in sentences for word in text.split()]
    text = [" ".join(source.choices(words, k=6)) for _ in range(300)]
    return train_pieces(folder, text, vocabulary=80)


def rows_of(language: str) -> list[Row]:
    premise, hypothesis = TEXT[language]
    return [(premise, hypothesis, label) for label in LABELS] + [(hypothesis, premise, "neutral")]


def write(path: Path, rows: Sequence[Sequence[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


def write_official(root: Path) -> Path:
    """The two archives, unpacked beside each other."""
    for kind in ("dev", "test"):
        rows = [
            [language, label, "( parse )", premise, hypothesis, "True"]
            for language in TEXT
            for premise, hypothesis, label in rows_of(language)
        ]
        write(root / "XNLI-1.0" / f"xnli.{kind}.tsv", [HEADER, *rows])
    spelt = [
        (premise, hypothesis, label.replace("contradiction", "contradictory"))
        for premise, hypothesis, label in rows_of("en")
    ]
    folder = root / "XNLI-MT-1.0" / "multinli"
    write(folder / "multinli.train.en.tsv", [("premise", "hypo", "label"), *spelt])
    return root


def write_by_language(root: Path, test: bool = True) -> Path:
    for language in TEXT:
        for kind in ("dev", "test") if test else ("dev",):
            write(root / f"{kind}-{language}.tsv", rows_of(language))
    write(root / "train-en.tsv", rows_of("en"))
    return root


FORMS = {"official": write_official, "by language": write_by_language}


def prepare(*words: object) -> int:
    return cli.main(["prepare", "xnli", *map(str, words)])


def error_of(*words: object) -> str:
    with pytest.raises(UserError) as caught:
        prepare(*words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def manifest_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "prepare.json").read_text(encoding="utf-8"))


def read_back(out: Path, split: str, pieces: Pieces) -> list[Row]:
    """Rows as fairseq-train would see them, turned back into text."""
    task = SentencePredictionTask.setup_task(
        SentencePredictionConfig(
            data=str(out), num_classes=3, init_token=BOS, separator_token=EOS, no_shuffle=True,
            regression_target=False, seed=1,
        )
    )  # fmt: skip
    labels = task.label_dictionary
    found = []
    for item in task.load_dataset(split):
        words = task.source_dictionary.string(item["net_input.src_tokens"][1:], include_eos=True)
        first, second = words.removesuffix(" </s>").split(" </s> </s> ")
        texts = [side.replace(" ", "").replace("\u2581", " ").strip() for side in (first, second)]
        found.append((*texts, labels[int(item["target"]) + labels.nspecial]))
    return found


# ---- what is written ----


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_splits_of_every_language(
    form: Callable[[Path], Path], pieces: Pieces, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    assert prepare(form(tmp_path / "raw"), out, *pieces.flags) == 0
    languages = ("en", "de", "zh")
    splits = ["train", "valid", *(f"{k}-{name}" for k in ("dev", "test") for name in languages)]
    assert list(manifest_of(out)["splits"]) == splits
    for split in splits:
        language = split.partition("-")[2] or "en"
        assert read_back(out, split, pieces) == rows_of(language), split
    assert "dev-zh" in capsys.readouterr().out
    prepared = read_prepared(out)
    assert (prepared.name, prepared.num_classes, prepared.metric) == ("XNLI", 3, "accuracy")
    assert (prepared.train_rows, prepared.valid_rows) == (4, 4)


def test_both_forms_come_to_the_same(pieces: Pieces, tmp_path: Path) -> None:
    outs = [tmp_path / f"out{number}" for number in range(2)]
    for out, form in zip(outs, FORMS.values(), strict=True):
        prepare(form(tmp_path / f"raw {out.name}"), out, *pieces.flags)
    sizes = manifest_of(outs[0])["files"]
    assert sizes == manifest_of(outs[1])["files"]
    for name in sizes:
        assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes(), name


def test_test_files_may_be_missing_and_packed_ones_are_read(pieces: Pieces, tmp_path: Path) -> None:
    raw = write_by_language(tmp_path / "raw", test=False)
    plain = raw / "dev-de.tsv"
    (raw / "dev-de.tsv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    message = error_of(raw, tmp_path / "out", *pieces.flags)
    assert "holds dev-de.tsv and dev-de.tsv.gz: keep one" in message
    plain.unlink()
    prepare(raw, tmp_path / "out", *pieces.flags)
    assert list(manifest_of(tmp_path / "out")["splits"]) == [
        *("train", "valid", "dev-en", "dev-de", "dev-zh")
    ]
    assert read_back(tmp_path / "out", "dev-de", pieces) == rows_of("de")


def test_training_rows_from_another_file(pieces: Pieces, tmp_path: Path) -> None:
    raw = write_by_language(tmp_path / "raw")
    mnli = [("index", "sentence1", "sentence2", "label1", "gold_label")]
    mnli += [("7", *row[:2], "neutral", row[2]) for row in rows_of("en")]
    write(tmp_path / "train.tsv", mnli)
    flags = [*pieces.flags, "--train", tmp_path / "train.tsv", "--train-rows", 3]
    prepare(raw, tmp_path / "out", *flags)
    assert read_back(tmp_path / "out", "train", pieces) == rows_of("en")[:3]
    facts = manifest_of(tmp_path / "out")["splits"]
    assert facts["train"]["official_rows"] is None and facts["dev-de"]["official_rows"] == 2490


def test_languages_are_in_the_order_of_the_paper() -> None:
    assert in_order(["zh", "xx", "en", "aa", "fr"]) == ["en", "fr", "zh", "aa", "xx"]
    assert len(LANGUAGES) == len(set(LANGUAGES)) == 15


def test_a_second_call_does_nothing(
    pieces: Pieces, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    raw, out = write_official(tmp_path / "raw"), tmp_path / "out"
    prepare(raw, out, *pieces.flags)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    prepare(raw, out, *pieces.flags)
    assert "nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    message = error_of(raw, out, *pieces.flags, "--train-rows", 2)
    assert "prepared from other files (--train-rows)" in message
    prepare(raw, out, *pieces.flags, "--train-rows", 2, "--overwrite")
    assert manifest_of(out)["splits"]["train"]["rows"] == 2


# ---- SentencePiece ----


def test_tokens_are_those_of_xlm_r(pieces: Pieces) -> None:
    """fairseq's own encoder and dictionary, put together as its hub interface does."""
    bpe = SentencepieceBPE(SentencepieceConfig(sentencepiece_model=str(pieces.model)))
    dictionary = Dictionary.load(str(pieces.dictionary))
    encode = sentencepiece_encoder(pieces.model, pieces.dictionary).encode
    texts = [text for sentences in TEXT.values() for text in sentences]
    texts += ["  der\u3000Hund ", "<s> the </s> <mask>", "a\u2028dog\tñ", "", "日本 Ω"]
    seen = set()
    for text in texts:
        wanted = dictionary.encode_line(bpe.encode(text), append_eos=False, add_if_not_exist=False)
        assert encode(text) == wanted.tolist()
        seen.update(encode(text))
    assert dictionary.unk() in seen and len(seen) > 10


def test_mask_is_the_last_row_of_the_task(pieces: Pieces, tmp_path: Path) -> None:
    prepare(write_official(tmp_path / "raw"), tmp_path / "out", *pieces.flags)
    words = pieces.dictionary.read_text(encoding="utf-8").splitlines()
    task = SentencePredictionTask.setup_task(
        SentencePredictionConfig(data=str(tmp_path / "out"), num_classes=3, regression_target=False)
    )
    # 250,002 of XLM-R's 249,997.
    assert len(task.source_dictionary) == len(words) + 5
    assert task.source_dictionary[len(words) + 4] == "<mask>"


# ---- bad input ----


def change(name: str, rows: Sequence[Sequence[str]]) -> Callable[[Path], None]:
    return lambda root: write(root / name, rows)


DEV, TRAIN = "XNLI-1.0/xnli.dev.tsv", "XNLI-MT-1.0/multinli/multinli.train.en.tsv"
GOOD = ["en", "neutral", "( parse )", "the dog", "a dog", "True"]
BAD_FILES = {
    "no English": (change(DEV, [HEADER, ["de", *GOOD[1:]]]), "English rows are missing"),
    "no language column": (change(DEV, [HEADER[1:], GOOD[1:]]), "no column 'language'"),
    "a broken row": (change(DEV, [HEADER, GOOD, GOOD[:-1]]), "xnli.dev.tsv:3: 5 tab-separated"),
    "another label": (
        change(DEV, [HEADER, ["en", "-", *GOOD[2:]]]),
        "label '-' is none of XNLI's (contradiction, entailment, neutral)",
    ),
    "an empty sentence": (
        change(DEV, [HEADER, [*GOOD[:3], "", *GOOD[4:]]]),
        "xnli.dev.tsv:2: empty sentence",
    ),
    "two columns": (change(TRAIN, [("a", "b")]), "2 tab-separated fields where 3 are due"),
    "both forms": (change("dev-en.tsv", [GOOD]), "holds xnli.dev.tsv and dev-en.tsv: keep one"),
    "no dev": (lambda root: (root / DEV).unlink(), "no xnli.dev.tsv and no dev-LL.tsv"),
    "no train": (lambda root: (root / TRAIN).unlink(), "or give --train FILE"),
}


@pytest.mark.parametrize("break_it, told", BAD_FILES.values(), ids=list(BAD_FILES))
def test_bad_files(break_it: Any, told: str, pieces: Pieces, tmp_path: Path) -> None:
    raw = write_official(tmp_path / "raw")
    break_it(raw)
    assert told in error_of(raw, tmp_path / "out", *pieces.flags)
    assert not list(tmp_path.glob("*out*"))


def test_bad_flags(pieces: Pieces, tmp_path: Path) -> None:
    raw, out, (spm, dictionary) = write_official(tmp_path / "raw"), tmp_path / "out", pieces
    words = tmp_path / "words.txt"
    words.write_text("".join(f"word{number} 1\n" for number in range(9)))
    calls = {
        "is no folder": (tmp_path / "nowhere", out, *pieces.flags),
        "--train x.tsv": (raw, out, *pieces.flags, "--train", "x.tsv"),
        "--train-rows 0": (raw, out, *pieces.flags, "--train-rows", 0),
        "has 4: give less": (raw, out, *pieces.flags, "--train-rows", 5),
        "--spm wants --dict too": (raw, out, "--spm", spm),
        "--spm: there is no file x": (raw, out, "--spm", "x", "--dict", dictionary),
        "--dict: there is no file x": (raw, out, "--spm", spm, "--dict", "x"),
        "is no SentencePiece model": (raw, out, "--spm", dictionary, "--dict", dictionary),
        "the other flags are GPT-2 BPE": (raw, out, *pieces.flags, "--bpe-dir", raw),
        "another text's dictionary": (raw, out, "--spm", spm, "--dict", words),
    }
    for told, call in calls.items():
        assert told in error_of(*call)
    assert not list(tmp_path.glob("*out*"))
