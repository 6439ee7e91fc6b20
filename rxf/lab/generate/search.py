"""fairseq's search over a split, and what it finds as lines of text in the data's order."""

import logging
import math
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any, Optional

import numpy as np
import torch
from fairseq import tasks, utils
from tqdm import tqdm

from rxf.errors import UserError
from rxf.lab.generate.checkpoint import SavedModel

__all__ = ["Detokenizer", "Search"]

logger = logging.getLogger(__name__)


class Detokenizer:
    """Numbers of the target dictionary to text: symbols, then BPE, then tokenizer.

    ``undecodable`` counts words that the BPE cannot read, such as the ``madeupword0000``
    that pads BART's dictionary; they are left out.
    """

    def __init__(self, cfg: Any, task: Any, strip: set[int]) -> None:
        self.bpe = _built("--bpe", task.build_bpe, cfg.bpe)
        self.tokenizer = _built("--tokenizer", task.build_tokenizer, cfg.tokenizer)
        self.dictionary = task.target_dictionary
        self.symbol = cfg.common_eval.post_process
        self.strip = strip
        self.undecodable = 0

    def __call__(self, tokens: torch.Tensor) -> str:
        """One line of text.

        Args:
            tokens: (length,) int64 on any device, with or without ``</s>``.
        """
        text = self.dictionary.string(
            tokens.int().cpu(), self.symbol, extra_symbols_to_ignore=self.strip
        )
        if self.bpe is not None:
            text = self._join(text)
        if self.tokenizer is not None:
            text = self.tokenizer.decode(text)
        return " ".join(text.splitlines()).strip()

    def check_bpe(self) -> None:
        """Raise if the BPE cannot read most of the dictionary's first words.

        Better before the search than after it.
        """
        first = self.dictionary.nspecial
        words = self.dictionary.symbols[first : first + 200]
        readable = sum(map(self._readable, words))
        if readable < len(words) / 2:
            raise UserError(
                f"--bpe, --bpe-dir: reads {readable} of the target dictionary's first {len(words)} "
                f"words and not {words[0]!r}: give the BPE that DATA was made with, or none"
            )

    def _join(self, text: str) -> str:
        try:
            return self.bpe.decode(text)
        except (KeyError, TypeError, ValueError):
            readable = [word for word in text.split() if self._readable(word)]
            self.undecodable += len(text.split()) - len(readable)
            return self.bpe.decode(" ".join(readable))

    def _readable(self, word: str) -> bool:
        try:
            if self.bpe is not None:
                self.bpe.decode(word)
        except (KeyError, TypeError, ValueError):
            return False
        return True


