"""BART can be pre-trained from the command line."""

import argparse
import os
import subprocess
import sys
from typing import Any

import pytest
from fairseq import options

from tests.support import REPO

DENOISING = ["data", "--task", "denoising", "--arch", "bart_base", "--user-dir", str(REPO / "rxf")]


def parsed(*flags: str) -> Any:
    return options.parse_args_and_arch(options.get_training_parser(), [*DENOISING, *flags])


def test_model_and_task_share_the_flag() -> None:
    args = parsed("--max-source-positions", "77", "--mask", "0.25", "--poisson-lambda", "2.5")
    assert (args.max_source_positions, args.mask, args.poisson_lambda) == (77, 0.25, 2.5)
    # The task's own default, where the model has none of its own.
    assert parsed().tokens_per_sample == 512


def test_flags_that_nobody_knows_are_still_errors(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--no-such-flag", "1")
    assert "--no-such-flag" in capsys.readouterr().err


def test_without_the_fix() -> None:
    code = (
        "import rxf; from fairseq import options; "
        f"options.parse_args_and_arch(options.get_training_parser(), {DENOISING})"
    )
    settings = {**os.environ, "RXF_FIXES": "denoising-flags", "PYTHONPATH": str(REPO)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=settings, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert f"{argparse.ArgumentError.__name__}" in done.stderr
    assert "conflicting option string" in done.stderr
