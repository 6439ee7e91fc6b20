"""`rxf evaluate CHECKPOINT DATA OUT`: from a fine-tuned checkpoint to scores and predictions.

splits       which rows: the splits that were asked for, their files and lengths
checkpoint   the file with its classification head, checked against the data
outputs      the model over a split, in the order of its rows
answers      what that means in the task's own words, and GLUE's submission files
evaluation   all of it into one folder, finished or not there at all
"""

import argparse
import logging
import warnings
from pathlib import Path

from rxf.errors import UserError

__all__ = ["add_arguments", "parse", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "OUT gets scores.json (the task's metrics in percent, for splits with labels),\n"
        "SPLIT.tsv (row number from 0, tab, label or score; a line a row, in the data's order)\n"
        "and, for GLUE's test splits, submission/TASK.tsv as its server takes it.  Rows longer\n"
        "than the model can read are cut, and counted.  It computes in fp32, on a GPU where\n"
        "there is one."
    )
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", type=Path, help="of --task sentence_prediction"
    )
    parser.add_argument(
        "data", metavar="DATA", type=Path, help="folder made by `rxf prepare glue` or `xnli`"
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="folder for scores and predictions")
    parser.add_argument(
        "--splits",
        metavar="NAME,...",
        help="which; patterns such as 'test-*' do (default: all that DATA holds but train)",
    )
    parser.add_argument(
        "--batch-size", metavar="N", type=int, default=32, help="rows (default: %(default)s)"
    )
    parser.add_argument("--cpu", action="store_true", help="leave a GPU alone")
    parser.add_argument(
        "--classification-head-name",
        metavar="NAME",
        help="which head, where the checkpoint holds several",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an OUT made before")


def parse(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    """The arguments, and in ``words`` what was typed."""
    args = parser.parse_args(words)
    args.words = words
    return args


def run(args: argparse.Namespace) -> int:
    """Evaluate, or say that it is done already; the exit status is 0.

    Raises:
        UserError: a flag or file is wrong; nothing was written then.
    """
    if args.batch_size < 1:
        raise UserError(f"--batch-size {args.batch_size}: give 1 or more")
    # fairseq tells how it loads everything; what is wrong comes as a warning.
    logging.getLogger("fairseq").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message="'pin_memory' argument")

    from rxf.lab.evaluate import evaluation

    manifest = evaluation.evaluate(args)
    print("\n".join(evaluation.summary(manifest, args.out)))
    return 0
