"""``--task sentence_prediction`` says which architectures it takes.

Symptom: with an architecture that has no classification heads (``transformer``,
``fconv``, ``lstm``) the task stops with an ``AttributeError`` about
``register_classification_head``.

Why this mends it: the question is asked of the model class before the model is built.
"""

from typing import Any, Callable

from fairseq.models import ARCH_MODEL_REGISTRY
from fairseq.tasks.sentence_prediction import SentencePredictionTask

from rxf.errors import UserError
from rxf.fairseq_fixes import Fix
from rxf.fairseq_fixes.patching import wrap


def _apply() -> None:
    wrap(SentencePredictionTask, "build_model", _build_model)


def _build_model(original: Callable, self: Any, cfg: Any, *args: Any, **kwargs: Any) -> Any:
    arch = getattr(cfg, "arch", None) or getattr(cfg, "_name", None)
    model = ARCH_MODEL_REGISTRY.get(arch)
    if model is not None and not hasattr(model, "register_classification_head"):
        raise UserError(
            f"--arch {arch} has no classification head: --task sentence_prediction takes "
            "RoBERTa, XLM-R and BART architectures"
        )
    return original(self, cfg, *args, **kwargs)


FIX = Fix(
    name="classification-head",
    symptom="--task sentence_prediction with an architecture without heads is an AttributeError",
    reference="measured on fairseq 0.12.2",
    apply=_apply,
)
