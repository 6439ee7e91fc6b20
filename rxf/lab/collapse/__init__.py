"""`rxf probe collapse`: what fine-tuning changed in a model, measured without a probe.

models       a file as a model
results      what was measured of one, kept and as rows
table        the same for a person
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch
from fairseq.data import Dictionary
from torch import Tensor, nn
from tqdm import tqdm

from rxf.errors import UserError
from rxf.lab.checkpoints import (
    PRETRAINED,
    Checkpoint,
    add_checkpoint_arguments,
    checkpoints_of,
)
from rxf.lab.collapse import results
from rxf.lab.collapse.models import check_same_architecture, load_model
from rxf.lab.collapse.results import Result
from rxf.lab.collapse.table import table
from rxf.lab.prepare import tokens
from rxf.lab.prepare.lines import find_file, read_lines
from rxf.lab.prepare.output_folder import checksum
from rxf.lab.probe.results import RESULTS, write_results
from rxf.representation import (
    encoder,
    encoder_components,
    layer_states,
    masked_lm_head,
    measure,
    named_below,
    weight_distance,
    weight_distances,
)
from rxf.representation.text import Batch, binary_rows, fingerprint, make_batches, pick, wrapped

__all__ = ["add_arguments", "run"]

# Part of what decides whether a kept result still counts: raise it when a measure changes.
FORMAT = 1
TOKENS = 20_000
BATCH_TOKENS = 4096
LEAST_TOKENS = 16


class Text(NamedTuple):
    """The held-out text: rows without ``<s>`` and ``</s>``, and the dictionary of their numbers."""

    dictionary: Dictionary
    rows: list[Tensor]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint_arguments(parser)
    parser.add_argument(
        "--text",
        metavar="DIR",
        type=Path,
        required=True,
        help="held-out text: the OUT of `rxf prepare text`, or a folder with valid.txt (or .gz), "
        "a document a line",
    )
    parser.add_argument(
        "--out", metavar="OUT", type=Path, required=True, help=f"the folder for {RESULTS}"
    )
    parser.add_argument(
        "--tokens",
        metavar="N",
        type=int,
        default=TOKENS,
        help="rows are drawn from the text until they hold this many (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-tokens",
        metavar="N",
        type=int,
        default=BATCH_TOKENS,
        help="tokens in a batch, padding included (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=int,
        default=1,
        help="of the rows drawn and of the masks (default: %(default)s)",
    )
    parser.add_argument("--cpu", action="store_true", help="leave a GPU alone")
    tokens.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Measure what is not measured yet, write ``OUT/probe.json``, print a table."""
    _check_numbers(args)
    checkpoints = checkpoints_of(args)
    text = _read_text(args)
    cache = _make_folder(args.out)
    probe = Collapse(args, text)
    print(probe.introduction())
    found = {
        checkpoint.name: probe.result(checkpoint, cache)
        for checkpoint in tqdm(checkpoints, "collapse", unit="checkpoint", disable=None)
    }
    rows = [
        row
        for checkpoint in checkpoints
        for row in results.rows(checkpoint, found[checkpoint.name], found[PRETRAINED])
    ]
    path = write_results(args.out, "collapse", probe.settings, rows)
    print(table(rows))
    print(f"CKA, cosine, rank and anisotropy: last layer; all layers are in {path}")
    return 0


