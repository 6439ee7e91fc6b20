"""`rxf prepare glue DIR TASK OUT`: a GLUE task for fairseq's ``sentence_prediction``.

The result is what fairseq's own GLUE recipe makes: sentences stripped and encoded, labels
as a dictionary ordered by frequency, scores divided by the largest one.
"""

import argparse
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import torch
from tqdm import tqdm

from rxf.errors import UserError
from rxf.lab.prepare import tokens
from rxf.lab.prepare.binary import column_writer, label_dictionary, write_column
from rxf.lab.prepare.glue_tasks import GLUE_TASKS, GlueTask, find_task, plain_name
from rxf.lab.prepare.output_folder import (
    checksum,
    dropped_notes,
    finished_manifest,
    staged,
    versions,
)
from rxf.lab.prepare.tsv import Table, TsvRow, drop_limit_check, read_table

__all__ = [
    "Split",
    "add_arguments",
    "labelled_split",
    "prepare_task",
    "run",
    "summary",
    "task_folder",
    "write_task",
]

# Part of what decides whether OUT is up to date: raise it when the output changes.
FORMAT = 1
LONG = 512


@dataclass(frozen=True)
class Split:
    """A checked file: ``labels`` is None in a test split."""

    table: Table
    sentences: list[tuple[str, ...]]
    labels: Optional[list[str]]
    empty_kept: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dir", metavar="DIR", type=Path, help="holds TASK/train.tsv and so on")
    parser.add_argument("task", metavar="TASK", help=", ".join(GLUE_TASKS))
    parser.add_argument("out", metavar="OUT", type=Path, help="the folder for fairseq-train")
    parser.add_argument("--overwrite", action="store_true", help="replace an OUT made before")
    tokens.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    task = find_task(args.task)
    folder = task_folder(args.dir, task)
    encoder = tokens.load_encoder(args)
    manifest = prepare_task(task, folder, encoder, args.out, args.overwrite)
    print("\n".join(summary(manifest, args.out)))
    return 0


