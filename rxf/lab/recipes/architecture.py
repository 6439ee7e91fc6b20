"""``python -m rxf.lab.recipes.architecture FILE``: the model of a checkpoint, as flags.

For the scripts of ``examples``, which fine-tune a model of any size.
"""

import argparse
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any, Optional

from fairseq.models import ARCH_CONFIG_REGISTRY

from rxf.errors import install_excepthook
from rxf.lab.model_flags import Settings, flags_from_checkpoint, model_flags

__all__ = ["architecture", "hydra_words", "main"]

# What fairseq has a name for, and the number of positions of the published files.
NAMED = ("roberta_large", "roberta_base")
POSITIONS = 512


def architecture(sizes: Settings) -> Settings:
    """The sizes of a checkpoint, or the name that fairseq has for all of them.

    Args:
        sizes: of :func:`rxf.lab.model_flags.flags_from_checkpoint`.
    """
    for name in NAMED:
        of_name = Namespace(max_positions=POSITIONS)
        ARCH_CONFIG_REGISTRY[name](of_name)
        if all(sizes[key] == getattr(of_name, key) for key in sizes if key != "arch"):
            return {"arch": name}
    return sizes


def hydra_words(sizes: Settings) -> list[str]:
    """The sizes as overrides for ``fairseq-hydra-train``."""
    named: dict[str, Any] = {f"model.{name}": value for name, value in sizes.items()}
    named["model._name"] = named.pop("model.arch")
    named["task.max_positions"] = sizes["max_positions"]
    return [f"{name}={value}" for name, value in named.items()]


def main(argv: Optional[list[str]] = None) -> int:
    """Print one line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m rxf.lab.recipes.architecture")
    parser.add_argument("file", metavar="FILE", type=Path, help="a RoBERTa's checkpoint")
    parser.add_argument("--hydra", action="store_true", help="as overrides for fairseq-hydra-train")
    args = parser.parse_args(argv)
    sizes = flags_from_checkpoint(args.file, flag="FILE")
    words = hydra_words(sizes) if args.hydra else model_flags(architecture(sizes))
    print(" ".join(words))
    return 0


if __name__ == "__main__":
    install_excepthook()
    sys.exit(main())
