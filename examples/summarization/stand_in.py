"""``python examples/summarization/stand_in.py FOLDER``: what --smoke forms run on.

FOLDER gets train, dev and test .source and .target (a summary is the text's first two words),
running text for the denoising, bpe/, a tiny random BART model.pt, and its flags in model_flags.
"""

import random
import sys
from pathlib import Path
from typing import Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from examples.stand_in import TINY_BART, sentence, write_bpe, write_model
from rxf.lab.model_flags import model_flags

ROWS = {"train": 40, "dev": 8, "test": 8}
TEXT_ROWS = {"train": 60, "valid": 10}


def write_pairs(folder: Path) -> None:
    source = random.Random(1)
    for split, rows in ROWS.items():
        texts = [sentence(source, row) for row in range(rows)]
        _write(folder / f"{split}.source", texts)
        _write(folder / f"{split}.target", [" ".join(text.split()[:2]) for text in texts])


def write_text(folder: Path) -> None:
    source = random.Random(2)
    for split, rows in TEXT_ROWS.items():
        _write(folder / f"{split}.txt", [f"{sentence(source, row)} ." for row in range(rows)])


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def main(argv: Optional[list[str]] = None) -> None:
    (out,) = argv or sys.argv[1:]
    folder = Path(out)
    write_pairs(folder)
    write_text(folder)
    bpe = write_bpe(folder / "bpe")
    _write(folder / "model_flags", [" ".join(model_flags(TINY_BART))])
    # Last: it says that all is there.
    write_model(folder / "model.pt", bpe / "dict.txt", TINY_BART)


if __name__ == "__main__":
    main()
