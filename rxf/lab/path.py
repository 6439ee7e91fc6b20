"""`rxf path`: the folder to give to ``--user-dir``, from wherever rxf was installed."""

import argparse
from pathlib import Path

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(args: argparse.Namespace) -> int:
    print(Path(__file__).resolve().parents[1])
    return 0
