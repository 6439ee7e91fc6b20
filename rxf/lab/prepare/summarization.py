"""`rxf prepare summarization DIR OUT`: texts and their summaries for fairseq's ``translation``.

What fairseq's BART recipe makes with three tools: GPT-2 BPE, the model's dictionary on both
sides, languages ``source`` and ``target``.  Beside it stand what turns numbers into text
again, and the references to score against.
"""

import argparse
import os
import shlex
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Optional

import torch
from fairseq.data import indexed_dataset
from tqdm import tqdm

from rxf.errors import UserError
from rxf.lab.prepare import tokens
from rxf.lab.prepare.binary import column_writer
from rxf.lab.prepare.lines import find_file, read_lines
from rxf.lab.prepare.output_folder import (
    checksum,
    dropped_notes,
    finished_manifest,
    staged,
    versions,
)

__all__ = ["add_arguments", "prepare_summarization", "run"]

# Part of what decides whether OUT is up to date: raise it when the output changes.
FORMAT = 1
# What each split's files may be called.
SPLITS = {"train": ("train",), "valid": ("valid", "dev", "val"), "test": ("test",)}
SIDES = ("source", "target")
# BART's positions, for the source by default and for the target always.
POSITIONS = 1024
TRAIN_FLAGS = ["--task", "translation", "--source-lang", "source", "--target-lang", "target"]


@dataclass(frozen=True)
class Split:
    """Two files of equally many lines."""

    name: str
    source: Path
    target: Path
    rows: int

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Text and summary, as they stand in the files."""
        return zip(read_lines(self.source), read_lines(self.target), strict=True)


class Column:
    """One side of a split on its way to the disk, and what was counted on the way."""

    def __init__(
        self,
        writer: indexed_dataset.MMapIndexedDatasetBuilder,
        encoder: tokens.TextEncoder,
        limit: Optional[int],
    ) -> None:
        self.writer = writer
        self.encoder = encoder
        self.limit = limit
        self.tokens = self.unknown = self.longest = self.truncated = self.too_long = 0

    def add(self, text: str) -> None:
        """Write one row: ``limit`` numbers at most, the last of which is ``</s>``."""
        dictionary = self.encoder.dictionary
        numbers = self.encoder.encode(text.strip())
        if self.limit is not None and len(numbers) >= self.limit:
            numbers = numbers[: self.limit - 1]
            self.truncated += 1
        self.writer.add_item(torch.IntTensor([*numbers, dictionary.eos()]))
        self.tokens += len(numbers)
        self.unknown += numbers.count(dictionary.unk())
        self.longest = max(self.longest, len(numbers) + 1)
        self.too_long += len(numbers) >= POSITIONS

    def facts(self) -> dict[str, int]:
        """Tokens are counted without ``</s>``, the longest row with it."""
        return {"tokens": self.tokens, "unknown": self.unknown, "longest": self.longest}


@dataclass(frozen=True)
class Settings:
    """What the flags say beside files and encoder."""

    max_source_tokens: int = POSITIONS
    min_count: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "dir",
        metavar="DIR",
        type=Path,
        help="holds train, dev (or val, valid) and test .source and .target, or .gz of them: "
        "one text or summary a line; test may be missing",
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="the folder for fairseq-train")
    parser.add_argument("--overwrite", action="store_true", help="replace an OUT made before")
    parser.add_argument(
        "--max-source-tokens",
        metavar="N",
        type=int,
        default=POSITIONS,
        help="cut longer texts to this, </s> included (default: %(default)s, BART's positions)",
    )
    tokens.add_min_count(parser)
    tokens.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.max_source_tokens < 2:
        raise UserError(f"--max-source-tokens {args.max_source_tokens}: give 2 or more")
    tokens.check_min_count(args)
    settings = Settings(args.max_source_tokens, args.min_count)
    encoder = tokens.load_encoder(args)
    manifest = prepare_summarization(args.dir, encoder, args.out, settings, args.overwrite)
    print("\n".join(summary(manifest, args.out)))
    return 0


def prepare_summarization(
    folder: Path,
    encoder: tokens.TextEncoder,
    out: Path,
    settings: Optional[Settings] = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Prepare the files in ``folder``; returns what ``OUT/prepare.json`` holds.

    All files are checked before anything is written.  If ``out`` is already made from the
    same files nothing is done.
    """
    settings = settings or Settings()
    # A link to a larger disk stays a link: its target is what gets replaced.
    out = out.resolve()
    files = _find_files(folder)
    inputs = _inputs(files, encoder, settings)
    finished = finished_manifest(out, inputs, overwrite)
    if finished is not None:
        return finished
    splits = [_check_split(name, *pair) for name, pair in files.items()]
    if settings.min_count:
        counts = _count(splits[0], encoder)
        encoder = tokens.trimmed(encoder, counts, settings.min_count)
    with staged(out) as (partial, manifest):
        manifest.update(_facts(encoder, inputs, settings))
        for split in splits:
            manifest["splits"][split.name] = _write_split(partial, split, encoder, settings)
        _write_companions(partial, encoder)
    return manifest


