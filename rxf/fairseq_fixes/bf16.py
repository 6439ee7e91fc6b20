"""``--bf16`` does not mean TPU.

Symptom: ``--bf16`` or ``--memory-efficient-bf16`` on the command line turns ``--tpu``
on, which asks for ``torch_xla`` on a machine with GPUs or none (fairseq#4696).  The
same setting in a YAML file trains without it.

Why this mends it: after parsing, ``tpu`` is what the user said.
"""

import sys
from argparse import ArgumentParser, Namespace
from typing import Any, Callable, Optional

from fairseq import options

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
    parsed = original(parser, input_args, *args, **kwargs)
    words = sys.argv[1:] if input_args is None else input_args
    namespace = parsed if isinstance(parsed, Namespace) else parsed[0]
    # Without a value where only explicit flags are wanted: then there is nothing to mend.
    if getattr(namespace, "tpu", False) and "--tpu" not in words:
        namespace.tpu = bool(parser.get_default("tpu"))
    return parsed


FIX = Fix(
    name="bf16",
    symptom="--bf16 on the command line implies a TPU",
    reference="fairseq#4696",
    apply=_apply,
)
