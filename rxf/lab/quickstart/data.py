"""The built-in task family in fairseq's binary form: what ``fairseq-train`` reads.

OUT/text/{train,valid}.{bin,idx}, dict.txt              for pre-training
OUT/TASK/{input0,input1,label}/{train,valid}.*, dict.txt  for fine-tuning
OUT/TASK/{train,valid}.tsv                              the same rows, to be read by people
OUT/TASK/prepare.json                                   the task's facts, as `rxf prepare` has them
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fairseq.data import Dictionary, indexed_dataset

from rxf.lab.prepared import FACTS
from rxf.lab.quickstart import grammar, lexicon
from rxf.lab.quickstart.grammar import Example, Task

__all__ = ["Sizes", "fingerprint", "text_fingerprint", "write_family", "write_text"]


class Sizes(NamedTuple):
    """Rows of every task."""

    train: int
    valid: int


def write_family(out: Path, sizes: Sizes, seed: int = 1) -> None:
    """Write all tasks below ``out``; nothing is done if they are there."""
    finished = out / "data.json"
    if finished.is_file():
        return
    vocabulary = _dictionary(lexicon.words())
    for task in grammar.TASKS.values():
        rows = grammar.task_rows(task, {"train": sizes.train, "valid": sizes.valid}, seed)
        _write_task(out / task.name, task, rows, vocabulary)
    finished.write_text(json.dumps({"seed": seed, **sizes._asdict()}, indent=1))


def fingerprint(*settings: object) -> str:
    """Changes with what the grammar generates and with the settings, so that neither data
    nor a model made from another language is taken in error."""
    rows = [grammar.task_rows(task, {"train": 12}) for task in grammar.TASKS.values()]
    return _digest(lexicon.words(), grammar.paragraphs(12), rows, settings, FACTS)


def text_fingerprint() -> str:
    """As :func:`fingerprint`, of the words and the running text alone."""
    return _digest(lexicon.words(), grammar.paragraphs(12))


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]


def _dictionary(symbols: Iterable[str]) -> Dictionary:
    dictionary = Dictionary()
    for symbol in symbols:
        dictionary.add_symbol(symbol)
    return dictionary


def write_text(folder: Path, paragraphs: int, held_out: int, seed: int = 1) -> None:
    """Write running text, a paragraph a row; nothing is done if it is there."""
    finished = folder / "data.json"
    if finished.is_file():
        return
    lines = grammar.paragraphs(paragraphs + held_out, seed)
    vocabulary = _dictionary(lexicon.words())
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary.save(str(folder / "dict.txt"))
    _write_split(folder / "train", lines[:paragraphs], vocabulary)
    _write_split(folder / "valid", lines[paragraphs:], vocabulary)
    finished.write_text(json.dumps({"seed": seed, "paragraphs": paragraphs}))


def _write_task(
    folder: Path, task: Task, splits: dict[str, list[Example]], vocabulary: Dictionary
) -> None:
    labels = _dictionary(task.labels)
    fields = {"input0": vocabulary, "label": labels}
    if task.is_pair:
        fields["input1"] = vocabulary
    for name, dictionary in fields.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        dictionary.save(str(folder / name / "dict.txt"))
    for split, rows in splits.items():
        columns = {
            "input0": [row.text for row in rows],
            "input1": [row.second or "" for row in rows],
            "label": [row.label for row in rows],
        }
        for name, dictionary in fields.items():
            _write_split(folder / name / split, columns[name], dictionary)
        table = ["\t".join([row.label, row.text, *filter(None, [row.second])]) for row in rows]
        (folder / f"{split}.tsv").write_text("\n".join(table) + "\n")
    (folder / FACTS).write_text(json.dumps(_facts(task, splits), indent=1))


def _facts(task: Task, splits: dict[str, list[Example]]) -> dict[str, Any]:
    classes = str(len(task.labels))
    flags = ["--task", "sentence_prediction", "--num-classes", classes]
    flags += ["--init-token", "0", "--separator-token", "2"]
    flags += ["--best-checkpoint-metric", "accuracy", "--maximize-best-checkpoint-metric"]
    return {
        "task": task.name,
        "num_classes": int(classes),
        "best_metric": "accuracy",
        "fairseq_train_flags": flags,
        "splits": {name: {"rows": len(rows)} for name, rows in splits.items()},
    }


def _write_split(prefix: Path, lines: Sequence[str], dictionary: Dictionary) -> None:
    builder = indexed_dataset.make_builder(f"{prefix}.bin", "mmap", len(dictionary))
    for line in lines:
        builder.add_item(dictionary.encode_line(line, add_if_not_exist=False).long())
    builder.finalize(f"{prefix}.idx")
