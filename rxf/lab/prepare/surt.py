"""`rxf prepare surt DATA OUT`: a prepared task's own text for fairseq's ``masked_lm``.

A row of the result is what ``sentence_prediction`` shows the model of a row of the task, but
for the leading ``<s>``, which ``masked_lm`` puts there itself: ``a </s>``, or
``a </s> </s> b </s>`` for a pair.  With ``--sample-break-mode eos`` each row is one example.
Nothing is tokenised again, and the dictionary stays the pre-trained model's.
"""

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fairseq.data import Dictionary, data_utils
from torch import Tensor
from tqdm import tqdm

from rxf.errors import UserError
from rxf.lab.prepare.binary import column_writer
from rxf.lab.prepare.output_folder import checksum, finished_manifest, staged, versions

__all__ = ["add_arguments", "prepare_surt", "run"]

# Part of what decides whether OUT is up to date: raise it when the output changes.
FORMAT = 1
SPLITS = ("train", "valid")
LONG = 512


class Column(NamedTuple):
    """A split of ``input0`` or ``input1``, as fairseq reads it."""

    path: Path
    rows: Any

    def row(self, index: int) -> Tensor:
        """Token numbers with the closing ``</s>``, int64."""
        try:
            row: Tensor = self.rows[index]
        except (ValueError, IndexError, OSError) as error:
            raise _unreadable(self.path, error) from None
        return row.long()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data",
        metavar="DATA",
        type=Path,
        help="made by `rxf prepare glue`: holds input0/ and so on",
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="the folder for --task masked_lm")
    parser.add_argument("--overwrite", action="store_true", help="replace an OUT made before")


def run(args: argparse.Namespace) -> int:
    manifest = prepare_surt(args.data, args.out, args.overwrite)
    print("\n".join(summary(manifest, args.out)))
    return 0


def prepare_surt(data: Path, out: Path, overwrite: bool = False) -> dict[str, Any]:
    """Convert the training and validation rows in ``data``.

    All rows are read and checked before anything is written.  If ``out`` is already made from
    the same files nothing is done.

    Args:
        data: for ``--task sentence_prediction``, in fairseq's binary form.
        out: gets ``train``, ``valid``, ``dict.txt`` and ``prepare.json``.
        overwrite: replace what was made before.

    Returns:
        What ``OUT/prepare.json`` holds.

    Raises:
        UserError: files that are not there, cannot be read or do not belong together.
    """
    # A link to a larger disk stays a link: its target is what gets replaced.
    out = out.resolve()
    dictionary_file = data / "input0" / "dict.txt"
    sides = _sides(data)
    inputs = _inputs(data, dictionary_file, sides)
    finished = finished_manifest(out, inputs, overwrite)
    if finished is not None:
        return finished
    dictionary = _load_dictionary(dictionary_file)
    splits = {name: [_column(data / side / name) for side in sides] for name in SPLITS}
    facts = {name: _checked(columns, dictionary) for name, columns in splits.items()}
    with staged(out) as (partial, manifest):
        manifest.update(task="surt", splits=facts, inputs=inputs, versions=versions())
        for name, columns in splits.items():
            with column_writer(partial / name, dictionary) as writer:
                rows = _joined(columns, dictionary)
                for row in tqdm(rows, name, facts[name]["rows"], unit="rows", disable=None):
                    writer.add_item(row)
        # Byte by byte: <mask> is for the task to add, as it was in pre-training.
        shutil.copyfile(dictionary_file, partial / "dict.txt")
    return manifest


def summary(manifest: dict[str, Any], out: Path) -> Iterator[str]:
    """The manifest as lines for a person."""
    yield f"text for masked_lm -> {out}"
    for name, facts in manifest["splits"].items():
        yield f"  {name:6}{facts['rows']:8} rows, {facts['tokens']} tokens"
        if facts["longer_than_512"]:
            yield f"    {facts['longer_than_512']} rows are longer than {LONG} tokens with <s>"
    flags = "--task masked_lm --criterion masked_lm --sample-break-mode eos"
    yield f"fairseq-train wants, beside the model: {flags}"


def _sides(data: Path) -> list[str]:
    if not data.is_dir():
        raise UserError(f"DATA {data}: is no folder: give one that `rxf prepare glue` made")
    if not (data / "input0" / "dict.txt").is_file():
        raise UserError(
            f"DATA {data}: has no input0/dict.txt: give a folder that `rxf prepare glue` made"
        )
    return [side for side in ("input0", "input1") if (data / side).is_dir()]


def _inputs(data: Path, dictionary: Path, sides: list[str]) -> dict[str, Any]:
    """All that decides the output; the same inputs need no second run."""
    inputs = {"format": FORMAT, "task": "surt", "dict.txt": checksum(dictionary)}
    for side in sides:
        for split in SPLITS:
            for ending in ("bin", "idx"):
                path = data / side / f"{split}.{ending}"
                if not path.is_file():
                    raise UserError(
                        f"DATA {data}: has no {side}/{split}.{ending}: prepare the task again"
                    )
                inputs[f"{side}/{path.name}"] = checksum(path)
    return inputs


def _load_dictionary(path: Path) -> Dictionary:
    try:
        return Dictionary.load(str(path))
    # Dictionary.load raises a plain Exception for text that is not UTF-8.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: is no fairseq dictionary ({reason})") from None


def _column(path: Path) -> Column:
    try:
        rows = data_utils.load_indexed_dataset(str(path))
    # What fairseq raises depends on where the file stops being one.
    except Exception as error:
        raise _unreadable(path, error) from None
    if not rows:
        raise UserError(f"{path}.idx: holds no row: prepare the task again")
    return Column(path, rows)


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"{path}.bin: cannot be read ({reason}): prepare the task again")


def _checked(columns: list[Column], dictionary: Dictionary) -> dict[str, int]:
    """Counts for the manifest, of rows that all are in the dictionary."""
    first, *others = columns
    for other in others:
        if len(other.rows) != len(first.rows):
            raise UserError(
                f"{other.path}: has {len(other.rows)} rows, and {first.path} has "
                f"{len(first.rows)}: prepare the task again"
            )
    lengths = []
    for number, row in enumerate(_joined(columns, dictionary), start=1):
        if int(row.max()) >= len(dictionary):
            raise UserError(
                f"{first.path}: row {number} has token number {int(row.max())}, but dict.txt has "
                f"{len(dictionary)}: it is not this data's dictionary"
            )
        lengths.append(len(row))
    return {
        "rows": len(lengths),
        "tokens": sum(lengths),
        "longer_than_512": sum(length + 1 > LONG for length in lengths),
    }


def _joined(columns: list[Column], dictionary: Dictionary) -> Iterator[Tensor]:
    """Rows as int32, RoBERTa's separator ``</s>`` before the second sentence."""
    separator = torch.tensor([dictionary.eos()])
    first, *others = columns
    for index in range(len(first.rows)):
        parts = [first.row(index)]
        for other in others:
            parts += [separator, other.row(index)]
        yield torch.cat(parts).int()
