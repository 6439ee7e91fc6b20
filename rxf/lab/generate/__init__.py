"""`rxf generate CHECKPOINT DATA OUT`: from a checkpoint to ``hypotheses.txt``.

flags         a command line to fairseq's own configuration, and what is refused there
data_folder   what a binarised folder holds: languages, splits, dictionaries, BPE files
checkpoint    what the checkpoint says of itself, and whether it fits the dictionaries
search        fairseq's search over a split, and its tokens as text in the data's order
output        two files that appear finished or not at all, and are not made twice
"""

import argparse
import logging
import time
import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

from rxf.errors import UserError

__all__ = ["add_arguments", "parse", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is ours; :func:`parse` leaves all else to fairseq."""
    parser.usage = "rxf generate CHECKPOINT DATA OUT [flags]"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "Every flag of fairseq-generate that decides what is generated works too (its --help\n"
        "lists them): --beam 4 --lenpen 2.0 --max-len-b 140 --min-len 55\n"
        "--no-repeat-ngram-size 3 --batch-size 16 --truncate-source --remove-bpe --cpu --fp16.\n"
        "The task, its position limits, --truncate-source and the padding side are those of the\n"
        "checkpoint's training unless a flag says otherwise.  OUT gets hypotheses.txt, the best\n"
        "hypothesis of each example as one line in the data's order, and generate.json."
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="of fairseq-train")
    parser.add_argument(
        "data",
        metavar="DATA",
        type=Path,
        help="folder made by `rxf prepare summarization` or fairseq-preprocess",
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="folder for what is generated")
    parser.add_argument("--split", "--gen-subset", default="test", help="(default: %(default)s)")
    parser.add_argument(
        "--bpe-dir",
        metavar="DIR",
        type=Path,
        help="GPT-2 BPE files encoder.json and vocab.bpe (default: DATA/bpe if it is there)",
    )
    parser.add_argument("--overwrite", action="store_true", help="generate again into OUT")


def parse(parser: argparse.ArgumentParser, words: list[str]) -> Namespace:
    """Our own arguments; in ``flags`` the words that are for fairseq, in ``words`` all.

    Raises:
        UserError: CHECKPOINT, DATA and OUT do not stand first.
    """
    asks_for_help = {"-h", "--help"} & set(words)
    # Nobody but fairseq knows which of its flags take a value, so what follows a flag cannot
    # be told from a folder.
    if not asks_for_help and (len(words) < 3 or any(word.startswith("-") for word in words[:3])):
        raise UserError("rxf generate wants CHECKPOINT DATA OUT first, then flags (see --help)")
    parser.allow_abbrev = False
    args, flags = parser.parse_known_args(words)
    args.flags, args.words = flags, words
    return args


def run(args: Namespace) -> int:
    """Generate, or say that it is done already; the exit status is 0.

    Raises:
        UserError: a flag or file is wrong; nothing was written then.
    """
    # fairseq tells how it loads everything; what is wrong comes as a warning.
    logging.getLogger("fairseq").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message="'pin_memory' argument")
    started = time.perf_counter()

    from rxf.lab.generate import checkpoint, flags, output
    from rxf.lab.generate.data_folder import DataFolder

    checkpoint.check_path(args.checkpoint)
    asked = flags.parse(args.checkpoint, args.data, args.split, args.flags)
    data = DataFolder.find(args.data, args.split, asked)
    bpe = data.bpe_flags(args.bpe_dir, asked)
    inputs = output.fingerprint(args, data, bpe)
    if output.finished(args.out, inputs, args.overwrite):
        print(f"{args.out} already holds what these inputs generate: nothing to do")
        return 0
    saved = checkpoint.read(args.checkpoint)
    words = [*data.language_flags(), *bpe, *args.flags]
    settings = flags.parse(args.checkpoint, args.data, args.split, words, saved.task_settings)
    return _generate(args, inputs, saved, settings, started)


def _generate(
    args: Namespace, inputs: dict[str, Any], saved: Any, settings: Namespace, started: float
) -> int:
    from rxf.lab.generate import flags, output
    from rxf.lab.generate.search import Search

    search = Search(flags.configuration(settings), saved)
    with output.reserved(args.out):
        lines, counts = search.lines()
        facts = {
            "checkpoint": str(args.checkpoint.resolve()),
            "data": str(args.data.resolve()),
            "split": args.split,
            "task_settings": {name: getattr(settings, name) for name in saved.task_settings},
            **counts,
            "total_seconds": round(time.perf_counter() - started, 3),
        }
        output.publish(args.out, lines, args.words, inputs, facts)
    print(
        f"{len(lines)} lines in {args.out / output.HYPOTHESES}: {counts['seconds']:.1f} s, "
        f"{counts['sentences_per_second']:.2f} sentences/s"
    )
    return 0
