"""``--task bart_denoising``: fairseq's ``denoising``, which takes no BART on the command line.

fairseq 0.12.2 gives ``--max-source-positions`` and ``--max-target-positions`` to the model and,
a second time, to this task: any BART with it ends in "conflicting option string".  Tasks with a
configuration class let the model's flag stand, and so does this one.
"""

import argparse
import contextlib
from typing import Any

from fairseq.tasks import register_task
from fairseq.tasks.denoising import DenoisingTask

import rxf  # noqa: F401  (the fixes)

__all__ = ["BartDenoisingTask"]


class _WhatIsMissing:
    """A parser that passes over flags it already has."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser

    def add_argument(self, *names: str, **settings: Any) -> None:
        with contextlib.suppress(argparse.ArgumentError):
            self.parser.add_argument(*names, **settings)


@register_task("bart_denoising")
class BartDenoisingTask(DenoisingTask):
    """As its base in all but :meth:`add_args`."""

    @staticmethod
    def add_args(parser: argparse.ArgumentParser) -> None:
        DenoisingTask.add_args(_WhatIsMissing(parser))
