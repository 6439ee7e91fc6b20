"""``python examples/translation/stand_in.py FOLDER SOURCE TARGET``: what --smoke runs on.

FOLDER gets train, valid and test in two languages: a sentence, and the same in capitals.
"""

import random
import sys
from pathlib import Path
from typing import Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from examples.stand_in import sentence

# Enough for SentencePiece to find its pieces in.
ROWS = {"train": 400, "valid": 8, "test": 8}


def main(argv: Optional[list[str]] = None) -> None:
    out, source, target = argv or sys.argv[1:]
    folder, chosen = Path(out), random.Random(1)
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in ROWS.items():
        lines = [sentence(chosen, row) + "\n" for row in range(rows)]
        (folder / f"{split}.{source}").write_text("".join(lines), encoding="utf-8")
        (folder / f"{split}.{target}").write_text("".join(lines).upper(), encoding="utf-8")


if __name__ == "__main__":
    main()
