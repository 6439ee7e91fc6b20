"""What is fine-tuned on what: a built-in task with the tiny model, or a GLUE task with yours."""

from pathlib import Path
from typing import Any, NamedTuple

from rxf.errors import UserError
from rxf.lab.model_flags import TINY, flags_from_checkpoint
from rxf.lab.prepare.glue import prepare_task, task_folder
from rxf.lab.prepare.glue_tasks import find_task
from rxf.lab.prepare.tokens import gpt2_encoder
from rxf.lab.prepared import Prepared, read_prepared
from rxf.lab.quickstart import data, grammar, pretrain

__all__ = ["Target", "builtin_target", "glue_target", "is_builtin"]

SIZES = data.Sizes(train=300, valid=300)
SMOKE_SIZES = data.Sizes(train=96, valid=96)


class Target(NamedTuple):
    """A prepared task, and the pre-trained model that is fine-tuned on it."""

    prepared: Prepared
    model: dict[str, Any]
    checkpoint: Path


def is_builtin(task: str) -> bool:
    return task in grammar.TASKS


def builtin_target(task: str, out: Path, smoke: bool) -> Target:
    """Make the data below ``out``, or take what is there; the tiny model comes with rxf."""
    sizes = SMOKE_SIZES if smoke else SIZES
    folder = out / f"built-in-{data.fingerprint(sizes)}"
    data.write_family(folder, sizes)
    return Target(read_prepared(folder / task), TINY, pretrain.tiny_roberta(out))


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
    prepare_task(task, rows, encoder, folder, overwrite=True)
    return Target(read_prepared(folder), model, checkpoint)
