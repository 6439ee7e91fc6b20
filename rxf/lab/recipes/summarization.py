"""The summarization and XNLI recipes as commands: what their scripts print on a dry run.

Their settings stand in the scripts of ``examples/summarization`` and ``examples/xnli``; a Hydra
config says the same, so it is made of what the script prints.
"""

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rxf.errors import UserError

__all__ = ["SUMMARIZATION", "XNLI", "Printed", "printed"]


class Printed(NamedTuple):
    """A recipe whose script holds its settings.

    Attributes:
        script: its stem.
        method: the config's name.
        arguments: behind RAW and WORK.
        folder: of ``examples``, where the script is.
    """

    script: str
    method: str
    arguments: tuple[str, ...] = ()
    folder: str = "summarization"


SUMMARIZATION = (
    *(Printed(script, "r3f") for script in ("cnn_dm", "gigaword", "reddit_tifu")),
    *(
        Printed(script, method, (method, "1"))
        for script in ("scitldr", "aeslc")
        for method in ("plain", "r3f")
    ),
)
XNLI = tuple(Printed("xnli", method, (method,), "xnli") for method in ("plain", "r3f", "r4f"))
# Paths, which a config leaves to the command line.
_PATHS = ("--user-dir", "--save-dir", "--finetune-from-model")
# Must not decide what is printed.
_VARIABLES = (
    *("BART", "PRETRAINED", "BPE", "XLMR", "SPM", "DICT", "TRAIN", "TRAIN_ROWS", "SEEDS"),
    *("GPUS", "NODES", "NODE_RANK"),
)


def printed(root: Path, recipe: Printed) -> list[str]:
    """The flags of the recipe's ``fairseq-train`` command, without DATA and paths.

    Args:
        root: of the repository.

    Raises:
        UserError: the script does not print one.
    """
    script = root / "examples" / recipe.folder / f"{recipe.script}.sh"
    kept = {name: value for name, value in os.environ.items() if name not in _VARIABLES}
    done = subprocess.run(
        ["bash", str(script), "--dry-run", "RAW", "WORK", *recipe.arguments],
        env={**kept, "BART": "model.pt", "PRETRAINED": "pretrained", "XLMR": "model.pt"},
        capture_output=True,
        text=True,
    )
    for line in done.stdout.splitlines():
        words = shlex.split(line)
        if words[0] == "fairseq-train":
            return list(_without_paths(words[2:]))
    raise UserError(f"{script}: printed no fairseq-train command: {done.stderr.strip()}")


def _without_paths(words: list[str]) -> Iterator[str]:
    """``words`` without the flags of :data:`_PATHS` and their values."""
    skipped = False
    for word in words:
        if not skipped and word not in _PATHS:
            yield word
        skipped = word in _PATHS
