"""`rxf bleu REFERENCE HYPOTHESIS`: BLEU and chrF of translations, by sacrebleu.

Both files hold text as people write it, not tokenised: sacrebleu tokenises, and says in its
signature how, so that two figures can be compared.
"""

import argparse
import json
from importlib import metadata
from itertools import zip_longest
from pathlib import Path
from typing import Any

from rxf.errors import UserError
from rxf.lab.argument_order import check_order
from rxf.lab.paired_files import PairedFiles, check_writable, read_pairs, write_text

__all__ = ["add_arguments", "run", "score_pairs"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from sacrebleu.metrics import BLEU

    parser.add_argument(
        "reference",
        metavar="REFERENCE",
        type=Path,
        help="detokenised text, one example a line; .jsonl: a list of references a line",
    )
    parser.add_argument(
        "hypothesis",
        metavar="HYPOTHESIS",
        type=Path,
        help="what the model wrote, detokenised, one example a line",
    )
    parser.add_argument(
        "--tokenize",
        choices=sorted(BLEU.TOKENIZERS),
        help="sacrebleu's tokeniser for BLEU (default: 13a); zh for Chinese",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the report there")


def run(args: argparse.Namespace) -> int:
    """Score the two files, print BLEU and chrF and write what was asked for."""
    check_writable(args.json)
    pairs = read_pairs(args.reference, args.hypothesis)
    check_order(pairs, "HYPOTHESIS")
    report = {
        "tool": {"name": "sacrebleu", "version": metadata.version("sacrebleu")},
        **pairs.facts("hypothesis"),
        "scores": score_pairs(pairs, args.tokenize),
    }
    print("\n".join(_lines(report)))
    if args.json:
        write_text(args.json, json.dumps(report, indent=2) + "\n")
    return 0


def score_pairs(pairs: PairedFiles, tokenize: "str | None" = None) -> dict[str, dict[str, Any]]:
    """BLEU and chrF of the whole set, from 0 to 100, with their signatures.

    Args:
        pairs: of :func:`rxf.lab.paired_files.read_pairs`.
        tokenize: one of sacrebleu's tokenisers, its default (13a) if None.

    Raises:
        UserError: the tokeniser needs a package that is not installed.
    """
    from sacrebleu.metrics import BLEU, CHRF

    try:
        bleu = BLEU(tokenize=tokenize)
    # sacrebleu says over several lines what to install; its own exceptions vary.
    except (ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"--tokenize {tokenize}: {reason}") from None
    chrf = CHRF()
    # sacrebleu wants all first references, all second ones, and so on.
    streams = [list(stream) for stream in zip_longest(*pairs.references)]
    found = bleu.corpus_score(pairs.outputs, streams)
    return {
        "BLEU": {
            "score": found.score,
            "signature": str(bleu.get_signature()),
            "precisions": found.precisions,
            "brevity_penalty": found.bp,
            "hypothesis_length": found.sys_len,
            "reference_length": found.ref_len,
        },
        "chrF": {
            "score": chrf.corpus_score(pairs.outputs, streams).score,
            "signature": str(chrf.get_signature()),
        },
    }


def _lines(report: dict[str, Any]) -> list[str]:
    lines = [
        f"sacrebleu {report['tool']['version']}",
        f"reference {report['reference']['path']}, hypothesis {report['hypothesis']['path']}: "
        f"{report['pairs']} pairs",
    ]
    for name, facts in report["scores"].items():
        lines.append(f"{name:5}{facts['score']:7.2f}   {facts['signature']}")
    bleu = report["scores"]["BLEU"]
    precisions = "/".join(f"{value:.1f}" for value in bleu["precisions"])
    lines.append(
        f"BLEU's n-gram precisions {precisions}, brevity penalty {bleu['brevity_penalty']:.3f} "
        f"({bleu['hypothesis_length']} tokens for {bleu['reference_length']})"
    )
    return lines
