"""``--freeze-encoder`` for RoBERTa, XLM-R and BART: the classification head alone is trained.

fairseq has no such flag.  Freezing weights is not enough for a probe: dropout within the
encoder would go on, and the head would be trained on other features than it is tested on.
So the frozen part also stays in evaluation mode whatever mode the model is put in.
"""

from typing import Any, Callable

from fairseq.models.bart import BARTModel
from fairseq.models.roberta import RobertaModel
from fairseq.trainer import Trainer
from torch import nn

from rxf.errors import UserError
from rxf.fairseq_fixes.patching import extend_flags, wrap

__all__ = ["add_flags", "install"]

MODELS = (RobertaModel, BARTModel)
TRAINED = "classification_heads"


def install() -> None:
    """Bind the flag to fairseq's models; a second call does nothing."""
    for model in MODELS:
        if "_rxf_frozen_encoder" not in vars(model):
            model._rxf_frozen_encoder = True
            extend_flags(model, add_flags)
            wrap(model, "__init__", _init)
            wrap(model, "train", _train)
    if not getattr(Trainer, "_rxf_frozen_encoder", False):
        Trainer._rxf_frozen_encoder = True
        wrap(Trainer, "_build_optimizer", _build_optimizer)


def add_flags(parser: Any) -> None:
    """The flag that this adds to the models' own."""
    parser.add_argument(
        "--freeze-encoder",
        action="store_true",
        default=False,
        help="train the classification head alone: all other weights stay as they are and run "
        "in evaluation mode, without dropout and layer drop (--pooler-dropout, in the head, "
        "stays); with --pooler-activation-fn linear the head is a linear probe",
    )


def _is_frozen(model: Any) -> bool:
    return bool(getattr(getattr(model, "args", None), "freeze_encoder", False))


def _init(original: Callable, self: Any, *args: Any, **kwargs: Any) -> None:
    original(self, *args, **kwargs)
    # Heads are registered later.
    if _is_frozen(self):
        self.requires_grad_(False)


def _train(original: Callable, self: Any, mode: bool = True) -> Any:
    original(self, mode)
    if mode and _is_frozen(self):
        for name, child in self.named_children():
            if name != TRAINED:
                child.eval()
    return self


def _build_optimizer(original: Callable, self: Trainer) -> None:
    model: nn.Module = self.get_model()
    if _is_frozen(model) and not len(getattr(model, TRAINED, ())):
        raise UserError(
            "--freeze-encoder trains the classification head alone, and this model has none: "
            "use --task sentence_prediction, or leave the flag out"
        )
    original(self)
