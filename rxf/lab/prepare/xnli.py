"""`rxf prepare xnli DIR OUT`: XNLI for fairseq's ``sentence_prediction``, by language.

A model is trained on English and scored in every language (zero-shot): ``train`` holds the
English training rows, ``valid`` the English development rows, and ``dev-LL`` and ``test-LL``
those of each language that is there.
"""

import argparse
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Optional

from rxf.errors import UserError
from rxf.lab.prepare import tokens
from rxf.lab.prepare.glue import Split, labelled_split, summary, write_task
from rxf.lab.prepare.glue_tasks import GlueTask
from rxf.lab.prepare.lines import find_file, read_lines
from rxf.lab.prepare.output_folder import checksum, finished_manifest
from rxf.lab.prepare.tsv import Table, TsvRow, drop_limit_check, read_table

__all__ = ["LANGUAGES", "TASK", "add_arguments", "in_order", "prepare_xnli", "run"]

# Part of what decides whether OUT is up to date: raise it when the output changes.
FORMAT = 1
ENGLISH = "en"
# In the order of the paper's table.
LANGUAGES = (
    *("en", "fr", "es", "de", "el", "bg", "ru", "tr"),
    *("ar", "vi", "th", "zh", "hi", "sw", "ur"),
)
COLUMNS = ("premise", "hypothesis", "label")
# Where the two official archives leave their files, DIR itself among them.
FOLDERS = ("", "XNLI-1.0", "XNLI-MT-1.0/multinli", "multinli")
OFFICIAL = {"dev": "xnli.dev.tsv", "test": "xnli.test.tsv"}
OFFICIAL_COLUMNS = ("language", "sentence1", "sentence2", "gold_label")
TRAIN = ("multinli.train.en.tsv", "train-en.tsv")
# A training file's header, if it has one: XNLI's own, and MNLI's.
TRAIN_COLUMNS = (
    ("premise", "hypo", "label"),
    COLUMNS,
    ("sentence1", "sentence2", "gold_label"),
)
# The official training file alone has another word for it.
SPELT = {"contradictory": "contradiction"}
TASK = GlueTask(
    "XNLI",
    sentences=COLUMNS[:2],
    label=COLUMNS[2],
    labels=("contradiction", "entailment", "neutral"),
    best_metric="accuracy",
    rows={
        "train": 392702,
        "valid": 2490,
        **{f"dev-{language}": 2490 for language in LANGUAGES},
        **{f"test-{language}": 5010 for language in LANGUAGES},
    },
)


class Sources(NamedTuple):
    """The files: either one with a language column or one a language, of dev and of test."""

    train: Path
    dev: list[Path]
    test: list[Path]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "dir",
        metavar="DIR",
        type=Path,
        help="holds xnli.dev.tsv, xnli.test.tsv and multinli.train.en.tsv, or the folders "
        "XNLI-1.0 and XNLI-MT-1.0 that the archives make; or dev-LL.tsv, test-LL.tsv and "
        "train-en.tsv of premise, hypothesis, label; test files may be missing",
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="the folder for fairseq-train")
    parser.add_argument(
        "--train",
        metavar="FILE",
        type=Path,
        help="English training rows, where DIR has none: MNLI's train.tsv will do",
    )
    parser.add_argument(
        "--train-rows", metavar="N", type=int, help="only the first N of them (default: all)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an OUT made before")
    tokens.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.train_rows is not None and args.train_rows < 1:
        raise UserError(f"--train-rows {args.train_rows}: give 1 or more")
    sources = find_sources(args.dir, args.train)
    encoder = tokens.load_encoder(args)
    manifest = prepare_xnli(sources, encoder, args.out, args.train_rows, args.overwrite)
    print("\n".join(summary(manifest, args.out)))
    return 0


