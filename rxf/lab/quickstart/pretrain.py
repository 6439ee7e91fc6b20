"""The tiny RoBERTa of the built-in language: shipped with rxf, and how it was made.

    python -m rxf.lab.quickstart.pretrain FOLDER

pre-trains it in FOLDER, by ``fairseq-train`` on running text of the grammar (some minutes
on one core), and writes ``tiny_roberta.pt`` there; the one beside this file was made so.
It is shipped because what polarity needs, which adjectives are kind, is learned late and
all at once: after some 1,500 updates in the run that is shipped, not within 4,000 in
another with a shorter warm-up.  A minute of pre-training, all that a quickstart could
spare, cannot be relied on for it.
"""

import sys
from argparse import Namespace
from pathlib import Path

import torch

from rxf.errors import UserError
from rxf.fairseq_fixes.checkpoint_allow_list import load
from rxf.lab.model_flags import TINY, model_flags
from rxf.lab.quickstart import data
from rxf.lab.quickstart.recipe import Recipe, pretrain_command
from rxf.lab.runs import Run, run_all

__all__ = ["SHIPPED", "make", "tiny_roberta"]

SHIPPED = Path(__file__).with_name("tiny_roberta.pt")
RECIPE = Recipe(updates=4000, batch_size=32, lr=4e-3, warmup=0.1)
PARAGRAPHS, HELD_OUT = 130_000, 400
PATHS = {"data": ".", "save_dir": "checkpoints", "user_dir": None}


def tiny_roberta(out: Path) -> Path:
    """The shipped model; where it is missing or knows another language, a new one."""
    if SHIPPED.is_file() and _language(SHIPPED) == data.text_fingerprint():
        return SHIPPED
    return make(out / f"pretrained-{data.text_fingerprint()}", RECIPE)


def _language(path: Path) -> str:
    return str(load(str(path), map_location="cpu")["extra_state"].get("language"))


def make(folder: Path, recipe: Recipe) -> Path:
    """Pre-train in ``folder``, or take what is there; the small file's path.

    Raises:
        UserError: the training failed.
    """
    small = folder / "tiny_roberta.pt"
    if small.is_file():
        return small
    text, save_dir = folder / "text", folder / "checkpoints"
    data.write_text(text, PARAGRAPHS, HELD_OUT)
    run = Run(
        folder=save_dir,
        command=pretrain_command(text, model_flags(TINY), recipe, save_dir),
        updates=recipe.updates,
        # Steps this small gain little from a second thread, and lose much beside other work.
        threads=1,
        settings={"metric": "loss", "maximize": False},
    )
    (record,) = run_all([run], jobs=1, title="pre-training", retry_failed=True)
    if record["status"] == "failed":
        raise UserError(f"pre-training failed: {record['error']}; {run.log} has all of it")
    _write_small(save_dir / "checkpoint_best.pt", small)
    return small


def _write_small(source: Path, target: Path) -> None:
    """Weights in half precision and the settings; no optimizer, no paths of this machine."""
    state = load(str(source), map_location="cpu")
    settings = {**vars(state["cfg"]["model"]), **PATHS}
    kept = {
        "args": Namespace(**settings),
        "model": {name: tensor.half() for name, tensor in state["model"].items()},
        "optimizer_history": state["optimizer_history"],
        "last_optimizer_state": None,
        "extra_state": {"train_iterator": {"epoch": 1}, "language": data.text_fingerprint()},
    }
    torch.save(kept, target)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m rxf.lab.quickstart.pretrain FOLDER")
    print(make(Path(sys.argv[1]).resolve(), RECIPE))
