"""``fairseq-validate`` takes the criterion from the checkpoint.

Symptom: on a ``sentence_prediction`` checkpoint it stops with "Interpolation key
'criterion.classification_head_name' not found" unless ``--criterion`` is given; and the
one that is given replaces the one that the model was trained with.  The task's settings
refer to its criterion's, and the command line is filled with ``cross_entropy``, which
has none of them.  (Measured.)

Why this mends it: where a command loads a trained model, the default becomes the
criterion of the task's own name, which has the settings.  A default serves to complete
the command line only; what is computed is the checkpoint's criterion, as for any task.
"""

import sys
from argparse import ArgumentParser
from typing import Any, Callable, Optional

from fairseq import options
from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
from fairseq.tasks import TASK_DATACLASS_REGISTRY

from rxf.errors import UserError
from rxf.fairseq_fixes import Fix
from rxf.fairseq_fixes.patching import wrap


def _apply() -> None:
    wrap(options, "parse_args_and_arch", _parse_args_and_arch)


def _parse_args_and_arch(
    original: Callable,
    parser: ArgumentParser,
    input_args: Optional[list[str]] = None,
    *args: Any,
    **kwargs: Any,
) -> Any:
    # A command that trains says what to build by --arch, and needs a criterion of its own.
    if "--arch" not in parser._option_string_actions and parser.get_default("task") is None:
        _default_criterion(parser, sys.argv[1:] if input_args is None else input_args)
    return original(parser, input_args, *args, **kwargs)


def _default_criterion(parser: ArgumentParser, words: list[str]) -> None:
    first = ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--task")
    task = first.parse_known_args(words)[0].task
    if task is None:
        raise UserError("--task is missing: name the task that the model was trained on")
    if task in CRITERION_DATACLASS_REGISTRY and _refers_to_criterion(task):
        parser.set_defaults(criterion=task)


def _refers_to_criterion(task: str) -> bool:
    settings = TASK_DATACLASS_REGISTRY.get(task)
    fields = getattr(settings, "__dataclass_fields__", {}).values()
    return any(str(field.default).startswith("${criterion.") for field in fields)


FIX = Fix(
    name="validate-criterion",
    symptom="fairseq-validate on sentence_prediction needs --criterion, which then wins",
    reference="measured on fairseq 0.12.2",
    apply=_apply,
)