def prepare_xnli(
    sources: Sources,
    encoder: tokens.TextEncoder,
    out: Path,
    train_rows: Optional[int] = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Prepare the files; returns what ``OUT/prepare.json`` holds.

    All files are read and checked before anything is written.  If ``out`` is already made
    from the same files nothing is done.

    Args:
        sources: as :func:`find_sources` finds them.
        encoder: of every language.
        out: the folder.
        train_rows: only so many of the training rows, from the first.
        overwrite: replace what was made before.

    Raises:
        UserError: a file that cannot be used, or an ``out`` that holds anything else.
    """
    # A link to a larger disk stays a link: its target is what gets replaced.
    out = out.resolve()
    inputs = _inputs(sources, encoder, train_rows)
    finished = finished_manifest(out, inputs, overwrite)
    if finished is not None:
        return finished
    splits = {"train": labelled_split(TASK, _read_train(sources.train, train_rows))}
    dev = dict(_by_language("dev", sources.dev))
    if ENGLISH not in dev:
        raise UserError(
            f"{sources.dev[0]}: English rows are missing, and the best checkpoint is chosen by "
            "them: add them"
        )
    splits["valid"] = dev[ENGLISH]
    splits |= {f"dev-{language}": dev[language] for language in in_order(dev)}
    test = dict(_by_language("test", sources.test))
    splits |= {f"test-{language}": test[language] for language in in_order(test)}
    return write_task(_task(train_rows), splits, encoder, inputs, out)


def find_sources(root: Path, train: Optional[Path] = None) -> Sources:
    """The files of XNLI below a folder, in the official form or one file a language.

    Args:
        root: see the help of DIR.
        train: in place of a training file that is below ``root``.

    Raises:
        UserError: training or development rows are not there, or there in both forms.
    """
    if not root.is_dir():
        raise UserError(f"DIR {root}: is no folder: give the one that holds XNLI's files")
    if train is not None and not train.is_file():
        raise UserError(f"--train {train}: there is no such file: correct the path")
    found = train or _find(root, TRAIN)
    dev, test = (_evaluation_files(root, kind) for kind in OFFICIAL)
    if not dev:
        raise UserError(f"DIR {root}: has no {OFFICIAL['dev']} and no dev-LL.tsv: get XNLI-1.0")
    if found is None:
        raise UserError(
            f"DIR {root}: has no {' or '.join(TRAIN)}: get XNLI-MT-1.0, or give --train FILE "
            "(MNLI's train.tsv will do)"
        )
    return Sources(found, dev, test)


def in_order(languages: Iterable[str]) -> list[str]:
    """Languages as the paper's table orders them, then others by the alphabet."""
    given = set(languages)
    return [name for name in LANGUAGES if name in given] + sorted(given - set(LANGUAGES))


def _find(root: Path, names: Iterable[str]) -> Optional[Path]:
    places = ((root / folder, name) for folder in FOLDERS for name in names)
    return next((path for path in (find_file(*place) for place in places) if path), None)


def _evaluation_files(root: Path, kind: str) -> list[Path]:
    official = _find(root, [OFFICIAL[kind]])
    single = sorted(path for end in ("tsv", "tsv.gz") for path in root.glob(f"{kind}-*.{end}"))
    if official is not None and single:
        raise UserError(f"DIR {root}: holds {OFFICIAL[kind]} and {single[0].name}: keep one form")
    languages = [_language(path) for path in single]
    twice = [path for path in single if languages.count(_language(path)) > 1]
    if twice:
        raise UserError(f"DIR {root}: holds {twice[0].name} and {twice[1].name}: keep one")
    return [official] if official is not None else single


def _language(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".tsv").partition("-")[2]


def _inputs(
    sources: Sources, encoder: tokens.TextEncoder, train_rows: Optional[int]
) -> dict[str, Any]:
    """All that decides the output; the same inputs need no second run."""
    files: Mapping[str, Path] = {
        f"train {sources.train.name}": sources.train,
        **{path.name: path for path in (*sources.dev, *sources.test)},
        **encoder.files,
    }
    settings = {"format": FORMAT, "task": TASK.name, "--train-rows": train_rows}
    sums = {name: checksum(path) for name, path in files.items()}
    return {**settings, "tokens": encoder.kind, **sums}


def _task(train_rows: Optional[int]) -> GlueTask:
    """There is no official count of a part of the training rows."""
    if train_rows is None:
        return TASK
    rows = {split: count for split, count in TASK.rows.items() if split != "train"}
    return dataclasses.replace(TASK, rows=rows)


def _read_train(path: Path, train_rows: Optional[int]) -> Table:
    first = next(read_lines(path), "").split("\t")
    columns = next((names for names in TRAIN_COLUMNS if set(names) <= set(first)), None)
    table = read_table(path, columns or COLUMNS, () if columns else COLUMNS)
    drop_limit_check(table)
    if train_rows is not None and train_rows > len(table.rows):
        raise UserError(f"--train-rows {train_rows}: {path} has {len(table.rows)}: give less")
    table.rows = [
        TsvRow(row.line, (*row.values[:-1], SPELT.get(row.values[-1], row.values[-1])))
        for row in table.rows[:train_rows]
    ]
    return table


def _by_language(kind: str, files: list[Path]) -> Iterator[tuple[str, Split]]:
    """Each language and its rows, which must all be sound: they are what is reported."""
    for path in files:
        official = path.name.removesuffix(".gz") == OFFICIAL[kind]
        columns = OFFICIAL_COLUMNS if official else COLUMNS
        table = read_table(path, columns, () if official else COLUMNS)
        drop_limit_check(table, limit=0)
        parts = _parted(table) if official else {_language(path): table}
        for language, part in parts.items():
            yield language, labelled_split(TASK, part)


def _parted(table: Table) -> dict[str, Table]:
    """The rows by their first column, which is left out of them."""
    rows: dict[str, list[TsvRow]] = {}
    for row in table.rows:
        rows.setdefault(row.values[0], []).append(TsvRow(row.line, row.values[1:]))
    return {name: Table(table.path, len(part), part) for name, part in rows.items()}
