"""From a sentence to the numbers of a dictionary: GPT-2 BPE, SentencePiece, or words."""

import argparse
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Optional

from fairseq.data import Dictionary
from fairseq.data.encoders import gpt2_bpe_utils
from fairseq.tokenizer import tokenize_line

from rxf.errors import UserError

__all__ = [
    "TextEncoder",
    "add_arguments",
    "add_min_count",
    "check_known",
    "check_min_count",
    "copy_bpe",
    "gpt2_encoder",
    "load_encoder",
    "sentencepiece_encoder",
    "trimmed",
    "word_encoder",
]

BPE_FILES = {"encoder_json": "encoder.json", "vocab_bpe": "vocab.bpe", "dict": "dict.txt"}
SPM_FILE = "sentencepiece.bpe.model"
WHERE_TO_GET = (
    "encoder.json, vocab.bpe and dict.txt of RoBERTa and BART are at "
    "https://dl.fbaipublicfiles.com/fairseq/gpt2_bpe/"
)
WHERE_TO_GET_XLMR = f"{SPM_FILE} and dict.txt lie beside XLM-R's model.pt"


@dataclass(frozen=True)
class TextEncoder:
    """A dictionary and how text reaches it.

    Attributes:
        kind: what a person calls it, for the summary.
        encode: numbers of a sentence in the dictionary, without any ``</s>``.
        files: the files it was loaded from, for the manifest's checksums.
        with_dictionary: the same with another dictionary.
        always_kept: words without which a smaller dictionary would not do: single bytes.
    """

    kind: str
    dictionary: Dictionary
    encode: Callable[[str], list[int]]
    files: dict[str, Path]
    with_dictionary: Callable[[Dictionary], "TextEncoder"]
    always_kept: frozenset[str] = frozenset()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that :func:`load_encoder` reads."""
    group = parser.add_argument_group(
        "tokens",
        "GPT-2 BPE files as one folder or one by one (default: $RXF_DATA/gpt2_bpe); or --spm and "
        "--dict for SentencePiece, as XLM-R has it; or --dict alone for text whose words, split "
        "at spaces, stand in that dictionary",
    )
    group.add_argument(
        "--bpe-dir", type=Path, metavar="DIR", help="folder of the three files; " + WHERE_TO_GET
    )
    group.add_argument("--encoder-json", type=Path, metavar="FILE")
    group.add_argument("--vocab-bpe", type=Path, metavar="FILE")
    group.add_argument(
        "--spm", type=Path, metavar="FILE", help=f"SentencePiece model: XLM-R's {SPM_FILE}"
    )
    group.add_argument("--dict", type=Path, metavar="FILE", help="a fairseq dictionary")


def load_encoder(args: argparse.Namespace) -> TextEncoder:
    """The encoder that the flags of :func:`add_arguments` ask for."""
    given = {flag: getattr(args, flag) for flag in BPE_FILES}
    if args.spm is not None:
        return _load_sentencepiece(args, given)
    if args.bpe_dir is None and given["dict"] and not _any_bpe(given):
        return word_encoder(given["dict"])
    folder = args.bpe_dir or _default_folder(given)
    if folder is not None:
        given = {flag: path or folder / BPE_FILES[flag] for flag, path in given.items()}
    for flag, path in given.items():
        _check_file("--" + flag.replace("_", "-"), path)
    return gpt2_encoder(given["encoder_json"], given["vocab_bpe"], given["dict"])


def gpt2_encoder(encoder_json: Path, vocab_bpe: Path, dictionary_file: Path) -> TextEncoder:
    """GPT-2 BPE, whose numbers are then the words of a fairseq dictionary.

    A token that the dictionary lacks is taken apart into the two that BPE made it of, and
    these again: so a dictionary that has all single bytes, however small, knows every text.
    """
    dictionary = _load_dictionary(dictionary_file)
    bpe = _load_bpe(encoder_json, vocab_bpe)
    files = {"encoder.json": encoder_json, "vocab.bpe": vocab_bpe, "dict.txt": dictionary_file}
    return _bpe_encoder(bpe, files, dictionary)


def sentencepiece_encoder(model_file: Path, dictionary_file: Path) -> TextEncoder:
    """SentencePiece, whose pieces are the words of a fairseq dictionary, as XLM-R has it.

    The pieces that fairseq's ``--bpe sentencepiece`` makes, looked up as its dictionary looks
    up a line.  XLM-R's dict.txt lacks ``<mask>``, which the task puts behind its last word.
    """
    dictionary = _load_dictionary(dictionary_file)
    processor = _load_processor(model_file)
    return _piece_encoder(
        processor, {SPM_FILE: model_file, "dict.txt": dictionary_file}, dictionary
    )


def word_encoder(dictionary_file: Path) -> TextEncoder:
    """Words split at spaces, for text that is already tokenised."""
    _check_file("--dict", dictionary_file)
    return _word_encoder({"dict.txt": dictionary_file}, _load_dictionary(dictionary_file))


def trimmed(encoder: TextEncoder, counts: Mapping[int, int], min_count: int) -> TextEncoder:
    """The encoder with a smaller dictionary: what stands ``min_count`` times in ``counts``.

    The kept words stay in the same order, BPE's single bytes among them.
    """
    old, new = encoder.dictionary, Dictionary()
    for index in range(old.nspecial, len(old)):
        if counts.get(index, 0) >= min_count or old[index] in encoder.always_kept:
            new.add_symbol(old[index], n=old.count[index])
    return encoder.with_dictionary(new)


def add_min_count(parser: argparse.ArgumentParser) -> None:
    """The flag whose value :func:`trimmed` takes; 0 means that it is not called."""
    parser.add_argument(
        "--min-count",
        metavar="N",
        type=int,
        default=0,
        help="for small models trained from scratch: keep in the dictionary only what stands N "
        "times in the training split; rarer BPE tokens are taken apart, rarer words become "
        "<unk> (default: the whole dictionary, which a pre-trained model needs)",
    )


def check_min_count(args: argparse.Namespace) -> None:
    """Raise unless the value of :func:`add_min_count`'s flag makes sense."""
    if args.min_count < 0:
        raise UserError(f"--min-count {args.min_count}: give 0 or more")


