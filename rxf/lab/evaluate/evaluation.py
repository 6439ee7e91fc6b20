"""Scores and predictions of a checkpoint, as a folder that is finished or not there at all."""

import shlex
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from rxf.errors import UserError
from rxf.lab.evaluate import checkpoint
from rxf.lab.evaluate.answers import answers, submission_lines, submission_name, table_lines
from rxf.lab.evaluate.checkpoint import Classifier
from rxf.lab.evaluate.outputs import Outputs, outputs_of
from rxf.lab.evaluate.splits import find_splits, split_files
from rxf.lab.files import read_json
from rxf.lab.prepare.output_folder import Maker, checksum, finished_manifest, staged, versions
from rxf.lab.prepared import FACTS, Prepared, read_prepared
from rxf.lab.probe.encoder import build
from rxf.lab.probe.task_data import TaskData

__all__ = ["METRICS", "SCORES", "evaluate", "summary"]

SCORES = "scores.json"
MAKER = Maker("rxf evaluate", "made", SCORES)
# Part of what decides whether OUT is up to date: raise it when the output changes.
FORMAT = 1
# What the criterion logs in percent, the larger the better.
METRICS = ("accuracy", "mcc", "f1", "acc_and_f1", "pearson", "spearman", "pearson_and_spearman")


class Evaluated(NamedTuple):
    """A split's rows in the data's order: what was put out, and what that says."""

    outputs: Outputs
    answers: list[str]


def evaluate(args: Namespace) -> dict[str, Any]:
    """Evaluate as the arguments of :func:`rxf.lab.evaluate.add_arguments` say.

    Returns:
        What ``OUT/scores.json`` holds.

    Raises:
        UserError: a flag or file is wrong; nothing was written then.
    """
    # A link to a larger disk stays a link: its target is what gets replaced.
    out = args.out.resolve()
    if not args.checkpoint.is_file():
        raise UserError(f"CHECKPOINT {args.checkpoint}: there is no such file: correct the path")
    prepared = read_prepared(args.data)
    splits = find_splits(args.data, args.splits)
    inputs = _inputs(args, splits)
    finished = finished_manifest(out, inputs, args.overwrite, MAKER)
    if finished is not None:
        return finished
    started = time.perf_counter()
    model = checkpoint.read(args.checkpoint, args.classification_head_name)
    data = checkpoint.open_data(prepared, model)
    with staged(out, MAKER) as (partial, manifest):
        found = _run(args, model, data, splits)
        manifest.update(_facts(args, model, data, found))
        manifest["submission"] = _write(partial, prepared, found)
        manifest["seconds"] = round(time.perf_counter() - started, 3)
        manifest.update(inputs=inputs, versions=versions())
    return manifest


def summary(manifest: dict[str, Any], out: Path) -> Iterator[str]:
    """The manifest as lines for a person."""
    yield f"{manifest['task']}: {manifest['checkpoint']} -> {out}"
    width = max(map(len, manifest["splits"]))
    for name, facts in manifest["splits"].items():
        scores = ", ".join(f"{m} {facts[m]:.2f}" for m in METRICS if m in facts)
        yield f"  {name:{width}}{facts['rows']:8} rows   {scores or 'no labels'}"
        yield from (f"    {note}" for note in _notes(manifest, name))


def _notes(manifest: dict[str, Any], split: str) -> Iterator[str]:
    if manifest["cut"][split]:
        yield (
            f"{manifest['cut'][split]} rows were cut to the {manifest['max_tokens']} tokens that "
            "the model takes"
        )
    file = manifest["submission"].get(split)
    if file is not None:
        yield f"for GLUE's server: {file['file']}"
        if file["official_rows"] not in (None, manifest["splits"][split]["rows"]):
            yield f"WARNING: it wants {file['official_rows']} rows: get the official test file"


def _inputs(args: Namespace, splits: list[str]) -> dict[str, Any]:
    """All that decides the output; the same inputs need no second run."""
    files = {"input0/dict.txt": args.data / "input0" / "dict.txt"}
    if (args.data / "label" / "dict.txt").is_file():
        files["label/dict.txt"] = args.data / "label" / "dict.txt"
    for split in splits:
        files |= split_files(args.data, split)
    return {
        "format": FORMAT,
        "--splits": splits,
        "--classification-head-name": args.classification_head_name,
        "CHECKPOINT": checksum(args.checkpoint),
        **{name: checksum(path) for name, path in files.items()},
    }


def _run(
    args: Namespace, model: Classifier, data: TaskData, splits: list[str]
) -> dict[str, Evaluated]:
    built = build(model.encoder, data.task)
    if _on_gpu(args):
        built.cuda()
    known = read_json(args.data / FACTS)["splits"]
    total = sum(known[split]["rows"] for split in splits)
    found = {}
    with tqdm(total=total, desc="evaluate", unit="rows", disable=None) as bar:
        for split in splits:
            out = outputs_of(built, data, model.encoder, split, args.batch_size, bar)
            found[split] = Evaluated(out, answers(data, out.logits))
    return found


def _on_gpu(args: Namespace) -> bool:
    return torch.cuda.is_available() and not args.cpu


def _facts(
    args: Namespace, model: Classifier, data: TaskData, found: dict[str, Evaluated]
) -> dict[str, Any]:
    return {
        "command": shlex.join(["rxf", "evaluate", *args.words]),
        "checkpoint": str(args.checkpoint.resolve()),
        "data": str(args.data.resolve()),
        "task": data.prepared.name,
        "metric": data.prepared.metric,
        "splits": {split: _scores(data, one.outputs) for split, one in found.items()},
        "cut": {split: one.outputs.cut for split, one in found.items()},
        "max_tokens": model.encoder.positions,
        "device": torch.cuda.get_device_name() if _on_gpu(args) else "cpu",
    }


def _scores(data: TaskData, outputs: Outputs) -> dict[str, Any]:
    """The row count and, with labels, the metrics as training logs them."""
    rows = {"rows": len(outputs.logits)}
    if outputs.targets is None:
        return rows
    logged = data.logged(outputs.logits, outputs.targets)
    return {**rows, **{name: logged[name] for name in METRICS if name in logged}}


def _write(out: Path, prepared: Prepared, found: dict[str, Evaluated]) -> dict[str, Any]:
    """Write the tables; returns the submission file of each split that has one."""
    submission = {}
    known = read_json(prepared.folder / FACTS)["splits"]
    for split, one in found.items():
        _write_lines(out / f"{split}.tsv", table_lines(one.answers))
        name = submission_name(prepared.name, split)
        if name is not None:
            file = f"submission/{name}.tsv"
            (out / "submission").mkdir(exist_ok=True)
            _write_lines(out / file, submission_lines(prepared.name, one.answers))
            official = known[split].get("official_rows")
            submission[split] = {"file": file, "official_rows": official}
    return submission


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(lines), encoding="utf-8")
