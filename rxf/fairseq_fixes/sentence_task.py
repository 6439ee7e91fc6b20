"""``--task sentence_prediction`` says what it wants, before any work is done.

Symptom: a wrong data folder, a forgotten ``--num-classes`` or an architecture without
classification heads (``transformer``, ``fconv``, ``lstm``) ends in a traceback whose last
line names a file, an assertion or an attribute, and no flag.

Why this mends it: the questions are asked when the task is set up, and of the model class
before the model is built.
"""

from pathlib import Path
from typing import Any, Callable

from fairseq.models import ARCH_MODEL_REGISTRY
from fairseq.tasks.sentence_prediction import SentencePredictionTask

from rxf.errors import UserError
from rxf.fairseq_fixes import Fix
from rxf.fairseq_fixes.patching import wrap


def _apply() -> None:
    original = vars(SentencePredictionTask)["setup_task"].__func__

    def setup_task(cls: Any, cfg: Any, **kwargs: Any) -> Any:
        _check(cfg)
        return original(cls, cfg, **kwargs)

    # Not wrapped where it is looked up, which would bind it to this class for all subclasses.
    SentencePredictionTask.setup_task = classmethod(setup_task)
    wrap(SentencePredictionTask, "build_model", _build_model)


def _check(cfg: Any) -> None:
    if cfg.num_classes < 1:
        raise UserError(
            "--num-classes is missing: pass the number of labels (1 with --regression-target)"
        )
    wanted = ["input0"] if cfg.regression_target else ["input0", "label"]
    for part in wanted:
        dictionary = Path(cfg.data) / part / "dict.txt"
        if not dictionary.is_file():
            raise UserError(
                f"{dictionary} is missing: DATA must be a folder made by `rxf prepare` "
                "(or by fairseq-preprocess, with input0/ and label/ in it)"
            )


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
    name="sentence-task",
    symptom="a wrong --arch, --num-classes or data folder ends in a traceback that names no flag",
    reference="measured on fairseq 0.12.2",
    apply=_apply,
)
