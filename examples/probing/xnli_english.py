"""XNLI English for the probes: the dev file parted into rows to train on and rows to score.

    python examples/probing/xnli_english.py dev-en.tsv DATA [--bpe-dir DIR]

XNLI has no training file of its own (models are trained on MNLI), so that its dev rows have to
do for both: the last fifth of the premises is scored, the others are trained on.  No premise
is in both.  A line of the file is premise, hypothesis, label; there is no heading.
DATA/XNLI-en-rows and DATA/XNLI-en are made.
"""

import argparse
from pathlib import Path

from rxf.errors import UserError, install_excepthook
from rxf.lab.prepare import tokens
from rxf.lab.prepare.glue import prepare_task
from rxf.lab.prepare.glue_tasks import GlueTask

HELD_OUT = 0.2
COLUMNS = ("premise", "hypothesis", "label")
TASK = GlueTask(
    "XNLI-en",
    sentences=COLUMNS[:2],
    label=COLUMNS[2],
    labels=("contradiction", "entailment", "neutral"),
    best_metric="accuracy",
    files={"train": "train.tsv", "valid": "dev.tsv"},
    headerless=COLUMNS,
)


def parted(lines: list[str], held_out: float) -> tuple[list[str], list[str]]:
    """Rows to train on and rows to score, in the file's order, by premise."""
    premises = list(dict.fromkeys(line.split("\t")[0] for line in lines))
    kept = set(premises[: round((1 - held_out) * len(premises))])
    train = [line for line in lines if line.split("\t")[0] in kept]
    return train, [line for line in lines if line.split("\t")[0] not in kept]


def main() -> None:
    install_excepthook()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("data", type=Path)
    tokens.add_arguments(parser)
    args = parser.parse_args()
    if not args.source.is_file():
        raise UserError(f"{args.source}: there is no such file: give XNLI's dev-en.tsv")
    lines = args.source.read_text(encoding="utf-8").splitlines()
    rows = args.data / "XNLI-en-rows"
    rows.mkdir(parents=True, exist_ok=True)
    for name, part in zip(("train.tsv", "dev.tsv"), parted(lines, HELD_OUT), strict=True):
        (rows / name).write_text("\n".join(part) + "\n", encoding="utf-8")
    made = prepare_task(TASK, rows, tokens.load_encoder(args), args.data / TASK.name)
    print({name: split["rows"] for name, split in made["splits"].items()})


if __name__ == "__main__":
    main()
