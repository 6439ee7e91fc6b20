"""files2rouge, where it is installed: found, asked for its argument order, run and read.

Its order of arguments changed and its own help had it wrong for years, so it is measured: a
pair of lines whose recall and precision are known is scored once before the files are.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple, Optional

from rxf.errors import UserError
from rxf.lab.rouge.bootstrap import Estimate
from rxf.lab.rouge.scores import MEASURES

__all__ = ["Files2Rouge", "find_files2rouge", "rouge_flags"]

# "1 ROUGE-L Average_F: 0.39751 (95%-conf.int. 0.38281 - 0.41273)"
RESULT = re.compile(
    r"(ROUGE-[12L]) Average_([RPF]): ([\d.]+) \(95%-conf\.int\. ([\d.]+) - ([\d.]+)\)"
)
LONG, SHORT = "one two three four", "one two"


def rouge_flags(stemming: bool) -> str:
    """ROUGE-1.5.5's flags for what the papers report."""
    return f"-c 95 -r 1000 -n 2 {'-m ' if stemming else ''}-a"


class Files2Rouge(NamedTuple):
    """An installed files2rouge: the start of its command line, and how it takes its files."""

    command: list[str]
    version: str
    reference_first: bool

    def score(self, reference: Path, summary: Path, eos: str, flags: str) -> list[Estimate]:
        """R, P and F of each measure, in the order of ``scores.COLUMNS``.

        Raises:
            UserError: it fails, or prints no scores.
        """
        files = [reference, summary] if self.reference_first else [summary, reference]
        return _run(self.command, files, eos, flags)


def find_files2rouge() -> Optional[Files2Rouge]:
    """The one on PATH, else the one that Python can import; None if there is neither.

    Raises:
        UserError: it is there and does not work.
    """
    command = _command()
    if command is None:
        return None
    return Files2Rouge(command, _version(command), _reference_first(command))


def _command() -> Optional[list[str]]:
    script = shutil.which("files2rouge")
    if script:
        return [script]
    if importlib.util.find_spec("files2rouge"):
        return [sys.executable, "-m", "files2rouge.files2rouge"]
    return None


def _version(command: Sequence[str]) -> str:
    """Of the package, if the command is this Python's; another's cannot be asked."""
    if Path(command[0]).parent == Path(sys.executable).parent:
        try:
            return metadata.version("files2rouge")
        except metadata.PackageNotFoundError:
            pass
    return f"of unknown version, {command[0]}"


def _reference_first(command: Sequence[str]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, "long"), Path(folder, "short")]
        for file, text in zip(files, (LONG, SHORT), strict=True):
            file.write_text(text + "\n", encoding="utf-8")
        recall, precision, _ = _run(command, files, ".", rouge_flags(stemming=True))[:3]
    found = (recall.average, precision.average)
    if sorted(found) != [0.5, 1.0]:
        raise UserError(
            f"{command[0]}: says recall {found[0]:g} and precision {found[1]:g} for two words of "
            "four: not a files2rouge that can be relied on: give --tool builtin"
        )
    return found == (0.5, 1.0)


def _run(command: Sequence[str], files: Sequence[Path], eos: str, flags: str) -> list[Estimate]:
    # Joined by "=", since the value starts with a hyphen.
    arguments = [*map(str, files), f"--eos={eos}", f"--args={flags}"]
    try:
        done = subprocess.run(
            [*command, *arguments],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            # It opens its files in the encoding of the locale.
            env={**os.environ, "PYTHONUTF8": "1"},
        )
    except OSError as error:
        raise UserError(
            f"{command[0]}: does not start ({error.strerror}): give --tool builtin"
        ) from None
    found = {(name, letter): Estimate(*map(float, rest)) for name, letter, *rest in _results(done)}
    wanted = [(measure, letter) for measure in MEASURES for letter in "RPF"]
    if done.returncode != 0 or not all(key in found for key in wanted):
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise UserError(
            f"{command[0]}: ended with {done.returncode} and said: {said}: mend its installation, "
            "or give --tool builtin"
        )
    return [found[key] for key in wanted]


def _results(done: "subprocess.CompletedProcess[str]") -> list[tuple[str, ...]]:
    return RESULT.findall(done.stdout)
