"""`rxf prepare DATASET ...`: official data files to fairseq's binary form.

lines           lines of plain and gzipped text
tsv             literal TSV files: columns by header, broken rows by line number
tokens          a dictionary, with GPT-2 BPE or with words as they stand
binary          fairseq's memory-mapped columns and label dictionaries
output_folder   written aside and renamed at the end; a manifest; no second work
glue_tasks      the nine GLUE tasks in one table
glue            `rxf prepare glue`, made of the six above
xnli            `rxf prepare xnli`: English training rows, the other languages to score
summarization   `rxf prepare summarization`: texts and summaries, line by line
text            `rxf prepare text`: running text to pre-train on
surt            `rxf prepare surt`: a prepared task's own text to pre-train on
"""

import argparse
import importlib
from typing import NamedTuple

__all__ = ["add_arguments", "run"]


class Dataset(NamedTuple):
    """``module`` holds ``add_arguments(parser)`` and ``run(args) -> exit status``."""

    name: str
    module: str
    help: str


DATASETS = [
    Dataset("glue", "rxf.lab.prepare.glue", "a GLUE task from its official TSV files"),
    Dataset("xnli", "rxf.lab.prepare.xnli", "XNLI: trained on English, scored in each language"),
    Dataset(
        "summarization", "rxf.lab.prepare.summarization", "texts and summaries, one pair a line"
    ),
    Dataset("text", "rxf.lab.prepare.text", "running text to pre-train on, a document a line"),
    Dataset("surt", "rxf.lab.prepare.surt", "a prepared GLUE task's own text to pre-train on"),
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One sub-subcommand for each family of data sets."""
    known = parser.add_subparsers(dest="dataset", metavar="DATASET", required=True)
    for dataset in DATASETS:
        module = importlib.import_module(dataset.module)
        dataset_parser = known.add_parser(dataset.name, help=dataset.help, description=dataset.help)
        module.add_arguments(dataset_parser)
        dataset_parser.set_defaults(run_dataset=module.run)


def run(args: argparse.Namespace) -> int:
    """Prepare the data set that the arguments name; returns the exit status."""
    return int(args.run_dataset(args))