def check_known(encoder: TextEncoder, unknown: int, total: int) -> None:
    """Raise if most tokens are unknown: then dictionary and text do not belong together."""
    if unknown > total / 2:
        raise UserError(
            f"{encoder.files['dict.txt']}: lacks {unknown} of {total} tokens "
            f"({encoder.kind}): this is another text's dictionary"
        )


def copy_bpe(encoder: TextEncoder, folder: Path) -> None:
    """What turns numbers into text again goes with the data; words need nothing."""
    for name, path in encoder.files.items():
        if name != "dict.txt":
            folder.mkdir(exist_ok=True)
            shutil.copyfile(path, folder / name)


def _bpe_encoder(
    bpe: gpt2_bpe_utils.Encoder, files: dict[str, Path], dictionary: Dictionary
) -> TextEncoder:
    # Of several merges with the same result the first is the one that BPE applies.
    parts = {first + second: (first, second) for first, second in reversed(bpe.bpe_ranks)}

    def known(symbol: str) -> list[int]:
        number = dictionary.index(str(bpe.encoder[symbol]))
        if number != dictionary.unk() or symbol not in parts:
            return [number]
        return [*known(parts[symbol][0]), *known(parts[symbol][1])]

    # Looked up once here and not for every token: the two numberings differ, because
    # fairseq orders its dictionary by frequency.
    numbers = {own: known(symbol) for symbol, own in bpe.encoder.items()}

    def encode(sentence: str) -> list[int]:
        return [number for own in bpe.encode(sentence) for number in numbers[own]]

    return TextEncoder(
        "GPT-2 BPE",
        dictionary,
        encode,
        files,
        with_dictionary=partial(_bpe_encoder, bpe, files),
        always_kept=frozenset(str(bpe.encoder[byte]) for byte in bpe.byte_encoder.values()),
    )


