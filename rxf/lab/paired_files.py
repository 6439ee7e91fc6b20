"""Two text files that belong together line by line: references, and what a model wrote.

Shared by `rxf rouge` and `rxf bleu`.  Everything that can be wrong with the files is found
here, before any score is computed.
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rxf.errors import UserError
from rxf.lab.prepare.lines import read_lines
from rxf.lab.prepare.output_folder import checksum

__all__ = ["PairedFiles", "check_writable", "read_pairs", "warn", "write_text"]

# Under which a line of a .jsonl file may hold its references; SciTLDR says "target".
REFERENCE_KEYS = ("target", "targets", "reference", "references", "refs", "summary", "summaries")


@dataclass(frozen=True)
class PairedFiles:
    """Checked text: ``references[i]`` (one or more) belong to ``outputs[i]``."""

    reference_path: Path
    output_path: Path
    references: list[list[str]]
    outputs: list[str]
    multiple: bool

    def __len__(self) -> int:
        return len(self.outputs)

    def facts(self, output_name: str) -> dict[str, Any]:
        """What a report says of the files; ``output_name`` is what the model's is called."""
        paths = {"reference": self.reference_path, output_name: self.output_path}
        described = {
            name: {"path": str(path), "sha256": checksum(path)} for name, path in paths.items()
        }
        most = max(map(len, self.references))
        return {**described, "pairs": len(self), "references_per_pair_at_most": most}


def read_pairs(reference: Path, output: Path) -> PairedFiles:
    """Read both files; empty lines stay, and are warned of.

    Args:
        reference: plain text, one example a line; or ``.jsonl``, where each line is a list of
            references or an object that has one under ``target`` or ``references``.
        output: what the model wrote: plain text, one example a line.

    Raises:
        UserError: a file is missing, empty or not UTF-8, a line of JSON cannot be read, or
            the numbers of lines differ.
    """
    if _is_jsonl(output):
        raise UserError(f"{output}: is JSON: give plain text, one line each, as second argument")
    multiple = _is_jsonl(reference)
    references = _read_jsonl(reference) if multiple else [[line] for line in read_lines(reference)]
    outputs = list(read_lines(output))
    _check_content(reference, (text for texts in references for text in texts))
    _check_content(output, outputs)
    if len(references) != len(outputs):
        raise UserError(
            f"{reference} has {len(references)} lines and {output} has {len(outputs)}: "
            "line by line they must belong together: give the files of one split, whole"
        )
    _warn_of_empty_lines(reference, ["".join(texts) for texts in references])
    _warn_of_empty_lines(output, outputs)
    return PairedFiles(reference, output, references, outputs, multiple)


def warn(message: str) -> None:
    """One line on stderr."""
    print(f"rxf: warning: {message}", file=sys.stderr)


def check_writable(*paths: "Path | None") -> None:
    """Raise before the work where a result could not be written after it."""
    for path in paths:
        if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise UserError(f"{path}: cannot be written: give a file in a folder that is there")


def write_text(path: Path, text: str) -> None:
    """Write a result.

    Raises:
        UserError: the disk or the rights do not allow it.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}): give another") from None


def _is_jsonl(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith(".jsonl")


def _read_jsonl(path: Path) -> list[list[str]]:
    return [_references(path, number, line) for number, line in enumerate(read_lines(path), 1)]


def _references(path: Path, number: int, line: str) -> list[str]:
    try:
        found = json.loads(line)
    except ValueError:
        raise UserError(f"{path}:{number}: is not JSON: mend the line") from None
    if isinstance(found, dict):
        found = next((found[key] for key in REFERENCE_KEYS if key in found), None)
    texts = [found] if isinstance(found, str) else found
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise UserError(
            f"{path}:{number}: has no list of references: give a list of strings, or an object "
            'with one under "target" or "references"'
        )
    return texts


def _check_content(path: Path, texts: Iterable[str]) -> None:
    if not any(text.strip() for text in texts):
        raise UserError(f"{path}: is empty: give a file with one example a line")


def _warn_of_empty_lines(path: Path, texts: list[str]) -> None:
    empty = [number for number, text in enumerate(texts, 1) if not text.strip()]
    if empty:
        warn(
            f"{path}: {len(empty)} of {len(texts)} lines are empty, the first is line {empty[0]}: "
            "they stay in, and match nothing"
        )