class Collapse:
    """The pre-trained model and the text, with which every checkpoint is compared.

    Raises:
        UserError: at construction, a model or a text that cannot be measured.
    """

    def __init__(self, args: argparse.Namespace, text: Text) -> None:
        cuda = torch.cuda.is_available() and not args.cpu
        self.device = torch.device("cuda" if cuda else "cpu")
        self.dictionary = text.dictionary
        self.dictionary.add_symbol("<mask>")
        self._pretrained_path = args.pretrained
        self.pretrained = self._load(args.pretrained, "--pretrained")
        self.head = masked_lm_head(self.pretrained)
        longest = int(encoder(self.pretrained).max_positions())
        rows = pick(wrapped(text.rows, self.dictionary, longest), args.tokens, args.seed)
        total = sum(map(len, rows))
        if total < LEAST_TOKENS:
            raise UserError(f"--text {args.text}: holds {total} tokens, which is too little")
        self.batches = make_batches(rows, self.dictionary, args.batch_tokens, args.seed)
        self.settings: dict[str, Any] = {
            "pretrained": str(args.pretrained),
            "pretrained_sha256": checksum(args.pretrained),
            "text": str(args.text),
            "text_sha256": fingerprint(rows),
            "rows": len(rows),
            "tokens": total,
            "masked": sum(self._masked(batch) for batch in self.batches),
            "seed": args.seed,
            "batch_tokens": args.batch_tokens,
            "device": self.device.type,
            "format": FORMAT,
        }
        if self.head is not None and not self.settings["masked"]:
            raise UserError(f"--text {args.text}: too short, no token is masked: give more text")

    def introduction(self) -> str:
        """A line on the text, and one where the pre-training loss cannot be had."""
        facts = self.settings
        words = f"{facts['rows']} rows, {facts['tokens']} tokens, {facts['masked']} masked"
        if self.head is None:
            words += (
                f"\n{type(self.pretrained).__name__} has no masked-LM head: mlm_bits and "
                "forgotten_bits are left out, the rest is measured on its encoder"
            )
        return words

    def result(self, checkpoint: Checkpoint, cache: Path) -> Result:
        """The result of one checkpoint, kept from an earlier time or measured now."""
        flag = f"--checkpoint {checkpoint.name}"
        left_out = ("pretrained", "text")
        facts = {name: value for name, value in self.settings.items() if name not in left_out}
        path = results.cache_file(cache, {**facts, "checkpoint_sha256": checksum(checkpoint.path)})
        found = results.read(path)
        if found is None:
            found = self._measured(checkpoint.path, flag)
            results.write(path, found)
        return found

    def _measured(self, path: Path, flag: str) -> Result:
        is_pretrained = path == self._pretrained_path
        model = self.pretrained if is_pretrained else self._load(path, flag)
        check_same_architecture(model, self.pretrained, f"{flag} {path}")
        measurement = measure(model, self.batches, self._references(), self.head)
        before, after = (named_below(m, encoder(m)) for m in (self.pretrained, model))
        groups = encoder_components(self.pretrained)
        return Result(
            measurement,
            weight_distance(before, after, groups),
            weight_distances(before, after, groups),
        )

    def _references(self) -> Iterator[list[Tensor]]:
        """Computed again for each checkpoint: kept, they would grow with the text."""
        for batch in self.batches:
            yield layer_states(self.pretrained, batch.tokens)

    def _load(self, path: Path, flag: str) -> nn.Module:
        return load_model(path, flag, self.dictionary, self.device)

    def _masked(self, batch: Batch) -> int:
        return int(batch.targets.ne(self.dictionary.pad()).sum())


def _check_numbers(args: argparse.Namespace) -> None:
    if args.tokens < LEAST_TOKENS:
        raise UserError(f"--tokens {args.tokens}: give {LEAST_TOKENS} or more")
    if args.batch_tokens < 1:
        raise UserError(f"--batch-tokens {args.batch_tokens}: give 1 or more")
    if not 0 <= args.seed < 2**32:
        raise UserError(f"--seed {args.seed}: give 0 to {2**32 - 1}")


def _read_text(args: argparse.Namespace) -> Text:
    if not args.text.is_dir():
        raise UserError(f"--text {args.text}: is no folder: correct the path")
    path: Optional[Path] = None
    if not (args.text / "valid.idx").is_file():
        path = find_file(args.text, "valid.txt")
    if path is None:
        return Text(*binary_rows(args.text, "--text"))
    coder = tokens.load_encoder(args)
    documents = (line.strip() for line in read_lines(path))
    rows = [torch.tensor(coder.encode(line)) for line in documents if line]
    return Text(coder.dictionary, rows)


def _make_folder(out: Path) -> Path:
    cache = out / "measured"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--out {out}: cannot be written ({error.strerror}): choose a folder that can"
        ) from None
    return cache


def main() -> int:
    """``python -m rxf.lab.collapse``."""
    parser = argparse.ArgumentParser(prog="rxf probe collapse", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args())
