"""docs/huggingface.md: its commands parse, and the flags and arguments in its tables exist."""

import argparse
import re
import shlex

import pytest

from rxf.lab import convert
from tests.support import REPO

PAGE = REPO / "docs" / "huggingface.md"
TEXT = PAGE.read_text(encoding="utf-8")


def rows(title: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    section = TEXT.split(f"## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_commands_of_rxf_convert() -> None:
    parser = argparse.ArgumentParser()
    convert.add_arguments(parser)
    commands = re.findall(r"^rxf convert (.*?)(?:\s+#.*)?$", TEXT, re.MULTILINE)
    assert len(commands) >= 2
    for command in commands:
        assert parser.parse_args(shlex.split(command)).source


def test_flags_of_fairseq_train() -> None:
    from fairseq import options

    import rxf  # noqa: F401

    known: set[str] = set()
    for optimizer in ("adam", "cwgnc_adam"):
        for criterion in ("sentence_prediction_r3f", "label_smoothed_cross_entropy_r3f"):
            parser = options.get_training_parser()
            words = ["data", "--task", "sentence_prediction", "--arch", "roberta"]
            words += ["--criterion", criterion, "--optimizer", optimizer]
            words += ["--lr-scheduler", "polynomial_decay", "--total-num-update", "1"]
            options.parse_args_and_arch(parser, input_args=words)
            known |= set(parser._option_string_actions)
    told = {
        flag for row in rows("The Trainer's arguments") for flag in re.findall(r"--[\w-]+", row[1])
    }
    assert len(told) > 20
    assert told <= known


def test_arguments_of_the_trainer() -> None:
    transformers = pytest.importorskip("transformers", reason="pip install transformers")

    known = set(transformers.TrainingArguments.__dataclass_fields__)
    cells = " ".join(row[0] for row in rows("The Trainer's arguments"))
    told = set(re.findall(r"`(\w+)`", cells))
    assert len(told) > 20
    assert told <= known
