"""`rxf prepare text DIR OUT`: running text for fairseq's ``denoising`` and ``masked_lm``.

A row of the result is a document, or a part of one that is too long for the model: so
``--sample-break-mode eos`` makes each row one example.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rxf.errors import UserError
from rxf.lab.prepare import tokens
from rxf.lab.prepare.binary import write_column
from rxf.lab.prepare.lines import find_file, read_lines
from rxf.lab.prepare.output_folder import checksum, finished_manifest, staged, versions

__all__ = ["add_arguments", "prepare_text", "run"]

# Part of what decides whether OUT is up to date: raise it when the output changes.
FORMAT = 1
SPLITS = ("train", "valid")
# 512 positions without <s> and </s>.
ROW_TOKENS = 510


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "dir",
        metavar="DIR",
        type=Path,
        help="holds train.txt and valid.txt, or .gz of them: a document a line",
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="the folder for fairseq-train")
    parser.add_argument("--overwrite", action="store_true", help="replace an OUT made before")
    parser.add_argument(
        "--row-tokens",
        metavar="N",
        type=int,
        default=ROW_TOKENS,
        help="part longer documents into rows of at most this, </s> not counted "
        "(default: %(default)s)",
    )
    tokens.add_min_count(parser)
    tokens.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.row_tokens < 1:
        raise UserError(f"--row-tokens {args.row_tokens}: give 1 or more")
    tokens.check_min_count(args)
    encoder = tokens.load_encoder(args)
    manifest = prepare_text(
        args.dir, encoder, args.out, args.row_tokens, args.min_count, args.overwrite
    )
    print("\n".join(summary(manifest, args.out)))
    return 0


def prepare_text(
    folder: Path,
    encoder: tokens.TextEncoder,
    out: Path,
    row_tokens: int = ROW_TOKENS,
    min_count: int = 0,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Prepare the files in ``folder``; returns what ``OUT/prepare.json`` holds.

    If ``out`` is already made from the same files nothing is done.
    """
    # A link to a larger disk stays a link: its target is what gets replaced.
    out = out.resolve()
    files = _find_files(folder)
    inputs = {
        "format": FORMAT,
        "task": "text",
        "tokens": encoder.kind,
        "--row-tokens": row_tokens,
        "--min-count": min_count,
        **{path.name: checksum(path) for path in files.values()},
        **{name: checksum(path) for name, path in encoder.files.items()},
    }
    finished = finished_manifest(out, inputs, overwrite)
    if finished is not None:
        return finished
    documents = {name: _count_documents(path) for name, path in files.items()}
    if min_count:
        counts: Counter[int] = Counter()
        for text in tqdm(_documents(files["train"]), "count", documents["train"], disable=None):
            counts.update(encoder.encode(text))
        encoder = tokens.trimmed(encoder, counts, min_count)
    with staged(out) as (partial, manifest):
        manifest.update(_facts(encoder, inputs))
        for name, path in files.items():
            rows = Rows(path, encoder, row_tokens, documents[name])
            write_column(partial / name, encoder.dictionary, rows)
            manifest["splits"][name] = rows.facts()
        encoder.dictionary.save(str(partial / "dict.txt"))
        tokens.copy_bpe(encoder, partial / "bpe")
    return manifest


def summary(manifest: dict[str, Any], out: Path) -> Iterator[str]:
    """The manifest as lines for a person."""
    yield f"{manifest['tokens']} -> {out}"
    for name, facts in manifest["splits"].items():
        yield (
            f"  {name:6}{facts['documents']:8} documents, {facts['rows']} rows, "
            f"{facts['tokens']} tokens, {facts['unknown']} not in the dictionary"
        )


class Rows:
    """The rows of a file, each time it is walked through, and what was counted the last time."""

    def __init__(
        self, path: Path, encoder: tokens.TextEncoder, longest: int, documents: int
    ) -> None:
        self.path = path
        self.encoder = encoder
        self.longest = longest
        self.documents = documents
        self.rows = self.tokens = self.unknown = 0

    def __iter__(self) -> Iterator[list[int]]:
        self.rows = self.tokens = self.unknown = 0
        unknown = self.encoder.dictionary.unk()
        texts = _documents(self.path)
        for text in tqdm(texts, self.path.name, self.documents, unit="docs", disable=None):
            numbers = self.encoder.encode(text)
            self.tokens += len(numbers)
            self.unknown += numbers.count(unknown)
            for row in _parts(numbers, self.longest):
                self.rows += 1
                yield row
        tokens.check_known(self.encoder, self.unknown, self.tokens)

    def facts(self) -> dict[str, Any]:
        return {
            "file": str(self.path),
            "documents": self.documents,
            "rows": self.rows,
            "tokens": self.tokens,
            "unknown": self.unknown,
        }


def _parts(numbers: list[int], longest: int) -> Iterator[list[int]]:
    """As few parts as can be, of much the same length: no scrap of three tokens is left."""
    count = -(-len(numbers) // longest)
    size = -(-len(numbers) // count)
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]


def _documents(path: Path) -> Iterator[str]:
    """The lines that are not blank."""
    return (line.strip() for line in read_lines(path) if line.strip())


def _find_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(f"DIR {folder}: is no folder: give the one that holds train.txt")
    files = {}
    for name in SPLITS:
        path = find_file(folder, f"{name}.txt")
        if path is None:
            raise UserError(f"DIR {folder}: has no {name}.txt (or .gz), needed as {name}")
        files[name] = path
    return files


def _count_documents(path: Path) -> int:
    """Reads the file once, so that nothing can fail when half is written."""
    count = sum(1 for _ in _documents(path))
    if not count:
        raise UserError(f"{path}: is empty: give a document a line")
    return count


def _facts(encoder: tokens.TextEncoder, inputs: dict[str, Any]) -> dict[str, Any]:
    return {
        "task": "text",
        "tokens": f"{encoder.kind}, {len(encoder.dictionary)} types",
        "splits": {},
        "inputs": inputs,
        "versions": versions(),
    }
