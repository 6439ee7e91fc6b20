"""A tiny translation data set in fairseq's binary form, and models trained on it."""

import random
from pathlib import Path
from typing import Any

import torch
from fairseq.data import indexed_dataset

from tests.support import REPO, fork_fairseq_train, write_translation_data

SPLITS = ("train", "valid", "test")
WORDS = [f"w{number:02d}" for number in range(20)]
TINY = [
    *["--encoder-layers", "1", "--decoder-layers", "1", "--encoder-embed-dim", "16"],
    *["--encoder-ffn-embed-dim", "32", "--encoder-attention-heads", "2"],
    *["--decoder-embed-dim", "16", "--decoder-ffn-embed-dim", "32"],
    *["--decoder-attention-heads", "2"],
]


def write_splits(folder: Path, rows: int = 13, words: list[str] = WORDS) -> Path:
    """``rows`` pairs each for train, valid and test; returns ``folder``."""
    return write_translation_data(folder, dict.fromkeys(SPLITS, rows), words)


def write_side(
    folder: Path, split: str, side: str, dictionary: Any, lengths: list[int], seed: int = 3
) -> None:
    """One column: sentences of ``lengths`` words, ``</s>`` not counted."""
    source = random.Random(seed)
    prefix = folder / f"{split}.source-target.{side}"
    builder = indexed_dataset.make_builder(f"{prefix}.bin", impl="mmap", vocab_size=len(dictionary))
    for length in lengths:
        numbers = [source.randrange(4, len(dictionary)) for _ in range(length)]
        builder.add_item(torch.tensor([*numbers, dictionary.eos()], dtype=torch.int32))
    builder.finalize(f"{prefix}.idx")


def train(data: Path, folder: Path, *more: str, arch: str = "transformer") -> Path:
    """A checkpoint of a few updates, by ``fairseq-train --user-dir rxf``."""
    criterion = [] if "--criterion" in more else ["--criterion", "label_smoothed_cross_entropy"]
    fork_fairseq_train(
        *[data, "--user-dir", REPO / "rxf", "--task", "translation", "--arch", arch, *TINY],
        *["--optimizer", "adam", "--lr", "0.01", "--max-update", "48", "--batch-size", "4"],
        *["--num-workers", "0", "--cpu", "--save-dir", folder, "--no-epoch-checkpoints"],
        *["--disable-validation", "--max-source-positions", "12", "--max-target-positions", "16"],
        *[*criterion, *more],
    )
    return folder / "checkpoint_last.pt"
