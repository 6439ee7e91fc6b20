"""fairseq's binary form, byte for byte what ``fairseq-preprocess --only-source`` writes."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from fairseq.data import Dictionary, indexed_dataset

__all__ = ["column_writer", "label_dictionary", "write_column"]


@contextmanager
def column_writer(
    prefix: Path, dictionary: Dictionary
) -> Iterator[indexed_dataset.MMapIndexedDatasetBuilder]:
    """A builder whose ``add_item`` takes one row; ``prefix`` gets ``.bin`` and ``.idx``."""
    builder = indexed_dataset.make_builder(
        indexed_dataset.data_file_path(str(prefix)), impl="mmap", vocab_size=len(dictionary)
    )
    yield builder
    builder.finalize(indexed_dataset.index_file_path(str(prefix)))


def write_column(prefix: Path, dictionary: Dictionary, rows: Iterable[Sequence[int]]) -> None:
    """Write rows of numbers of ``dictionary``, each closed by ``</s>``."""
    with column_writer(prefix, dictionary) as builder:
        for row in rows:
            builder.add_item(torch.IntTensor([*row, dictionary.eos()]))


def label_dictionary(seen: Iterable[str], labels: Iterable[str]) -> Dictionary:
    """Labels by frequency in the training rows ``seen``, as fairseq-preprocess orders them.

    Labels that no training row has come last, so that a validation row may have them.
    """
    dictionary = Dictionary()
    counts = Counter(seen)
    for label in labels:
        dictionary.add_symbol(label, n=counts[label])
    dictionary.finalize()
    return dictionary
