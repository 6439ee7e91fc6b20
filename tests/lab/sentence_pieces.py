"""A small SentencePiece model, in the form in which XLM-R has it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import sentencepiece


class Pieces(NamedTuple):
    """A SentencePiece model and the dictionary of its pieces, but for the first three."""

    model: Path
    dictionary: Path

    @property
    def flags(self) -> list[str]:
        return ["--spm", str(self.model), "--dict", str(self.dictionary)]


def train_pieces(folder: Path, text: Sequence[str], vocabulary: int) -> Pieces:
    """A model trained on ``text``, with about as many pieces as ``vocabulary`` says."""
    found = Pieces(folder / "sentencepiece.bpe.model", folder / "dict.txt")
    with found.model.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(text),
            model_writer=file,
            vocab_size=vocabulary,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    processor = sentencepiece.SentencePieceProcessor(model_file=str(found.model))
    names = [processor.id_to_piece(number) for number in range(3, processor.get_piece_size())]
    found.dictionary.write_text("".join(f"{name} 1\n" for name in names), encoding="utf-8")
    return found
