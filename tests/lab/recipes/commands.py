"""The commands that the scripts of ``examples`` print on a dry run."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from tests.support import REPO

# What must not come from outside.
VARIABLES = ("ROBERTA", "MNLI", "BART", "BPE", "PRETRAINED", "RXF_DATA")
VARIABLES += ("XLMR", "SPM", "DICT", "TRAIN", "TRAIN_ROWS", "SEEDS")
VARIABLES += ("GPUS", "NODES", "NODE_RANK")


def run_script(
    script: str, *arguments: object, timeout: float = 600, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run a script of ``examples`` with this environment's commands.

    Args:
        script: below ``examples``, without ``.sh``.
        arguments: of the script.
        timeout: seconds.
        variables: of the environment, beside those that have nothing to do with the script.
    """
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    kept["PATH"] = f"{Path(sys.executable).parent}:{kept['PATH']}"
    return subprocess.run(
        ["bash", str(REPO / "examples" / f"{script}.sh"), *map(str, arguments)],
        env={**kept, "OMP_NUM_THREADS": "1", **variables},
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def printed(script: str, *arguments: object, **variables: str) -> list[list[str]]:
    """The words of every command that the script would run."""
    named = {"ROBERTA": "model.pt", "BART": "model.pt", "PRETRAINED": "pretrained"}
    named |= {"XLMR": "model.pt", **variables}
    done = run_script(script, "--dry-run", *arguments, **named)
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


def training_of(commands: list[list[str]]) -> list[str]:
    """The one command that trains."""
    (words,) = [words for words in commands if words[0] in ("fairseq-train", "torchrun")]
    return words