def summary(manifest: dict[str, Any], out: Path) -> Iterator[str]:
    """The manifest as lines for a person."""
    yield f"{manifest['tokens']} -> {out}"
    for name, facts in manifest["splits"].items():
        source, target = facts["source"], facts["target"]
        yield (
            f"  {name:6}{facts['rows']:8} rows; source {source['tokens']} tokens, longest "
            f"{source['longest']}; target {target['tokens']}, longest {target['longest']}"
        )
        yield from (f"    {note}" for note in _notes(facts, manifest["max_source_tokens"]))
    flags = shlex.join(manifest["fairseq_train_flags"])
    yield f"fairseq-train --user-dir rxf wants, beside model and criterion: {flags}"


def _notes(facts: dict[str, Any], limit: int) -> Iterator[str]:
    yield from dropped_notes(facts["dropped"], "rows with an empty side")
    if facts["empty_kept"]:
        yield (
            f"{facts['empty_kept']} rows with an empty side kept, so that rows and references "
            "stay those of the files"
        )
    if facts["truncated"]:
        yield f"{facts['truncated']} sources cut to {limit} tokens"
    if facts["targets_too_long"]:
        yield (
            f"{facts['targets_too_long']} targets are longer than {POSITIONS} tokens: fairseq "
            "skips them in training without a larger --max-target-positions"
        )
    for side in SIDES:
        yield from _unknown_note(side, facts[side])


def _unknown_note(side: str, facts: dict[str, int]) -> Iterator[str]:
    if facts["unknown"]:
        share = 100 * facts["unknown"] / facts["tokens"]
        yield f"{facts['unknown']} {side} tokens ({share:.2g} %) are not in the dictionary"