def prepare_task(
    task: GlueTask,
    folder: Path,
    encoder: tokens.TextEncoder,
    out: Path,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Prepare the TSV files in ``folder``; returns what ``OUT/prepare.json`` holds.

    All files are read and checked before anything is written.  If ``out`` is already made
    from the same files nothing is done.
    """
    # A link to a larger disk stays a link: its target is what gets replaced.
    out = out.resolve()
    sources = _source_files(task, folder)
    inputs = _inputs(task, sources, encoder)
    finished = finished_manifest(out, inputs, overwrite)
    if finished is not None:
        return finished
    splits = {name: _read_split(task, name, path) for name, path in sources.items()}
    return write_task(task, splits, encoder, inputs, out)


def write_task(
    task: GlueTask,
    splits: dict[str, Split],
    encoder: tokens.TextEncoder,
    inputs: dict[str, Any],
    out: Path,
) -> dict[str, Any]:
    """Write checked splits, ``train`` among them, into ``out``; returns ``prepare.json``.

    Args:
        task: what fairseq-train must be told, and the official row counts.
        splits: by fairseq's name for them, in the order of ``prepare.json``.
        encoder: of the sentences.
        inputs: all that decides the output.
        out: the folder, which is replaced.
    """
    with staged(out) as (partial, manifest):
        manifest.update(_facts(task, encoder, inputs))
        for name, split in splits.items():
            counts = _write_sentences(partial, name, split, encoder)
            manifest["splits"][name] = _split_facts(task, name, split, counts)
        _write_labels(partial, task, splits)
    return manifest


def summary(manifest: dict[str, Any], out: Path) -> Iterator[str]:
    """The manifest as lines for a person."""
    yield f"{manifest['task']}: {manifest['tokens']} -> {out}"
    for name, facts in manifest["splits"].items():
        yield f"  {name:7}{facts['rows']:7} rows ({_verdict(facts)}) from {facts['file']}"
        yield from (f"    {note}" for note in _notes(name, facts))
    flags = shlex.join(manifest["fairseq_train_flags"])
    yield f"fairseq-train --user-dir rxf wants, beside model and criterion: {flags}"


def _verdict(facts: dict[str, Any]) -> str:
    official = facts["official_rows"]
    if official is None:
        return "no official count"
    # A file may be official and still lose broken rows, and the published count may be
    # the one before or after that.
    if official in (facts["rows"], facts["rows_in_file"]):
        return "the official count"
    return f"WARNING: the official file has {official}"


def _notes(name: str, facts: dict[str, Any]) -> Iterator[str]:
    yield from dropped_notes(facts["dropped"], "broken rows")
    if facts["empty_kept"]:
        yield f"{facts['empty_kept']} rows with an empty sentence kept: a test set stays whole"
    if facts["unknown_tokens"]:
        share = 100 * facts["unknown_tokens"] / facts["tokens"]
        yield f"{facts['unknown_tokens']} tokens ({share:.2g} %) are not in the dictionary"
    if facts["longer_than_512"]:
        fate = "skips them" if name == "train" else "stops at them"
        yield (
            f"{facts['longer_than_512']} rows are longer than {LONG} tokens: fairseq {fate} "
            "without --shorten-method or a larger --max-positions"
        )


def task_folder(root: Path, task: GlueTask) -> Path:
    """The folder below ``root`` that holds the task's files, however its name is spelt.

    Raises:
        UserError: there is none.
    """
    if not root.is_dir():
        raise UserError(f"DIR {root}: is no folder: give the one that holds {task.name}/")
    if (root / task.name).is_dir():
        return root / task.name
    for path in sorted(root.iterdir()):
        if path.is_dir() and plain_name(path.name) == plain_name(task.name):
            return path
    raise UserError(f"DIR {root}: has no folder {task.name}: give the folder that holds it")


def _source_files(task: GlueTask, folder: Path) -> dict[str, Path]:
    """The file of each split; only test files may be missing."""
    sources = {name: folder / file for name, file in task.files.items()}
    for name, path in sources.items():
        if not path.is_file() and _has_labels(name):
            raise UserError(f"{path}: there is no such file, and {task.name} needs it as {name}")
    return {name: path for name, path in sources.items() if path.is_file()}


def _has_labels(split: str) -> bool:
    return not split.startswith("test")


def _read_split(task: GlueTask, name: str, path: Path) -> Split:
    if not _has_labels(name):
        return _read_test(task, path)
    table = read_table(path, (*task.sentences, task.label), task.headerless)
    return labelled_split(task, table)


def labelled_split(task: GlueTask, table: Table) -> Split:
    """The rows of ``table``, whose columns are sentences and then the label, as a split.

    Raises:
        UserError: a label that is none of the task's, or too many broken rows.
    """
    _drop_empty(table)
    drop_limit_check(table)
    for row in table.rows:
        _check_label(task, table, row)
    sentences = [row.values[:-1] for row in table.rows]
    return Split(table, sentences, [row.values[-1] for row in table.rows], empty_kept=0)


def _read_test(task: GlueTask, path: Path) -> Split:
    """No row may be dropped: the GLUE server wants a prediction for each."""
    table = read_table(path, task.sentences)
    drop_limit_check(table, limit=0)
    sentences = [row.values for row in table.rows]
    empty = sum(not all(pair) for pair in sentences)
    return Split(table, sentences, None, empty_kept=empty)


def _drop_empty(table: Table) -> None:
    def whole(row: TsvRow) -> bool:
        return all(row.values[:-1])

    empty = [row.line for row in table.rows if not whole(row)]
    table.dropped += [f"{table.at(line)}: empty sentence" for line in empty]
    table.rows = [row for row in table.rows if whole(row)]


def _check_label(task: GlueTask, table: Table, row: TsvRow) -> None:
    """A label of another task means the wrong file, so one is enough to stop."""
    label = row.values[-1]
    if task.regression:
        _check_score(task, table, row)
    elif label not in task.labels:
        raise UserError(
            f"{table.at(row.line)}: label {label!r} is none of {task.name}'s "
            f"({', '.join(task.labels)}): mend the row, or check TASK"
        )


def _check_score(task: GlueTask, table: Table, row: TsvRow) -> None:
    low, high = task.score_range
    try:
        score = float(row.values[-1])
    except ValueError:
        score = float("nan")
    if not low <= score <= high:
        raise UserError(
            f"{table.at(row.line)}: score {row.values[-1]!r} is no number from {low:g} to "
            f"{high:g}: mend the row, or check TASK"
        )


def _inputs(
    task: GlueTask, sources: dict[str, Path], encoder: tokens.TextEncoder
) -> dict[str, Any]:
    """All that decides the output; the same inputs need no second run."""
    files = [*sources.values(), *encoder.files.values()]
    names = [path.name for path in sources.values()] + list(encoder.files)
    sums = {name: checksum(path) for name, path in zip(names, files, strict=True)}
    return {"format": FORMAT, "task": task.name, "tokens": encoder.kind, **sums}


def _facts(task: GlueTask, encoder: tokens.TextEncoder, inputs: dict[str, Any]) -> dict[str, Any]:
    return {
        "task": task.name,
        "tokens": f"{encoder.kind}, {len(encoder.dictionary)} types",
        "dictionary": str(encoder.files["dict.txt"].resolve()),
        "num_classes": task.num_classes,
        "best_metric": task.best_metric,
        "fairseq_train_flags": task.train_flags(),
        "splits": {},
        "inputs": inputs,
        "versions": versions(),
    }


def _split_facts(task: GlueTask, name: str, split: Split, counts: dict[str, int]) -> dict[str, Any]:
    return {
        "file": str(split.table.path),
        "rows": len(split.sentences),
        "rows_in_file": split.table.found,
        "official_rows": task.rows.get(name),
        "dropped": split.table.dropped,
        "empty_kept": split.empty_kept,
        **counts,
    }


def _write_sentences(
    out: Path, name: str, split: Split, encoder: tokens.TextEncoder
) -> dict[str, int]:
    """Write ``input0`` and, for pairs, ``input1``; returns what was counted on the way."""
    counts = {"tokens": 0, "unknown_tokens": 0, "longer_than_512": 0}
    unknown, end = encoder.dictionary.unk(), encoder.dictionary.eos()
    with ExitStack() as stack:
        writers = []
        for index in range(len(split.sentences[0])):
            column = out / f"input{index}"
            _save_dictionary(column, encoder.dictionary)
            writers.append(stack.enter_context(column_writer(column / name, encoder.dictionary)))
        for sentences in tqdm(split.sentences, desc=name, unit="rows", disable=None):
            encoded = [encoder.encode(sentence) for sentence in sentences]
            for writer, numbers in zip(writers, encoded, strict=True):
                writer.add_item(torch.IntTensor([*numbers, end]))
                counts["unknown_tokens"] += numbers.count(unknown)
            length = sum(map(len, encoded))
            counts["tokens"] += length
            # Each sentence has <s> or a separator before it and </s> behind it.
            counts["longer_than_512"] += length + 2 * len(encoded) > LONG
    tokens.check_known(encoder, counts["unknown_tokens"], counts["tokens"])
    return counts


def _save_dictionary(column: Path, dictionary: Any) -> None:
    column.mkdir(exist_ok=True)
    dictionary.save(str(column / "dict.txt"))


def _write_labels(out: Path, task: GlueTask, splits: dict[str, Split]) -> None:
    folder = out / "label"
    folder.mkdir()
    labelled = {name: split.labels for name, split in splits.items() if split.labels is not None}
    if task.regression:
        for name, scores in labelled.items():
            _write_scores(folder / f"{name}.label", task, scores)
        return
    dictionary = label_dictionary(labelled["train"], task.labels)
    dictionary.save(str(folder / "dict.txt"))
    for name, labels in labelled.items():
        write_column(folder / name, dictionary, ([dictionary.index(label)] for label in labels))


def _write_scores(path: Path, task: GlueTask, scores: list[str]) -> None:
    """Scores from 0 to 1, as in fairseq's recipe; correlations do not mind the scale."""
    low, high = task.score_range
    lines = [f"{(float(score) - low) / (high - low):.6g}\n" for score in scores]
    path.write_text("".join(lines), encoding="utf-8")
