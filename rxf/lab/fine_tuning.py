"""The command of one fine-tuning: what the quickstart and the probes share."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import rxf

__all__ = ["Recipe", "fine_tune_command", "shared_flags", "spelt_out", "train_command"]

VALIDATIONS = 8
USER_DIR = Path(rxf.__file__).resolve().parent


class Recipe(NamedTuple):
    """The settings that all methods of a comparison share."""

    updates: int
    batch_size: int
    lr: float
    on_gpu: bool = False
    # The paper's share of the updates.
    warmup: float = 0.06


def train_command() -> list[str]:
    """``fairseq-train`` of the Python that runs this, found without any PATH."""
    return [sys.executable, "-m", "fairseq_cli.train", "--user-dir", str(USER_DIR)]


def spelt_out(values: Mapping[str, Any]) -> list[str]:
    """``{"r3f_lambda": 0.1, "report_mcc": True}`` as ``--r3f-lambda 0.1 --report-mcc``.

    True is a flag without a value, False leaves the flag out.
    """
    flags = []
    for name, value in values.items():
        if value is not False:
            flags.append("--" + name.replace("_", "-"))
            flags += [] if value is True else [str(value)]
    return flags


def shared_flags(recipe: Recipe, save_dir: Path, seed: int, log_every: int) -> list[str]:
    """Optimizer, schedule, logging and checkpoints.

    A run validates and saves at the same updates, so that what is killed goes on from
    there, and the last interval's file is all that is kept beside best and last.
    """
    warmup = max(1, round(recipe.warmup * recipe.updates))
    every = max(1, recipe.updates // VALIDATIONS)
    flags = {
        "--batch-size": recipe.batch_size,
        "--required-batch-size-multiple": 1,
        "--optimizer": "adam",
        "--adam-betas": "(0.9, 0.98)",
        "--adam-eps": 1e-6,
        "--weight-decay": 0.01,
        "--lr": recipe.lr,
        "--lr-scheduler": "polynomial_decay",
        "--warmup-updates": warmup,
        "--total-num-update": recipe.updates,
        "--max-update": recipe.updates,
        "--seed": seed,
        "--save-dir": save_dir,
        "--save-interval-updates": every,
        "--keep-interval-updates": 1,
        "--validate-interval-updates": every,
        "--validate-interval": recipe.updates,
        "--num-workers": 0,
        "--log-format": "json",
        "--log-interval": log_every,
    }
    switches = ["--no-epoch-checkpoints"] + ([] if recipe.on_gpu else ["--cpu"])
    return [str(part) for pair in flags.items() for part in pair] + switches


def fine_tune_command(
    data: Path,
    task_flags: list[str],
    model_flags: list[str],
    checkpoint: Path,
    method_flags: list[str],
    recipe: Recipe,
    seed: int,
    save_dir: Path,
) -> list[str]:
    """One run, in the form that goes on where it was stopped (``--finetune-from-model``).

    The method's flags stand last, so that its optimizer takes the place of Adam.
    """
    return [
        *train_command(),
        str(data),
        *("--finetune-from-model", str(checkpoint)),
        *task_flags,
        *model_flags,
        *("--dropout", "0.1", "--attention-dropout", "0.1", "--pooler-dropout", "0.1"),
        *("--clip-norm", "0.0"),
        *shared_flags(recipe, save_dir, seed, log_every=max(1, recipe.updates // 40)),
        *method_flags,
    ]
