"""Learn a SentencePiece model on both sides of the training text, and cut all splits with it.

    python examples/translation/pieces.py TEXT OUT SOURCE TARGET [--vocabulary N]

OUT gets ``sentencepiece.model``, ``SPLIT.LANGUAGE`` for train, valid and test, and
``dict.txt``, the pieces in the form of fairseq's dictionaries.
"""

import argparse
from pathlib import Path
from typing import Any

SPLITS = ("train", "valid", "test")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("text", type=Path, help="folder with SPLIT.LANGUAGE, a sentence a line")
    parser.add_argument("out", type=Path)
    parser.add_argument("source", help="a language: how its files end")
    parser.add_argument("target")
    parser.add_argument("--vocabulary", type=int, default=8000, help="pieces, at most")
    parser.add_argument("--coverage", type=float, default=1.0, help="of the characters")
    return parser.parse_args()


def learn(args: argparse.Namespace) -> Any:
    import sentencepiece

    files = [args.text / f"train.{language}" for language in (args.source, args.target)]
    sentencepiece.SentencePieceTrainer.train(
        input=",".join(map(str, files)),
        model_prefix=str(args.out / "sentencepiece"),
        model_type="bpe",
        vocab_size=args.vocabulary,
        character_coverage=args.coverage,
        # A small text has fewer pieces than were asked for.
        hard_vocab_limit=False,
        minloglevel=1,
    )
    return sentencepiece.SentencePieceProcessor(str(args.out / "sentencepiece.model"))


def write_dictionary(model: Any, path: Path) -> None:
    """Without <unk>, <s> and </s>, which fairseq brings along."""
    pieces = (model.id_to_piece(number) for number in range(3, model.get_piece_size()))
    path.write_text("".join(f"{piece} 1\n" for piece in pieces), encoding="utf-8")


def cut(model: Any, path: Path, out: Path) -> int:
    """Returns how many lines there were."""
    lines = path.read_text(encoding="utf-8").split("\n")
    if not lines[-1]:
        lines.pop()
    cut_up = (" ".join(model.encode(line.strip(), out_type=str)) for line in lines)
    out.write_text("".join(line + "\n" for line in cut_up), encoding="utf-8")
    return len(lines)


def main() -> None:
    args = parse()
    args.out.mkdir(parents=True, exist_ok=True)
    model = learn(args)
    for split in SPLITS:
        names = [f"{split}.{language}" for language in (args.source, args.target)]
        here, there = (cut(model, args.text / name, args.out / name) for name in names)
        if here != there:
            raise SystemExit(
                f"pieces.py: error: {args.text / split}: {here} lines of {args.source} and "
                f"{there} of {args.target}"
            )
    write_dictionary(model, args.out / "dict.txt")


if __name__ == "__main__":
    main()
