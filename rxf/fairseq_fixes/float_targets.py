"""Regression targets keep their precision under ``--fp16`` and ``--bf16``.

Symptom: the trainer casts every float of a batch, the labels of STS-B among them, to
half precision before the loss (4.4 becomes 4.3984375 in fp16 and 4.40625 in bf16), and
the criterion's own ``targets.float()`` comes too late.

Why this mends it: for a regression criterion, ``sample["target"]`` is taken from the
batch as it was.  Float targets of other tasks (speech) are cast as ever.
"""

from typing import Any, Callable

import torch
from fairseq.trainer import Trainer

from rxf.fairseq_fixes import Fix
from rxf.fairseq_fixes.patching import wrap


def _apply() -> None:
    wrap(Trainer, "_fp_convert_sample", _fp_convert_sample)


def _fp_convert_sample(original: Callable, self: Trainer, sample: Any) -> Any:
    converted = original(self, sample)
    if not isinstance(converted, dict) or not _regression(self):
        return converted
    target = sample.get("target")
    if torch.is_tensor(target) and target.dtype is torch.float32:
        converted["target"] = target
    return converted


def _regression(trainer: Trainer) -> bool:
    settings = getattr(trainer.task, "cfg", None)
    return bool(
        getattr(trainer.get_criterion(), "regression_target", False)
        or getattr(settings, "regression_target", False)
    )


FIX = Fix(
    name="float-targets",
    symptom="--fp16 rounds regression targets to half precision before the loss",
    reference="measured on fairseq 0.12.2",
    apply=_apply,
)