def _piece_encoder(processor: Any, files: dict[str, Path], dictionary: Dictionary) -> TextEncoder:
    def encode(sentence: str) -> list[int]:
        pieces = " ".join(processor.encode(sentence, out_type=str))
        return [dictionary.index(piece) for piece in tokenize_line(pieces)]

    return TextEncoder(
        "SentencePiece",
        dictionary,
        encode,
        files,
        with_dictionary=partial(_piece_encoder, processor, files),
    )


def _word_encoder(files: dict[str, Path], dictionary: Dictionary) -> TextEncoder:
    def encode(sentence: str) -> list[int]:
        return [dictionary.index(word) for word in tokenize_line(sentence)]

    return TextEncoder(
        "words", dictionary, encode, files, with_dictionary=partial(_word_encoder, files)
    )


def _load_sentencepiece(args: argparse.Namespace, given: dict[str, Optional[Path]]) -> TextEncoder:
    if args.bpe_dir or _any_bpe(given):
        raise UserError("--spm is SentencePiece and the other flags are GPT-2 BPE: give one")
    dictionary = given["dict"]
    if dictionary is None:
        raise UserError("--spm wants --dict too: the dict.txt that came with the model")
    for flag, path in (("--spm", args.spm), ("--dict", dictionary)):
        if not path.is_file():
            raise UserError(f"{flag}: there is no file {path}: {WHERE_TO_GET_XLMR}")
    return sentencepiece_encoder(args.spm, dictionary)


def _load_processor(path: Path) -> Any:
    import sentencepiece

    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"--spm {path}: is no SentencePiece model ({reason}): {WHERE_TO_GET_XLMR}"
        ) from None


def _any_bpe(given: dict[str, Optional[Path]]) -> bool:
    return bool(given["encoder_json"] or given["vocab_bpe"])


def _default_folder(given: dict[str, Optional[Path]]) -> Optional[Path]:
    """``$RXF_DATA/gpt2_bpe``, where no flag says otherwise."""
    if any(given.values()):
        return None
    if "RXF_DATA" not in os.environ:
        raise UserError(
            f"no dictionary: give --bpe-dir DIR ({WHERE_TO_GET}), or --dict FILE alone for "
            "text that is already split into that dictionary's words"
        )
    return Path(os.environ["RXF_DATA"]) / "gpt2_bpe"


def _check_file(flag: str, path: Optional[Path]) -> None:
    if path is None:
        raise UserError(f"{flag} is missing: give all three files or --bpe-dir; {WHERE_TO_GET}")
    if not path.is_file():
        raise UserError(f"{flag}: there is no file {path}; {WHERE_TO_GET}")


def _load_dictionary(path: Path) -> Dictionary:
    try:
        dictionary = Dictionary.load(str(path))
    # Dictionary.load raises a plain Exception for text that is not UTF-8.
    except Exception as error:
        # Its messages quote the line with its end.
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: is no fairseq dictionary ({reason})") from None
    if len(dictionary) == dictionary.nspecial:
        raise UserError(f"{path}: is empty: a fairseq dictionary has one 'WORD COUNT' a line")
    return dictionary


def _load_bpe(encoder_json: Path, vocab_bpe: Path) -> gpt2_bpe_utils.Encoder:
    """Also checks that the two files belong together, so that no text can fail later."""
    try:
        bpe = gpt2_bpe_utils.get_encoder(str(encoder_json), str(vocab_bpe))
        known = set(bpe.encoder)
        merged = ["".join((first, second)) for first, second in bpe.bpe_ranks]
    # What is raised depends on where the files stop being what they are to be.
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(
            f"{encoder_json}, {vocab_bpe}: are no GPT-2 BPE files ({error}); {WHERE_TO_GET}"
        ) from None
    needed = {*bpe.byte_encoder.values(), *merged}
    if not needed <= known:
        example = sorted(needed - known)[0]
        raise UserError(
            f"{encoder_json}: lacks {example!r}, which {vocab_bpe} makes: "
            f"the two files do not belong together; {WHERE_TO_GET}"
        )
    return bpe
