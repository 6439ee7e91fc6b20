"""`rxf convert to-hf`: a fairseq checkpoint to a folder for `from_pretrained`."""

import argparse
import os
from pathlib import Path
from typing import NamedTuple, Optional

import torch
from fairseq.data import Dictionary
from torch import Tensor

from rxf.errors import UserError
from rxf.lab.convert import fairseq_model, hf_files, names, vocabulary
from rxf.lab.convert.fairseq_model import Saved
from rxf.lab.convert.from_hf import HEAD, TOKEN_TYPES
from rxf.lab.convert.settings import CLASSES, Config, config_of
from rxf.lab.files import read_json
from rxf.lab.prepared import FACTS

__all__ = ["convert", "hf_weights"]

NO_HEAD = "none"
# Where a prepared or binarised folder keeps the dictionary of its text.
DICTIONARIES = ("input0/dict.txt", "dict.source.txt", "dict.txt")


class Beside(NamedTuple):
    """What was found beside the checkpoint.

    Attributes:
        data: the folder that it was trained on.
        dictionary: dict.txt, and the flag or place that named it.
        named: see ``dictionary``.
        pieces: the SentencePiece model, of XLM-R.
        bpe: the folder with encoder.json and vocab.bpe.
    """

    data: Optional[Path]
    dictionary: Path
    named: str
    pieces: Optional[Path]
    bpe: Optional[Path]


def convert(args: argparse.Namespace) -> list[str]:
    """Write OUT; returns what is to be said of it.

    Args:
        args: ``source``, a checkpoint, ``out``, ``dict``, ``data``, ``bpe_dir``,
            ``spm`` and ``head``.

    Raises:
        UserError: a file is missing or does not fit, or Hugging Face has no such model.
    """
    saved = fairseq_model.read(args.source)
    beside = _beside(args, saved)
    kind = _kind(saved, beside)
    dictionary = vocabulary.dictionary_of(beside.dictionary, saved.rows, beside.named)
    config = config_of(kind, saved.settings, saved.rows, saved.path)
    state = fairseq_model.plain_state(saved, dictionary)
    head = _head(args.head, state, saved)
    labels = _labels(beside.data, state, head)
    config |= {"architectures": [_class(kind, head)], **labels, "torch_dtype": _dtype(state)}
    weights = hf_weights(saved, state, head)
    with hf_files.new_folder(args.out) as aside:
        hf_files.write_model(aside, config, weights)
        notes = _write_tokenizer(aside, kind, saved, dictionary, beside)
    names_of_classes = ", ".join(labels.get("id2label", {}).values())
    summary = f"{args.out}: {_class(kind, head)}, {saved.rows} types, {config['torch_dtype']}"
    return [summary + (f"; classes {names_of_classes}" if names_of_classes else ""), *notes]


def hf_weights(saved: Saved, state: dict[str, Tensor], head: Optional[str]) -> dict[str, Tensor]:
    """The tensors of Hugging Face's class, each once.

    Args:
        saved: the checkpoint.
        state: of :func:`rxf.lab.convert.fairseq_model.plain_state`.
        head: the classification head that goes along; None for the language model.

    Raises:
        UserError: the checkpoint holds what has no place there.
    """
    table = _names(saved)
    chosen = dict(table.body)
    chosen |= table.language_model if head is None else names.head_names(saved.family, head)
    weights = {theirs: state[own] for own, theirs in chosen.items()}
    known = {*table.body, *table.language_model}
    strangers = [n for n in state if n not in known and not n.startswith("classification_heads.")]
    if strangers:
        raise UserError(
            f"CHECKPOINT {saved.path}: holds {strangers[0]}, which Hugging Face's model has no "
            "place for"
        )
    if saved.family == "roberta":
        width = state["encoder.sentence_encoder.embed_tokens.weight"].shape[1]
        weights[TOKEN_TYPES] = torch.zeros(1, width, dtype=_any(state).dtype)
    elif head is None:
        weights["final_logits_bias"] = torch.zeros(1, saved.rows, dtype=_any(state).dtype)
    return weights


def _any(state: dict[str, Tensor]) -> Tensor:
    return next(iter(state.values()))


def _dtype(state: dict[str, Tensor]) -> str:
    return str(_any(state).dtype).removeprefix("torch.")


def _names(saved: Saved) -> names.Names:
    settings = saved.settings
    if saved.family == "bart":
        return names.bart_names(settings.encoder_layers, settings.decoder_layers)
    return names.roberta_names(settings.encoder_layers, not settings.untie_weights_roberta)


def _class(kind: str, head: Optional[str]) -> str:
    if head is not None:
        return f"{CLASSES[kind]}ForSequenceClassification"
    return f"{CLASSES[kind]}For{'ConditionalGeneration' if kind == 'bart' else 'MaskedLM'}"


# --------------------------------------------------------------------- what is beside


def _beside(args: argparse.Namespace, saved: Saved) -> Beside:
    data = _data(args.data, saved)
    dictionary, named = _dictionary(args.dict, data, saved)
    near = [dictionary.parent, *_folders(data), saved.path.parent]
    pieces = _first(args.spm, "--spm", near, vocabulary.PIECES)
    return Beside(data, dictionary, named, pieces, _bpe(args.bpe_dir, near))


def _folders(data: Optional[Path]) -> list[Path]:
    """The data, and the folder of the dictionary that `rxf prepare` was given for it."""
    if data is None:
        return []
    given = (read_json(data / FACTS) or {}).get("dictionary")
    return [data, data / "bpe", *([Path(given).parent] if given else [])]