class Search:
    """Everything loaded and checked, ready to generate.

    Args:
        cfg: fairseq's configuration for generation.
        saved: the checkpoint; its state is given up here.

    Raises:
        UserError: data, dictionaries, checkpoint or flags do not fit together.
    """

    def __init__(self, cfg: Any, saved: SavedModel) -> None:
        self.cfg = cfg
        self.cuda = torch.cuda.is_available() and not cfg.common.cpu
        if cfg.common.seed is not None and not cfg.generation.no_seed_provided:
            np.random.seed(cfg.common.seed)
            utils.set_torch_seed(cfg.common.seed)
        self.task = _setup_task(cfg)
        _check_dictionaries(cfg, saved, self.task)
        self.dataset = _load_split(cfg, self.task)
        self.models = saved.load(cfg, self.task)
        # Before the models move to the device, since it may end in an error.
        self.rows, self.skipped = self._fitting_rows()
        self._prepare_models()
        self.generator = self._build_generator()
        strip = getattr(self.generator, "symbols_to_strip_from_output", {self.generator.eos})
        self.detokenize = Detokenizer(cfg, self.task, strip)
        self.detokenize.check_bpe()

    def lines(self) -> tuple[list[str], dict[str, Any]]:
        """Generate for the whole split.

        Returns:
            A line for each row of the data in its order, empty for a row that was skipped,
            and what was counted.
        """
        lines = [""] * len(self.dataset)
        tokens = 0
        started = time.perf_counter()
        with self._progress() as bar:
            for sample in self._batches():
                for row, hypothesis in self._best(sample):
                    lines[row] = self.detokenize(hypothesis)
                    tokens += len(hypothesis)
                bar.delay = 0
                bar.update(len(sample["id"]))
        seconds = time.perf_counter() - started
        self._warn(lines)
        return lines, {
            "sentences": self.rows,
            "skipped": self.skipped,
            "tokens": tokens,
            "undecodable_tokens": self.detokenize.undecodable,
            "seconds": round(seconds, 3),
            "sentences_per_second": round(self.rows / seconds, 3),
            "device": torch.cuda.get_device_name() if self.cuda else "cpu",
        }

    def _progress(self) -> Any:
        hidden = bool(self.cfg.common.no_progress_bar)
        # In a log file a line now and then is enough.
        pause = 0.1 if sys.stderr.isatty() else 30.0
        # Not before a batch is through, so that flags that turn out wrong leave one line.
        timing = {"mininterval": pause, "delay": math.inf}
        return tqdm(total=self.rows, desc="generate", unit="sentences", disable=hidden, **timing)

    def _batches(self) -> Iterator[dict[str, Any]]:
        dataset = self.cfg.dataset
        try:
            batches = self.task.get_batch_iterator(
                dataset=self.dataset,
                max_tokens=dataset.max_tokens,
                max_sentences=dataset.batch_size,
                max_positions=self._positions(),
                ignore_invalid_inputs=True,
                required_batch_size_multiple=dataset.required_batch_size_multiple,
                seed=self.cfg.common.seed,
                num_workers=dataset.num_workers,
                data_buffer_size=dataset.data_buffer_size,
            ).next_epoch_itr(shuffle=False)
        except AssertionError as error:
            # A sentence that is longer than a whole batch may be.
            raise UserError(f"--max-tokens {dataset.max_tokens}: {error}: give more") from None
        for sample in batches:
            if "net_input" in sample:
                yield utils.move_to_cuda(sample) if self.cuda else sample

    def _best(self, sample: dict[str, Any]) -> Iterator[tuple[int, torch.Tensor]]:
        """Row of the data and tokens of its best hypothesis, for each sentence of a batch."""
        try:
            found = self.task.inference_step(
                self.generator, self.models, sample, prefix_tokens=self._prefix(sample)
            )
        except torch.OutOfMemoryError:
            raise UserError(
                "the GPU's memory does not hold such a batch: give a smaller --batch-size, "
                "--max-tokens or --beam, or --fp16"
            ) from None
        except AssertionError as error:
            if "min_len" not in str(error):
                raise
            raise UserError(
                f"--min-len {self.cfg.generation.min_len} is more than --max-len-b, "
                "--max-len-a or the model's positions allow: give less"
            ) from None
        for row, hypotheses in zip(sample["id"].tolist(), found, strict=True):
            yield row, hypotheses[0]["tokens"]

    def _prefix(self, sample: dict[str, Any]) -> Optional[torch.Tensor]:
        size = self.cfg.generation.prefix_size
        if size == 0:
            return None
        if sample["target"] is None:
            raise UserError(f"--prefix-size {size}: DATA has no target side: leave it out")
        return sample["target"][:, :size]

    def _positions(self) -> tuple[float, float]:
        """Lengths of source and target that task and models take.

        A reference that is too long is no reason to leave its example out: nothing here
        reads it.
        """
        limits = utils.resolve_max_positions(
            self.task.max_positions(), *[model.max_positions() for model in self.models]
        )
        return limits[0], float("inf")

    def _fitting_rows(self) -> tuple[int, list[int]]:
        """How many rows the models can take, and the numbers, from 0, of those too long."""
        limits = self._positions()
        rows = np.arange(len(self.dataset))
        fitting, too_long = self.dataset.filter_indices_by_size(rows, limits)
        if too_long and not self.cfg.dataset.skip_invalid_size_inputs_valid_test:
            raise UserError(
                f"{len(too_long)} sources of --split {self.cfg.dataset.gen_subset} are longer than "
                f"the {limits[0]} tokens that task and model take, the first in line "
                f"{min(too_long) + 1}: give --truncate-source to cut them, or "
                "--skip-invalid-size-inputs-valid-test to get empty lines for them"
            )
        return len(fitting), sorted(too_long)

    def _prepare_models(self) -> None:
        for model in self.models:
            if self.cfg.common.fp16:
                model.half()
            if self.cuda:
                model.cuda()
            model.prepare_for_inference_(self.cfg)

    def _build_generator(self) -> Any:
        try:
            return self.task.build_generator(self.models, self.cfg.generation)
        # Flags that exclude each other.
        except (AssertionError, ValueError) as error:
            raise UserError(f"{error}: correct the flags of the search") from None

    def _warn(self, lines: list[str]) -> None:
        if self.skipped:
            logger.warning(
                f"{len(self.skipped)} of {len(lines)} sources are too long and were skipped: "
                f"their lines are empty (the first is line {self.skipped[0] + 1})"
            )
        if self.detokenize.undecodable:
            logger.warning(
                f"{self.detokenize.undecodable} tokens are nothing that the BPE can decode and "
                "were left out"
            )
        empty = lines.count("") - len(self.skipped)
        if empty:
            logger.warning(f"{empty} hypotheses of {len(lines)} are empty")


def _built(flag: str, build: Any, settings: Any) -> Any:
    try:
        return build(settings)
    except (AttributeError, ImportError, OSError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{flag}: cannot be set up ({reason}): install or correct what it names"
        ) from None


def _setup_task(cfg: Any) -> Any:
    try:
        return tasks.setup_task(cfg.task)
    # Dictionary.load raises a plain Exception for text that is not UTF-8.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"DATA {cfg.task.data}: cannot be set up ({reason}): prepare it again"
        ) from error


def _check_dictionaries(cfg: Any, saved: SavedModel, task: Any) -> None:
    sides = {
        "encoder": (cfg.task.source_lang, task.source_dictionary),
        "decoder": (cfg.task.target_lang, task.target_dictionary),
    }
    for side, (language, dictionary) in sides.items():
        saved.check_dictionary(side, f"{cfg.task.data}/dict.{language}.txt", dictionary)


def _load_split(cfg: Any, task: Any) -> Any:
    """The split, which is not empty."""
    split = cfg.dataset.gen_subset
    try:
        task.load_dataset(split, task_cfg=cfg.task)
        dataset = task.dataset(split)
        if len(dataset):
            dataset[0], dataset[len(dataset) - 1]
    except (AssertionError, EOFError, OSError, ValueError, struct.error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"DATA {cfg.task.data}: split {split} cannot be read ({reason}): prepare it again"
        ) from None
    if not len(dataset):
        raise UserError(f"DATA {cfg.task.data}: split {split} is empty: nothing to generate from")
    return dataset
