"""Data, trainer and batches as ``fairseq-train`` has them: what the benchmarks of steps share.

Nothing here imports rxf: a peer may be stock fairseq.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import torch

__all__ = [
    "batches_of",
    "build_trainer",
    "keep_peak",
    "one_update",
    "switches",
    "write_pairs",
    "write_sentences",
]


# --------------------------------------------------------------------------- data


def write_sentences(folder: Path, lengths: Sequence[int], words: int, classes: int = 2) -> None:
    """Random labelled sentences for ``--task sentence_prediction``, as the split ``train``.

    Args:
        folder: where it goes.
        lengths: tokens of each, ``<s>`` and ``</s>`` among them.
        words: in the dictionary, beside fairseq's four symbols and the task's ``<mask>``.
        classes: of the labels.
    """
    torch.manual_seed(2)
    # <s> is put in front of a sentence by the task.
    _write_column(folder / "input0", "train", [length - 2 for length in lengths], words)
    _write_column(folder / "label", "train", [1] * len(lengths), classes)


def write_pairs(folder: Path, sources: Sequence[int], targets: Sequence[int], words: int) -> None:
    """Random pairs for ``--task translation``, from ``source`` to ``target``, as ``train``.

    Args:
        folder: where they go.
        sources: tokens of each source, ``</s>`` among them.
        targets: likewise.
        words: in the dictionary of both sides, beside fairseq's four symbols.
    """
    torch.manual_seed(2)
    folder.mkdir(parents=True)
    for side, lengths in (("source", sources), ("target", targets)):
        dictionary = _dictionary(words)
        dictionary.save(str(folder / f"dict.{side}.txt"))
        path = folder / f"train.source-target.{side}"
        _write_binary(path, dictionary, [length - 1 for length in lengths])


def _write_column(folder: Path, split: str, lengths: Sequence[int], words: int) -> None:
    dictionary = _dictionary(words)
    folder.mkdir(parents=True)
    dictionary.save(str(folder / "dict.txt"))
    _write_binary(folder / split, dictionary, lengths)


def _dictionary(words: int) -> Any:
    from fairseq.data import Dictionary

    dictionary = Dictionary()
    for number in range(words):
        dictionary.add_symbol(f"w{number}")
    return dictionary


def _write_binary(path: Path, dictionary: Any, lengths: Sequence[int]) -> None:
    """Random rows of so many words, each with ``</s>`` behind it."""
    from fairseq.data import indexed_dataset

    builder = indexed_dataset.make_builder(f"{path}.bin", impl="mmap", vocab_size=len(dictionary))
    end = torch.tensor([dictionary.eos()])
    for length in lengths:
        row = torch.randint(dictionary.nspecial, len(dictionary), (length,))
        builder.add_item(torch.cat([row, end]).to(torch.int32))
    builder.finalize(f"{path}.idx")


# ------------------------------------------------------------------------ trainer


def switches(values: Mapping[str, Any]) -> list[str]:
    """Flags in Python's spelling as words of a command line; True is a flag without value."""
    words: list[str] = []
    for flag, value in values.items():
        words.append("--" + flag.replace("_", "-"))
        words += [] if value is True else [str(value)]
    return words


def build_trainer(
    arguments: Sequence[str], criterion: Optional[Callable[[Any], Any]] = None
) -> Any:
    """fairseq's trainer with a model of random weights, always the same.

    Args:
        arguments: of ``fairseq-train``.
        criterion: makes one of the task, in place of the one that the flags name.
    """
    from fairseq import options, tasks
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf
    from fairseq.trainer import Trainer

    parser = options.get_training_parser()
    args = options.parse_args_and_arch(parser, list(arguments))
    # Stock fairseq takes --bf16 for a TPU, which a user of it avoids by a YAML file.
    args.tpu = False
    cfg = convert_namespace_to_omegaconf(args)
    task = tasks.setup_task(cfg.task)
    torch.manual_seed(1)
    model = task.build_model(cfg.model)
    made = criterion(task) if criterion else task.build_criterion(cfg.criterion)
    return Trainer(cfg, task, model, made)


def batches_of(trainer: Any, count: int) -> list[dict[str, Any]]:
    """The first batches of the first epoch, which then has begun.

    Raises:
        ValueError: the data has fewer.
    """
    from fairseq import checkpoint_utils

    _, epoch = checkpoint_utils.load_checkpoint(trainer.cfg.checkpoint, trainer)
    batches = list(itertools.islice(epoch.next_epoch_itr(shuffle=True), count))
    if len(batches) < count:
        raise ValueError(f"the data has {len(batches)} batches, not {count}")
    trainer.begin_epoch(1)
    return batches


def one_update(trainer: Any, samples: list[dict[str, Any]]) -> None:
    """An update as ``fairseq-train`` makes it, from these micro-batches."""
    from fairseq.logging import metrics

    with metrics.aggregate("train_inner"):
        trainer.train_step(samples)


def keep_peak(trainer: Any) -> None:
    """Let the peak of the GPU's memory stand: fairseq reads and clears it in each update."""
    trainer.cuda_env = None
