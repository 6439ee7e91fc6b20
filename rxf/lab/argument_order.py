"""Are REFERENCE and the model's output in the right order?

Scores do not fail when the two are swapped: recall and precision change places, and F stays
almost as it was.  What can be known, from the surest to the least sure:

* `rxf generate` leaves generate.json beside its hypotheses.txt: as REFERENCE that is an error.
* Names: one of the files is called after hypotheses or after references, and is in the other's
  place.  Names that fit end the check.
* Lengths, only where names say nothing.  A model's lines vary less in length than people's:
  a REFERENCE with less than half the other's spread is warned of.  So is a file three times as
  long as the other, which is no summary of it, and no reference for it.

Measured: the references that different people wrote for SciTLDR have 0.8 to 1.2 of each
other's spread, a trained model's lines on XSum 0.9 of the references'.  Sets of 50 lines drawn
from these raise a false alarm in 0.6 % of the cases, whole sets in none.  So the length rule
is quiet, and misses many a swap: only a name is a real safeguard.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import numpy as np

from rxf.errors import UserError
from rxf.lab.paired_files import PairedFiles, warn

__all__ = ["check_order", "length_doubt"]

OUTPUT_WORDS = re.compile(r"hyp(o|s)?\b|hypothes|pred(s|ict)?|output|generat|decoded|candidate")
REFERENCE_WORDS = re.compile(r"\brefs?\b|reference|target|\btgt\b|gold")

FEWEST_LINES = 50
SPREAD = 0.5
RATIO = 3.0


def check_order(pairs: PairedFiles, output_name: str) -> None:
    """Stop or warn if REFERENCE looks like a model's output.

    Args:
        pairs: the files as they were given.
        output_name: of the second argument on the command line, SUMMARY or HYPOTHESIS.

    Raises:
        UserError: REFERENCE was written by `rxf generate`, and the other file was not.
    """
    reference, output = pairs.reference_path, pairs.output_path
    if _is_generated(reference) and not _is_generated(output):
        raise UserError(
            f"{reference} was written by rxf generate, so it is no REFERENCE: "
            f"swap the arguments: REFERENCE comes first, then {output_name}"
        )
    doubt = _name_doubt(reference, output)
    if doubt is None:
        doubt = length_doubt(
            [len(texts[0].split()) for texts in pairs.references],
            [len(text.split()) for text in pairs.outputs],
        )
    if doubt:
        warn(f"{doubt}: REFERENCE comes first, then {output_name}: check that they are not swapped")


def _is_generated(path: Path) -> bool:
    manifest = path.absolute().parent / "generate.json"
    return path.name.startswith("hypotheses") and manifest.is_file()


def _name_doubt(reference: Path, output: Path) -> Optional[str]:
    """A doubt; "" where the names are in order; None where they say nothing."""
    first, second = _says(reference), _says(output)
    if first == second:
        return None
    if first == "output" or second == "reference":
        return f"by their names {reference} is a model's output or {output} a reference"
    return ""


def _says(path: Path) -> str:
    """What a name says: ``test.hypo`` output, ``test.target`` reference, ``test.txt`` nothing."""
    # An underscore is a letter to \b.
    name = path.name.lower().replace("_", " ")
    is_output, is_reference = OUTPUT_WORDS.search(name), REFERENCE_WORDS.search(name)
    if bool(is_output) == bool(is_reference):
        return ""
    return "output" if is_output else "reference"


def length_doubt(reference: Sequence[int], output: Sequence[int]) -> Optional[str]:
    """What lengths in words say against the order; None if they say nothing."""
    if len(reference) < FEWEST_LINES:
        return None
    first, second = float(np.median(reference)), float(np.median(output))
    if max(first, second) > RATIO * min(first, second):
        return f"REFERENCE has {first:g} words a line and the other file {second:g} (medians)"
    if _spread(reference) < SPREAD * _spread(output):
        return "REFERENCE varies far less in length than the other file, as a model's output does"
    return None


def _spread(lengths: Sequence[int]) -> float:
    """Half the lines lie in this range: a few runaway lines do not move it."""
    low, high = np.percentile(lengths, [25, 75])
    return float(high - low)
