"""What is fine-tuned on what: a built-in task with the tiny model, or a GLUE task with yours."""

from pathlib import Path
from typing import Any, NamedTuple

from fairseq.data import Dictionary, data_utils

from rxf.errors import UserError
from rxf.lab.prepare.glue import prepare_task, task_folder
from rxf.lab.prepare.glue_tasks import find_task
from rxf.lab.prepare.tokens import gpt2_encoder
from rxf.lab.quickstart import data, grammar, pretrain
from rxf.lab.quickstart.model_flags import TINY, flags_from_checkpoint

__all__ = ["Target", "baseline", "builtin_target", "glue_target", "is_builtin"]

SIZES = data.Sizes(train=300, valid=300)
SMOKE_SIZES = data.Sizes(train=96, valid=96)


class Target(NamedTuple):
    """``baseline`` is what answering the commonest label of the valid set would score."""

    task: str
    data: Path
    task_flags: list[str]
    model: dict[str, Any]
    checkpoint: Path
    metric: str
    baseline: float
    valid_rows: int


def is_builtin(task: str) -> bool:
    return task in grammar.TASKS


def builtin_target(task: str, out: Path, smoke: bool) -> Target:
    """Make the data below ``out``, or take what is there; the tiny model comes with rxf."""
    sizes = SMOKE_SIZES if smoke else SIZES
    folder = out / f"built-in-{data.fingerprint(sizes)}"
    data.write_family(folder, sizes)
    checkpoint = pretrain.tiny_roberta(out)
    definition = grammar.TASKS[task]
    flags = ["--task", "sentence_prediction", "--num-classes", str(len(definition.labels))]
    flags += ["--init-token", "0", "--separator-token", "2"]
    flags += ["--best-checkpoint-metric", "accuracy", "--maximize-best-checkpoint-metric"]
    share = baseline(folder / task, "accuracy")
    return Target(task, folder / task, flags, TINY, checkpoint, "accuracy", share, sizes.valid)


def glue_target(task_name: str, source: Path, checkpoint: Path, out: Path) -> Target:
    """Prepare a GLUE task from ``source``/glue for the model in ``checkpoint``.

    Raises:
        UserError: a file is missing, or the checkpoint is no RoBERTa.
    """
    task = find_task(task_name)
    for piece in (source / "glue", source / "gpt2_bpe"):
        if not piece.is_dir():
            raise UserError(f"RXF_DATA {source}: has no folder {piece.name}/")
    model = flags_from_checkpoint(checkpoint)
    bpe = source / "gpt2_bpe"
    encoder = gpt2_encoder(bpe / "encoder.json", bpe / "vocab.bpe", bpe / "dict.txt")
    folder = out / f"{task.name}-bin"
    rows = task_folder(source / "glue", task)
    facts = prepare_task(task, rows, encoder, folder, overwrite=True)
    return Target(
        task=task.name,
        data=folder,
        task_flags=task.train_flags(),
        model=model,
        checkpoint=checkpoint,
        metric=task.best_metric,
        baseline=baseline(folder, task.best_metric),
        valid_rows=facts["splits"]["valid"]["rows"],
    )


def baseline(prepared: Path, metric: str) -> float:
    """The metric, in percent, of always giving the valid set's commonest label.

    A correlation has no variance to work with then and counts as 0.
    """
    if metric not in ("accuracy", "acc_and_f1"):
        return 0.0
    labels = _valid_labels(prepared / "label")
    commonest = max(sorted(set(labels)), key=labels.count)
    accuracy = labels.count(commonest) / len(labels)
    if metric == "accuracy":
        return 100 * accuracy
    # F1 is that of label "1": no answer is right where the commonest is another.
    f1 = 2 * accuracy / (1 + accuracy) if commonest == "1" else 0.0
    return 100 * (accuracy + f1) / 2


def _valid_labels(folder: Path) -> list[str]:
    dictionary = Dictionary.load(str(folder / "dict.txt"))
    rows = data_utils.load_indexed_dataset(str(folder / "valid"), dictionary)
    return [dictionary[int(row[0])] for row in rows]
