"""``--criterion sentence_prediction_mmr``: MMR for classification."""

from dataclasses import dataclass, field
from typing import Any

from fairseq.criterions import register_criterion
from torch import Tensor, nn

from rxf.classification import Predictions, SentenceCriterion, SentenceCriterionConfig
from rxf.errors import UserError, check_number
from rxf.forward import unwrapped
from rxf.forward.catching import caught_inputs
from rxf.methods.mmr.margin import margin_penalty

__all__ = ["SentencePredictionMMRConfig", "SentencePredictionMMRCriterion"]


@dataclass
class SentencePredictionMMRConfig(SentenceCriterionConfig):
    """Flags of ``sentence_prediction_mmr``."""

    mmr_alpha: float = field(
        default=1.0,
        metadata={"help": "weight of the closeness of class centres; 0 is plain fine-tuning"},
    )


@register_criterion("sentence_prediction_mmr", dataclass=SentencePredictionMMRConfig)
class SentencePredictionMMRCriterion(SentenceCriterion):
    """Cross-entropy plus alpha times how close the class centres of the batch lie.

    ``loss = sum_i CE(z_i, y_i) + alpha * B * R`` over the B sentences of a batch, R of
    :func:`margin_penalty` on the feature of ``<s>`` (BART: of the last ``</s>``) that the
    classification head is given; fairseq divides by the number of sentences, which makes it
    ``mean CE + alpha * R``.

    Logged: ``mmr``, R without alpha, averaged over sentences; 0 for batches of one class.

    Source: our reading of Fu et al. 2023, see README.md.

    Raises:
        UserError: a negative ``--mmr-alpha``, or ``--regression-target``.
    """

    per_sentence = ("mmr",)

    def __init__(self, cfg: SentencePredictionMMRConfig, task: Any) -> None:
        super().__init__(cfg, task)
        check_number("--mmr-alpha", cfg.mmr_alpha, cfg.mmr_alpha >= 0, "of 0 or more")
        if cfg.regression_target:
            raise UserError(
                "--regression-target has no classes for --criterion sentence_prediction_mmr to "
                "keep apart: use another criterion, such as sentence_prediction_r3f"
            )
        self.mmr_alpha = cfg.mmr_alpha

    def predict(self, model: nn.Module, sample: dict[str, Any]) -> Predictions:
        """See the base class; validation and alpha 0 take the plain path."""
        if not model.training or self.mmr_alpha == 0:
            return super().predict(model, sample)
        heads: Any = unwrapped(model).classification_heads
        with caught_inputs(heads[self.classification_head_name]) as caught:
            logits = self.logits(model, sample["net_input"])
        features = _sentence_features(caught[0])
        targets = self._targets(model, sample)
        penalty = features.size(0) * margin_penalty(features, targets, self.num_classes)
        return Predictions(logits, self.mmr_alpha * penalty, {"mmr": penalty.detach()})


def _sentence_features(given: Tensor) -> Tensor:
    """One vector a sentence: RoBERTa's head is given B x T x d, BART's B x d."""
    return given[:, 0] if given.dim() == 3 else given
