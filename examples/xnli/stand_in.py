"""What xnli.sh --smoke runs on: XNLI in its official form, in four made-up languages.

    python examples/xnli/stand_in.py FOLDER

FOLDER gets XNLI-1.0/, XNLI-MT-1.0/multinli/, a SentencePiece model trained on that text, its
dict.txt, and a tiny random model.  It shows that the commands fit together, and nothing else.
"""

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import sentencepiece

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from examples.stand_in import TINY_ROBERTA, write_model

LANGUAGES = {"en": "", "de": "en", "sw": "wa", "zh": "字"}
WORDS = ("dog", "cat", "runs", "sleeps", "red", "old", "house", "tree", "small", "river")
# Each label's word gives it away.
LABELS = {"entailment": "so", "neutral": "maybe", "contradiction": "never"}
ROWS = {"train": 48, "dev": 12, "test": 15}
VOCABULARY = 120
# Those of the official files; the ones that nothing reads are empty.
COLUMNS = (
    *("language", "gold_label", "sentence1_binary_parse", "sentence2_binary_parse"),
    *("sentence1_parse", "sentence2_parse", "sentence1", "sentence2", "promptID", "pairID"),
    *("genre", "label1", "label2", "label3", "label4", "label5", "sentence1_tokenized"),
    *("sentence2_tokenized", "match"),
)

Row = tuple[str, str, str]


def rows(count: int, ending: str, seed: int) -> Iterator[Row]:
    """Premise, hypothesis and label; a language is English with an ending to each word."""
    source = random.Random(seed)
    for number in range(count):
        label = list(LABELS)[number % 3]
        premise = source.choices(WORDS, k=source.randint(3, 8))
        hypothesis = [LABELS[label], *source.choices(WORDS, k=source.randint(2, 5))]
        yield (
            " ".join(word + ending for word in premise),
            " ".join(word + ending for word in hypothesis),
            label,
        )


def write_evaluation(path: Path, count: int) -> None:
    lines = ["\t".join(COLUMNS)]
    for language, ending in LANGUAGES.items():
        for premise, hypothesis, label in rows(count, ending, seed=count):
            filled = {"language": language, "gold_label": label}
            filled |= {"sentence1": premise, "sentence2": hypothesis}
            lines.append("\t".join(filled.get(column, "") for column in COLUMNS))
    write(path, lines)


def write_train(path: Path) -> None:
    lines = ["premise\thypo\tlabel"]
    for premise, hypothesis, label in rows(ROWS["train"], "", seed=1):
        spelt = "contradictory" if label == "contradiction" else label
        lines.append(f"{premise}\t{hypothesis}\t{spelt}")
    write(path, lines)


def write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_pieces(folder: Path) -> None:
    """SentencePiece trained on the rows, and its pieces as fairseq's dictionary."""
    text = [
        sentence
        for ending in LANGUAGES.values()
        for premise, hypothesis, _ in rows(200, ending, seed=2)
        for sentence in (premise, hypothesis)
    ]
    model = folder / "sentencepiece.bpe.model"
    with model.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(text),
            model_writer=file,
            vocab_size=VOCABULARY,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
    # fairseq has <unk>, <s> and </s> of its own.
    names = [pieces.id_to_piece(number) for number in range(3, pieces.get_piece_size())]
    write(folder / "dict.txt", [f"{name} 1" for name in names])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    write_train(folder / "XNLI-MT-1.0" / "multinli" / "multinli.train.en.tsv")
    for kind in ("dev", "test"):
        write_evaluation(folder / "XNLI-1.0" / f"xnli.{kind}.tsv", ROWS[kind])
    write_pieces(folder)
    # The last one: where it is, all are.
    write_model(folder / "model.pt", folder / "dict.txt", TINY_ROBERTA)


if __name__ == "__main__":
    main()