def _data(given: Optional[Path], saved: Saved) -> Optional[Path]:
    if given is not None:
        if not given.is_dir():
            raise UserError(f"--data {given}: there is no such folder")
        return given
    # The training names its folder; it may be gone, or of another machine.
    folder = Path(saved.data)
    return folder if saved.data and folder.is_dir() else None


def _dictionary(given: Optional[Path], data: Optional[Path], saved: Saved) -> tuple[Path, str]:
    if given is not None:
        return given, "--dict"
    inside = [data / name for name in DICTIONARIES] if data else []
    for path in [*inside, saved.path.parent / "dict.txt"]:
        if path.is_file():
            return path, "dictionary"
    raise UserError(
        f"CHECKPOINT {saved.path}: no dictionary is beside it: give --dict FILE, or --data DIR, "
        "the folder that it was trained on"
    )


def _first(given: Optional[Path], flag: str, near: list[Path], name: str) -> Optional[Path]:
    if given is not None:
        if not given.is_file():
            raise UserError(f"{flag} {given}: there is no such file")
        return given
    return next((folder / name for folder in near if (folder / name).is_file()), None)


def _bpe(given: Optional[Path], near: list[Path]) -> Optional[Path]:
    if given is not None:
        if not _has_bpe(given):
            raise UserError(f"--bpe-dir {given}: has no encoder.json with vocab.bpe")
        return given
    if "RXF_DATA" in os.environ:
        near = [*near, Path(os.environ["RXF_DATA"]) / "gpt2_bpe"]
    return next((folder for folder in near if _has_bpe(folder)), None)


def _has_bpe(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("encoder.json", "vocab.bpe"))


def _kind(saved: Saved, beside: Beside) -> str:
    """model_type: RoBERTa and XLM-R differ by their tokens alone."""
    if saved.family == "bart":
        return "bart"
    return "xlm-roberta" if beside.pieces else "roberta"


# --------------------------------------------------------------------- the head


def _head(asked: Optional[str], state: dict[str, Tensor], saved: Saved) -> Optional[str]:
    marks = [name.split(".") for name in state if name.startswith("classification_heads.")]
    known = sorted({parts[1] for parts in marks})
    if asked == NO_HEAD or (asked is None and not known):
        return None
    if asked is None:
        if len(known) > 1 and HEAD not in known:
            raise UserError(f"CHECKPOINT {saved.path}: give --head, one of {', '.join(known)}")
        return HEAD if HEAD in known else known[0]
    if asked not in known:
        has = ", ".join(known) or "none at all"
        raise UserError(f"--head {asked}: CHECKPOINT {saved.path} has {has}")
    return asked


def _labels(data: Optional[Path], state: dict[str, Tensor], head: Optional[str]) -> Config:
    """What config.json says of the classes: their number decides the size of the head."""
    if head is None:
        return {}
    classes = len(state[f"classification_heads.{head}.out_proj.weight"])
    found = _label_names(data) if data else []
    if found and len(found) != classes:
        raise UserError(
            f"{data}/label/dict.txt: names {len(found)} classes and the head {head} has "
            f"{classes}: give the --data that it was trained on"
        )
    label_names = found or [f"LABEL_{number}" for number in range(classes)]
    return {
        "id2label": {str(number): name for number, name in enumerate(label_names)},
        "label2id": {name: number for number, name in enumerate(label_names)},
        "problem_type": "regression" if classes == 1 else "single_label_classification",
    }


def _label_names(data: Path) -> list[str]:
    """In the order of the head's outputs; none in a regression."""
    path = data / "label" / "dict.txt"
    if not path.is_file():
        return []
    symbols = Dictionary.load(str(path)).symbols[Dictionary().nspecial :]
    # fairseq-preprocess fills a dictionary up to a multiple of 8.
    return [symbol for symbol in symbols if not symbol.startswith("madeupword")]


# --------------------------------------------------------------------- the tokenizer


def _write_tokenizer(
    folder: Path, kind: str, saved: Saved, dictionary: Dictionary, beside: Beside
) -> list[str]:
    """The files, or why there are none."""
    settings = saved.settings
    positions = settings.max_source_positions if kind == "bart" else settings.max_positions
    if kind == "xlm-roberta":
        assert beside.pieces is not None
        vocabulary.check_pieces(beside.pieces, dictionary, beside.named)
        vocabulary.write_hf_files(folder, kind, positions, pieces=beside.pieces)
        return [f"tokenizer of {beside.pieces}"]
    if beside.bpe is None:
        return ["no tokenizer: encoder.json and vocab.bpe were not found (--bpe-dir DIR)"]
    encoder = hf_files.read_json_object(beside.bpe / "encoder.json")
    symbols = vocabulary.symbols_of(dictionary, encoder)
    if symbols is None:
        return [
            f"no tokenizer: {beside.dictionary} has not all tokens of {beside.bpe}, and Hugging "
            "Face's cannot take rare ones apart"
        ]
    merges = beside.bpe / "vocab.bpe"
    vocabulary.write_hf_files(folder, kind, positions, symbols, merges)
    notes = [f"tokenizer of {beside.bpe}"]
    if vocabulary.MASK not in symbols:
        notes.append("it has no <mask>: fairseq cuts that row off when it fine-tunes BART to write")
    return notes
