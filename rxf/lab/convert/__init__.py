"""`rxf convert`: RoBERTa, XLM-R and BART between Hugging Face's form and fairseq's.

names       which tensor is which
settings    config.json and the architecture flags
vocabulary  dict.txt, vocab.json, merges and SentencePiece: one numbering, several spellings
hf_files    a Hugging Face folder, read and written
fairseq_model  a checkpoint built as fairseq builds it
from_hf, to_hf  the two commands
"""

import argparse
from pathlib import Path

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    known = parser.add_subparsers(dest="direction", metavar="DIRECTION", required=True)
    _from_hf_arguments(
        known.add_parser("from-hf", help="a folder of save_pretrained to a fairseq checkpoint")
    )
    _to_hf_arguments(
        known.add_parser("to-hf", help="a fairseq checkpoint to a folder for from_pretrained")
    )


def _from_hf_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="MODEL_DIR",
        type=Path,
        help="folder with config.json, the weights and the tokenizer's files",
    )
    _add_out(parser, "model.pt, dict.txt and the files of its BPE")


def _to_hf_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="CHECKPOINT", type=Path, help="model.pt of fairseq")
    _add_out(parser, "config.json, model.safetensors and, where its files are found, a tokenizer")
    parser.add_argument(
        "--dict",
        type=Path,
        metavar="FILE",
        help="its dictionary (default: DATA's, else dict.txt beside CHECKPOINT)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="prepared folder that it was trained on, for the names of the classes",
    )
    parser.add_argument(
        "--bpe-dir",
        type=Path,
        metavar="DIR",
        help="folder of encoder.json and vocab.bpe (default: where they are found: beside the "
        "dictionary, in DATA, where DATA was prepared with, beside CHECKPOINT, $RXF_DATA/gpt2_bpe)",
    )
    parser.add_argument(
        "--spm",
        type=Path,
        metavar="FILE",
        help="SentencePiece model of XLM-R (default: sentencepiece.bpe.model, found likewise)",
    )
    parser.add_argument(
        "--head",
        metavar="NAME",
        help="which classification head, where there are several; 'none' for the language model",
    )


def _add_out(parser: argparse.ArgumentParser, content: str) -> None:
    parser.add_argument("out", metavar="OUT", type=Path, help=f"new folder for {content}")


def run(args: argparse.Namespace) -> int:
    """Convert, and say what was made; the exit status is 0.

    Raises:
        UserError: a file is missing, damaged or of a model that the other side cannot hold.
    """
    from rxf.lab.convert import from_hf, to_hf

    notes = from_hf.convert(args) if args.direction == "from-hf" else to_hf.convert(args)
    print("\n".join(notes))
    return 0
