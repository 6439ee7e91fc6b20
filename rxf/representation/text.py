"""Held-out text as batches: the same rows and the same masks for every model.

Rows become ``<s> ... </s>`` and are masked by fairseq's own ``MaskTokensDataset`` with the
settings of RoBERTa's pre-training (15 % of the tokens, of which 10 % stay and 10 % become
random ones), from random numbers that depend on the seed and the row alone.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from fairseq.data import Dictionary, ListDataset, MaskTokensDataset, data_utils
from torch import Tensor

from rxf.errors import UserError

__all__ = ["Batch", "binary_rows", "fingerprint", "make_batches", "pick", "same_words", "wrapped"]

SPLIT = "valid"
MASK = "<mask>"


class Batch(NamedTuple):
    """Rows of much the same length, padded on the right.

    Attributes:
        tokens: shape (B, T), int64.
        masked: the same with masks.
        targets: the original token where one is masked, padding elsewhere.
    """

    tokens: Tensor
    masked: Tensor
    targets: Tensor


def binary_rows(folder: Path, flag: str) -> tuple[Dictionary, list[Tensor]]:
    """The ``valid`` split of a folder in fairseq's binary form, and its dictionary.

    Args:
        folder: made by ``rxf prepare text``.
        flag: what names it, for errors.

    Returns:
        Rows of int64 without ``</s>``.

    Raises:
        UserError: it is no such folder.
    """
    if not (folder / "dict.txt").is_file() or not (folder / f"{SPLIT}.idx").is_file():
        raise UserError(
            f"{flag} {folder}: holds no dict.txt and {SPLIT}.bin: make it by `rxf prepare text`"
        )
    dictionary = Dictionary.load(str(folder / "dict.txt"))
    data = data_utils.load_indexed_dataset(str(folder / SPLIT), dictionary)
    return dictionary, [_without_eos(row.long(), dictionary) for row in data]


def _without_eos(row: Tensor, dictionary: Dictionary) -> Tensor:
    return row[:-1] if len(row) and row[-1] == dictionary.eos() else row


def same_words(one: Dictionary, other: Dictionary) -> bool:
    """Whether two dictionaries number words alike, ``<mask>`` aside."""
    words, others = ([w for w in d.symbols if w != MASK] for d in (one, other))
    return words == others


def wrapped(rows: Iterable[Tensor], dictionary: Dictionary, longest: int) -> list[Tensor]:
    """Rows as ``<s> ... </s>``, parted where a model takes no more than ``longest`` positions."""
    bos, eos = torch.tensor([dictionary.bos()]), torch.tensor([dictionary.eos()])
    result = []
    for row in rows:
        parts = row.tensor_split(-(-len(row) // (longest - 2))) if len(row) else []
        result += [torch.cat([bos, part, eos]) for part in parts]
    return result


def pick(rows: Sequence[Tensor], tokens: int, seed: int) -> list[Tensor]:
    """Rows in random order until they hold ``tokens`` tokens; more take in fewer, in order."""
    chosen: list[Tensor] = []
    total = 0
    for number in np.random.RandomState(seed).permutation(len(rows)):
        if total >= tokens:
            break
        chosen.append(rows[number])
        total += len(rows[number])
    return chosen


def fingerprint(rows: Iterable[Tensor]) -> str:
    """SHA-256 of the rows, their order and lengths."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(np.int64(len(row)).tobytes())
        digest.update(row.numpy().tobytes())
    return digest.hexdigest()


def make_batches(
    rows: Sequence[Tensor], dictionary: Dictionary, batch_tokens: int, seed: int
) -> list[Batch]:
    """Mask rows and put them into batches.

    Args:
        rows: of :func:`pick`; a row's masks depend on its place here, not on its batch.
        dictionary: of the model; it holds ``<mask>``.
        batch_tokens: rows times longest row in a batch; a longer row is a batch by itself.
        seed: of the masks.
    """
    if MASK not in dictionary:
        raise UserError("the dictionary holds no <mask>: use --task sentence_prediction")
    lengths = np.array([len(row) for row in rows])
    words = {"pad_idx": dictionary.pad(), "mask_idx": dictionary.index(MASK), "seed": seed}
    masked, targets = MaskTokensDataset.apply_mask(ListDataset(rows, lengths), dictionary, **words)
    order = np.argsort(lengths, kind="stable")
    groups = data_utils.batch_by_size(
        order, lambda number: lengths[number], max_tokens=max(batch_tokens, int(lengths.max()))
    )

    def collated(items: Sequence[Tensor], group: Iterable[int]) -> Tensor:
        return data_utils.collate_tokens([items[int(n)] for n in group], dictionary.pad())

    return [
        Batch(collated(rows, group), collated(masked, group), collated(targets, group))
        for group in groups
    ]
