"""The runs below a folder in the form of the paper's XNLI table, beside its rows, as Markdown.

    python examples/xnli/table.py WORK

WORK holds METHOD-SEED/evaluation/scores.json, as xnli.sh leaves them, and gets table.md.  A
row is the mean over a method's runs.  A language that a run lacks is a dash, and the average,
of the languages that are there, says over how many.
"""

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from rxf.errors import UserError, install_excepthook
from rxf.lab.files import written
from rxf.lab.prepare.xnli import LANGUAGES

# Aghajanyan et al. 2020 (arXiv 2008.03156), the table of XNLI: test rows, zero-shot, 5 runs.
PUBLISHED = {
    "XLM-R Base": "85.8 79.7 80.7 78.7 77.5 79.6 78.1 74.2 73.8 76.5 74.6 76.7 72.4 66.5 68.3 76.2",
    "XLM-R Large": "89.1 84.1 85.1 83.9 82.9 84.0 81.2 79.6 79.8 80.8 78.1 80.2 76.9 73.9 73.8 "
    "80.9",
    "+ R3F": "89.4 84.2 85.1 83.7 83.6 84.6 82.3 80.7 80.6 81.1 79.4 80.1 77.3 72.6 74.2 81.2",
    "+ R4F": "89.6 84.7 85.2 84.2 83.6 84.6 82.5 80.3 80.5 80.9 79.2 80.6 78.2 72.7 73.9 81.4",
    "InfoXLM": "89.7 84.5 85.5 84.1 83.4 84.2 81.3 80.9 80.4 80.8 78.9 80.9 77.9 74.8 73.7 81.4",
}
SOURCE = (
    "Published: Aghajanyan et al. 2020 (arXiv 2008.03156), zero-shot on the test rows, mean of 5 "
    "runs; InfoXLM as printed there."
)


class Run(NamedTuple):
    """``scores`` is language -> accuracy in percent, on the rows of ``kind``: dev or test."""

    kind: str
    scores: Mapping[str, float]


def read(path: Path) -> Run:
    """Test scores, or those on the development rows where there are none.

    Raises:
        UserError: the file holds neither.
    """
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))["splits"]
        for kind in ("test", "dev"):
            found = {
                name.removeprefix(f"{kind}-"): float(facts["accuracy"])
                for name, facts in splits.items()
                if name.startswith(f"{kind}-")
            }
            if found:
                return Run(kind, found)
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    raise UserError(f"{path}: holds no accuracy of test-LL or dev-LL: evaluate the run again")


def runs(work: Path) -> dict[tuple[str, str], list[Run]]:
    """(Method, kind of rows) -> its runs.

    Raises:
        UserError: there is none.
    """
    found: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for path in sorted(work.glob("*-*/evaluation/scores.json")):
        run = read(path)
        found[path.parts[-3].rpartition("-")[0], run.kind].append(run)
    if not found:
        raise UserError(f"{work}: holds no METHOD-SEED/evaluation/scores.json: run xnli.sh")
    return found


def cells(mine: list[Run]) -> list[str]:
    """A method's mean in each language, and over those that all of its runs have."""
    values = {
        language: [run.scores[language] for run in mine if language in run.scores]
        for language in LANGUAGES
    }
    means = {name: statistics.mean(v) for name, v in values.items() if len(v) == len(mine)}
    average = f"{statistics.mean(means.values()):.1f}" if means else "-"
    if 0 < len(means) < len(LANGUAGES):
        average += f" ({len(means)} of {len(LANGUAGES)})"
    return [*(f"{means[name]:.1f}" if name in means else "-" for name in LANGUAGES), average]


def row(words: list[str]) -> str:
    return "| " + " | ".join(words) + " |"


def table(work: Path) -> Iterator[str]:
    """The lines of the table."""
    yield row(["", "rows", "runs", *LANGUAGES, "avg"])
    yield row(["---", "---", *["---:"] * (len(LANGUAGES) + 2)])
    for name, line in PUBLISHED.items():
        yield row([name, "test", "5", *line.split()])
    for (method, kind), mine in runs(work).items():
        yield row([f"**{method}**", kind, str(len(mine)), *cells(mine)])
    yield ""
    yield SOURCE


def main() -> None:
    install_excepthook()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work", metavar="WORK", type=Path)
    work = parser.parse_args().work
    text = "\n".join(table(work)) + "\n"
    with written(work / "table.md") as aside:
        aside.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
