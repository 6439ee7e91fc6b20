"""The dictionary of a model in both spellings.

The embeddings' rows are in fairseq's order in both libraries: ``<s> <pad> </s> <unk>``, then the
lines of dict.txt, then ``<mask>`` where the task adds it.  What differs is how a row is called:

* GPT-2 BPE.  fairseq's dict.txt holds the numbers that GPT-2's encoder.json gives to tokens,
  Hugging Face's vocab.json the tokens themselves.  GPT-2 numbers its 256 bytes first and then its
  merges in their order, so encoder.json follows from the merges alone.
* SentencePiece.  fairseq puts its four special symbols where SentencePiece has three, so a row is
  the piece's number plus 1.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Optional

from fairseq.data import Dictionary
from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode

from rxf.errors import UserError
from rxf.lab.convert.hf_files import read_json_object

__all__ = [
    "HfVocabulary",
    "MASK",
    "PIECES",
    "check_pieces",
    "dictionary_of",
    "gpt2_numbers",
    "read_hf_symbols",
    "symbols_of",
    "write_fairseq_files",
    "write_hf_files",
]

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
MASK = "<mask>"
# The one token of GPT-2's that is neither a byte nor a merge; it is the last of encoder.json.
END_OF_TEXT = "<|endoftext|>"
PIECES = "sentencepiece.bpe.model"
# fairseq's own name of a row that stands for nothing.
MADE_UP = "madeupword{:04d}"
TOKENIZERS = {
    "roberta": "RobertaTokenizer",
    "bart": "BartTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
}


# ------------------------------------------------------------------------ GPT-2's numbering


def gpt2_numbers(merges: Sequence[str]) -> dict[str, int]:
    """encoder.json as GPT-2's merges decide it.

    Args:
        merges: ``a b`` each, in their order.
    """
    tokens = [*bytes_to_unicode().values(), *("".join(merge.split(" ")) for merge in merges)]
    # A result that two merges share has the number of the first.
    tokens = [*dict.fromkeys(tokens), END_OF_TEXT]
    return {token: number for number, token in enumerate(tokens)}


def _merges_of(text: str) -> list[str]:
    """The lines of merges.txt, or vocab.bpe, without the one that names the version."""
    lines = text.split("\n")
    start = 1 if lines[0].startswith("#version") else 0
    return [line for line in lines[start:] if line.strip()]


# ------------------------------------------------------------------------ from Hugging Face


class HfVocabulary:
    """What a Hugging Face folder says of its rows.

    Attributes:
        symbols: fairseq's name of each row, the four special ones included.
        merges: of a BPE; None for SentencePiece.
        pieces: the SentencePiece model; None for a BPE.
    """

    def __init__(
        self, symbols: list[str], merges: Optional[list[str]], pieces: Optional[Path]
    ) -> None:
        self.symbols = symbols
        self.merges = merges
        self.pieces = pieces


def read_hf_symbols(folder: Path, kind: str, rows: int) -> HfVocabulary:
    """The rows of a Hugging Face model in fairseq's spelling.

    Args:
        folder: with vocab.json and merges.txt, or tokenizer.json, or sentencepiece.bpe.model.
        kind: model_type; XLM-R has SentencePiece.
        rows: of the embeddings.

    Raises:
        UserError: the files are missing, or do not fit the embeddings.
    """
    if kind == "xlm-roberta":
        path = folder / PIECES
        if not path.is_file():
            raise UserError(
                f"MODEL_DIR {folder}: has no {PIECES}, of which dict.txt is made: copy it from "
                "where the model is from"
            )
        return HfVocabulary(_filled(_piece_symbols(path), rows, path), None, path)
    vocabulary, merges, path = _bpe_files(folder)
    names = gpt2_numbers(merges)
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    if [vocabulary[token] for token in tokens] != list(range(len(tokens))):
        raise UserError(f"{path}: its numbers do not run from 0 to {len(tokens) - 1}")
    if tokens[: len(SPECIAL)] != SPECIAL:
        raise UserError(
            f"{path}: begins with {' '.join(tokens[:4])} and not with {' '.join(SPECIAL)}, as "
            "every fairseq dictionary does"
        )
    symbols = [str(names[token]) if token in names else token for token in tokens]
    if len(set(symbols)) < len(symbols):
        raise UserError(f"{path}: has tokens that are numbers, which dict.txt uses for others")
    return HfVocabulary(_filled(symbols, rows, path), merges, None)


def _bpe_files(folder: Path) -> tuple[dict[str, int], list[str], Path]:
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    if vocabulary.is_file() and merges.is_file():
        text = merges.read_text(encoding="utf-8")
        return read_json_object(vocabulary), _merges_of(text), vocabulary
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UserError(
            f"MODEL_DIR {folder}: has no vocab.json with merges.txt and no tokenizer.json, of "
            "which dict.txt is made: copy the tokenizer's files there"
        )
    content = read_json_object(path)
    model = content.get("model") or {}
    if model.get("type") != "BPE" or "merges" not in model:
        raise UserError(f"{path}: is of no byte-level BPE, which RoBERTa and BART have")
    added = {token["content"]: token["id"] for token in content.get("added_tokens", [])}
    # Older files write a merge as one word with a space, newer ones as a pair.
    pairs = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return {**model["vocab"], **added}, pairs, path


def _piece_symbols(path: Path) -> list[str]:
    import sentencepiece

    try:
        model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: is no SentencePiece model ({reason})") from None
    pieces = [model.id_to_piece(number) for number in range(len(model))]
    if pieces[:3] != ["<unk>", "<s>", "</s>"]:
        raise UserError(
            f"{path}: begins with {' '.join(pieces[:3])} and not with <unk> <s> </s>, as XLM-R's "
            "model does"
        )
    return [*SPECIAL, *pieces[3:], MASK]


def _filled(symbols: list[str], rows: int, path: Path) -> list[str]:
    if len(symbols) > rows:
        raise UserError(
            f"{path}: has {len(symbols)} types and the embeddings {rows} rows: these files are "
            "not of one model"
        )
    taken = set(symbols)
    free = (name for name in map(MADE_UP.format, range(2 * rows)) if name not in taken)
    return [*symbols, *islice(free, rows - len(symbols))]


def write_fairseq_files(folder: Path, vocabulary: HfVocabulary) -> None:
    """dict.txt, and encoder.json with vocab.bpe or the SentencePiece model.

    ``<mask>`` is left out where it is the last row: there fairseq's tasks add it by themselves.
    """
    symbols = vocabulary.symbols[len(SPECIAL) :]
    if symbols and symbols[-1] == MASK:
        symbols = symbols[:-1]
    # Nobody has counted: only the order matters to a dictionary that is read.
    text = "".join(f"{symbol} 0\n" for symbol in symbols)
    (folder / "dict.txt").write_text(text, encoding="utf-8")
    if vocabulary.pieces is not None:
        shutil.copyfile(vocabulary.pieces, folder / PIECES)
    if vocabulary.merges is not None:
        write_json_line(folder / "encoder.json", gpt2_numbers(vocabulary.merges))
        _write_merges(folder / "vocab.bpe", vocabulary.merges)


# ------------------------------------------------------------------------ to Hugging Face


def dictionary_of(path: Path, rows: int, flag: str) -> Dictionary:
    """The dictionary of a model with ``rows`` embeddings, ``<mask>`` added where it has one.

    Args:
        path: of dict.txt.
        rows: of the embeddings.
        flag: that named the file, for messages.

    Raises:
        UserError: no such file, no dictionary, or not this model's.
    """
    if not path.is_file():
        raise UserError(f"{flag} {path}: there is no such file: give --dict FILE")
    try:
        dictionary = Dictionary.load(str(path))
    # Dictionary.load raises a plain Exception for text that is not UTF-8.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{flag} {path}: is no fairseq dictionary ({reason})") from None
    types = len(dictionary)
    if rows == types + 1:
        dictionary.add_symbol(MASK)
    if rows != len(dictionary):
        raise UserError(
            f"{flag} {path}: makes {types} types, or {types + 1} with <mask>, and the model's "
            f"embeddings have {rows} rows: give the dictionary that it was trained with"
        )
    return dictionary


def symbols_of(dictionary: Dictionary, encoder: Mapping[str, int]) -> Optional[dict[str, int]]:
    """vocab.json of a dictionary over GPT-2's numbers, or None if it is not over all of them.

    Args:
        dictionary: of the model.
        encoder: encoder.json.
    """
    tokens = {str(number): token for token, number in encoder.items()}
    needed = {number for number, token in tokens.items() if token != END_OF_TEXT}
    if not needed <= dictionary.indices.keys():
        return None
    return {tokens.get(symbol, symbol): row for row, symbol in enumerate(dictionary.symbols)}


def check_pieces(path: Path, dictionary: Dictionary, named: str) -> None:
    """Raise unless each row is the SentencePiece model's next piece.

    Args:
        path: of the SentencePiece model.
        dictionary: of the model.
        named: where the dictionary is from, for messages.
    """
    symbols = _piece_symbols(path)
    if dictionary.symbols[: len(symbols)] not in (symbols, symbols[:-1]):
        raise UserError(
            f"{named}: its types are not the pieces of {path}, in their order, as XLM-R's are: "
            "give the --dict and --spm that the model was trained with"
        )


def write_hf_files(
    folder: Path,
    kind: str,
    positions: int,
    vocabulary: Optional[Mapping[str, int]] = None,
    merges: Optional[Path] = None,
    pieces: Optional[Path] = None,
) -> None:
    """The tokenizer's files: vocab.json with merges.txt, or the SentencePiece model.

    Args:
        folder: that is there.
        kind: model_type.
        positions: the longest text in tokens.
        vocabulary: of :func:`symbols_of`, with ``merges``.
        merges: vocab.bpe.
        pieces: the SentencePiece model.
    """
    if vocabulary is not None and merges is not None:
        write_json_line(folder / "vocab.json", vocabulary)
        _write_merges(folder / "merges.txt", _merges_of(merges.read_text(encoding="utf-8")))
    if pieces is not None:
        shutil.copyfile(pieces, folder / PIECES)
    config: dict[str, Any] = {"tokenizer_class": TOKENIZERS[kind], "model_max_length": positions}
    if pieces is None:
        config["add_prefix_space"] = False
    text = json.dumps(config, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def write_json_line(path: Path, content: Mapping[str, int]) -> None:
    """JSON in one line, as both libraries write their vocabularies."""
    path.write_text(json.dumps(dict(content), ensure_ascii=False), encoding="utf-8")


def _write_merges(path: Path, merges: Sequence[str]) -> None:
    path.write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