def _find_files(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Source and target of each split; only the test split may be missing."""
    if not folder.is_dir():
        raise UserError(f"DIR {folder}: is no folder: give the one that holds train.source")
    found = {name: _find_split(folder, stems) for name, stems in SPLITS.items()}
    for name, pair in found.items():
        if pair is None and name != "test":
            wanted = " or ".join(f"{stem}.source" for stem in SPLITS[name])
            raise UserError(f"DIR {folder}: has no {wanted} (or .gz), needed as {name}")
    return {name: pair for name, pair in found.items() if pair is not None}


def _find_split(folder: Path, stems: tuple[str, ...]) -> Optional[tuple[Path, Path]]:
    """The pair of one of these names; half a pair or two of them are an error."""
    present = [(stem, _find_sides(folder, stem)) for stem in stems]
    present = [(stem, sides) for stem, sides in present if sides]
    if not present:
        return None
    files = [path.name for _, sides in present for path in sides.values()]
    stem, sides = present[0]
    if len(present) > 1:
        raise UserError(f"DIR {folder}: holds {', '.join(files)}: keep one name a split")
    for side in SIDES:
        if side not in sides:
            raise UserError(f"DIR {folder}: has {files[0]} and no {stem}.{side} (or .gz)")
    return sides["source"], sides["target"]


def _find_sides(folder: Path, stem: str) -> dict[str, Path]:
    found = {side: find_file(folder, f"{stem}.{side}") for side in SIDES}
    return {side: path for side, path in found.items() if path is not None}


def _inputs(
    files: dict[str, tuple[Path, Path]], encoder: tokens.TextEncoder, settings: Settings
) -> dict[str, Any]:
    """All that decides the output; the same inputs need no second run."""
    paths = {path.name: path for pair in files.values() for path in pair} | encoder.files
    return {
        "format": FORMAT,
        "task": "summarization",
        "tokens": encoder.kind,
        "--max-source-tokens": settings.max_source_tokens,
        "--min-count": settings.min_count,
        **{name: checksum(path) for name, path in paths.items()},
    }


def _check_split(name: str, source: Path, target: Path) -> Split:
    """Reads both files once, so that nothing can fail when half is written."""
    rows, summaries = (sum(1 for _ in read_lines(path)) for path in (source, target))
    if rows != summaries:
        raise UserError(
            f"{source} has {rows} lines and {target} has {summaries}: line N of one belongs "
            "to line N of the other; get both files again"
        )
    if rows == 0:
        raise UserError(f"{source}: is empty: get both files again")
    split = Split(name, source, target, rows)
    if name == "train" and not any(_whole(pair) for pair in split.pairs()):
        raise UserError(f"{source}, {target}: no row has text on both sides: check the files")
    return split


def _whole(pair: tuple[str, str]) -> bool:
    return all(text.strip() for text in pair)


def _count(train: Split, encoder: tokens.TextEncoder) -> Counter[int]:
    """How often each number stands in the rows of the training split that are kept."""
    counts: Counter[int] = Counter()
    for pair in tqdm(train.pairs(), "count", train.rows, unit="rows", disable=None):
        for text in pair if _whole(pair) else ():
            counts.update(encoder.encode(text.strip()))
    return counts


def _facts(
    encoder: tokens.TextEncoder, inputs: dict[str, Any], settings: Settings
) -> dict[str, Any]:
    return {
        "task": "summarization",
        "tokens": f"{encoder.kind}, {len(encoder.dictionary)} types",
        "dictionary": str(encoder.files["dict.txt"].resolve()),
        "min_count": settings.min_count,
        "max_source_tokens": settings.max_source_tokens,
        "fairseq_train_flags": TRAIN_FLAGS,
        "splits": {},
        "inputs": inputs,
        "versions": versions(),
    }


def _write_split(
    out: Path, split: Split, encoder: tokens.TextEncoder, settings: Settings
) -> dict[str, Any]:
    """Write both columns, and the references of what gets scored; returns the split's facts."""
    empty = []
    limits = {"source": settings.max_source_tokens, "target": None}
    with ExitStack() as stack:
        columns = []
        for side in SIDES:
            prefix = out / f"{split.name}.source-target.{side}"
            writer = stack.enter_context(column_writer(prefix, encoder.dictionary))
            columns.append(Column(writer, encoder, limits[side]))
        references = stack.enter_context(_open_references(out, split))
        rows = tqdm(split.pairs(), split.name, split.rows, unit="rows", disable=None)
        for line, pair in enumerate(rows, start=1):
            if not _whole(pair):
                empty.append(_what_is_empty(split, line, pair))
                if split.name == "train":
                    continue
            for column, text in zip(columns, pair, strict=True):
                column.add(text)
            references.write(pair[1] + "\n")
    for column in columns:
        tokens.check_known(encoder, column.unknown, column.tokens)
    return _split_facts(split, empty, *columns)


def _open_references(out: Path, split: Split) -> IO[str]:
    if split.name == "train":
        return open(os.devnull, "w", encoding="utf-8")
    return open(out / f"{split.name}.reference", "w", encoding="utf-8", newline="\n")


def _what_is_empty(split: Split, line: int, pair: tuple[str, str]) -> str:
    path = split.target if pair[0].strip() else split.source
    return f"{path}:{line}: empty"


def _split_facts(split: Split, empty: list[str], source: Column, target: Column) -> dict[str, Any]:
    train = split.name == "train"
    return {
        "files": [str(split.source), str(split.target)],
        "rows": split.rows - len(empty) if train else split.rows,
        "rows_in_file": split.rows,
        "dropped": empty if train else [],
        "empty_kept": 0 if train else len(empty),
        "truncated": source.truncated,
        "targets_too_long": target.too_long,
        "source": source.facts(),
        "target": target.facts(),
    }


def _write_companions(out: Path, encoder: tokens.TextEncoder) -> None:
    """The dictionary of both sides, and the files that turn its numbers into text."""
    for side in SIDES:
        encoder.dictionary.save(str(out / f"dict.{side}.txt"))
    tokens.copy_bpe(encoder, out / "bpe")
