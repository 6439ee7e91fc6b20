"""``python examples/glue/stand_in.py TASK FOLDER``: what the --smoke form of a recipe runs on.

FOLDER gets TASK's TSV files in their official columns, test files among them, bpe/ and a tiny
random model.pt. The first word of a made-up sentence gives its class away.
"""

import random
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Optional

from rxf.lab.prepare.glue_tasks import GlueTask, find_task

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from examples.stand_in import TINY_ROBERTA, sentence, write_bpe, write_model

ROWS = {"train": 40, "valid": 12, "valid1": 10, "test": 8, "test1": 6}
_PAIR_AND_LABEL = "index sentence1 sentence2 label"
_MNLI = (
    "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse sentence1_parse "
    "sentence2_parse sentence1 sentence2"
)
# The official columns: of train, of dev, of test.
_COLUMNS: Mapping[str, tuple[str, str, str]] = {
    "CoLA": ("", "", "index sentence"),
    "SST-2": ("sentence label", "sentence label", "index sentence"),
    "MRPC": (
        "Quality|#1 ID|#2 ID|#1 String|#2 String",
        "Quality|#1 ID|#2 ID|#1 String|#2 String",
        "index|#1 ID|#2 ID|#1 String|#2 String",
    ),
    "STS-B": (
        "index genre filename year old_index source1 source2 sentence1 sentence2 score",
        "index genre filename year old_index source1 source2 sentence1 sentence2 score",
        "index genre filename year old_index source1 source2 sentence1 sentence2",
    ),
    "QQP": (
        "id qid1 qid2 question1 question2 is_duplicate",
        "id qid1 qid2 question1 question2 is_duplicate",
        "id question1 question2",
    ),
    "MNLI": (
        f"{_MNLI} label1 gold_label",
        f"{_MNLI} label1 label2 label3 label4 label5 gold_label",
        _MNLI,
    ),
    "QNLI": ("index question sentence label",) * 2 + ("index question sentence",),
    "RTE": (_PAIR_AND_LABEL,) * 2 + ("index sentence1 sentence2",),
    "WNLI": (_PAIR_AND_LABEL,) * 2 + ("index sentence1 sentence2",),
}


def write_task(task: GlueTask, root: Path) -> Path:
    """The task's files below ``root``; returns the task's own folder."""
    folder = root / task.name
    folder.mkdir(parents=True, exist_ok=True)
    source = random.Random(1)
    for split, file in task.files.items():
        lines = _lines(task, split, source)
        (folder / file).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


def _lines(task: GlueTask, split: str, source: random.Random) -> Iterable[str]:
    place = next(i for i, name in enumerate(("train", "valid", "test")) if split.startswith(name))
    header = _COLUMNS[task.name][place]
    columns = header.split("|" if "|" in header else None) if header else list(task.headerless)
    if header:
        yield "\t".join(columns)
    for row in range(ROWS[split]):
        values = _values(task, row, source)
        yield "\t".join(values.get(column, str(row)) for column in columns)


def _values(task: GlueTask, row: int, source: random.Random) -> dict[str, str]:
    """Sentences and label of a row, by column; every label comes up in turn."""
    kind = row % (len(task.labels) or 6)
    label = task.labels[kind] if task.labels else f"{kind:.3f}"
    return {**{name: sentence(source, kind) for name in task.sentences}, task.label: label}


def main(argv: Optional[list[str]] = None) -> None:
    name, out = argv or sys.argv[1:]
    folder = Path(out)
    bpe = write_bpe(folder / "bpe")
    write_task(find_task(name), folder)
    # Last: it says that all is there.
    write_model(folder / "model.pt", bpe / "dict.txt", TINY_ROBERTA)


if __name__ == "__main__":
    main()
