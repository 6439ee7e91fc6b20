"""``--task denoising`` takes BART on the command line.

Symptom: any BART with ``--task denoising`` or ``multilingual_denoising`` ends in
``argparse.ArgumentError: conflicting option string: --max-source-positions``: model and task
both define the position flags, with the same meaning.  Tasks that have a configuration class
let the model's flag stand.

Why this mends it: the task's flags are added to a parser that passes over those it has.
"""

import argparse
import contextlib
from typing import Any

from fairseq.tasks.denoising import DenoisingTask

from rxf.fairseq_fixes import Fix
from rxf.fairseq_fixes.patching import replace


class _WhatIsMissing:
    """A parser that passes over flags it already has."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser

    def add_argument(self, *names: str, **settings: Any) -> None:
        with contextlib.suppress(argparse.ArgumentError):
            self.parser.add_argument(*names, **settings)


def _apply() -> None:
    original = DenoisingTask.add_args

    def add_args(parser: Any) -> None:
        original(_WhatIsMissing(parser))

    replace(DenoisingTask, "add_args", staticmethod(add_args))


FIX = Fix(
    name="denoising-flags",
    symptom="--task denoising with a BART ends in 'conflicting option string'",
    reference="measured on fairseq 0.12.2",
    apply=_apply,
)
