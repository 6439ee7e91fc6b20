"""``--criterion sentence_prediction_rdrop``: R-Drop for classification and regression."""

from dataclasses import dataclass
from typing import Any

from fairseq.criterions import register_criterion
from torch import nn

from rxf.classification import (
    DIVERGENCES,
    Predictions,
    SentenceCriterion,
    SentenceCriterionConfig,
)
from rxf.forward import two_branches
from rxf.methods.rdrop.settings import PLAN, RDropConfig, check_settings

__all__ = ["SentencePredictionRDropConfig", "SentencePredictionRDropCriterion"]


@dataclass
class SentencePredictionRDropConfig(RDropConfig, SentenceCriterionConfig):
    """Flags of ``sentence_prediction_rdrop``."""


@register_criterion("sentence_prediction_rdrop", dataclass=SentencePredictionRDropConfig)
class SentencePredictionRDropCriterion(SentenceCriterion):
    """Task loss averaged over two dropout passes, plus alpha times their divergence.

    ``loss = sum_i [CE(z_i, y_i) + CE(z'_i, y_i)] / 2 + alpha sum_i [KL(p_i||p'_i) +
    KL(p'_i||p_i)] / 2`` over the sentences of a batch, z and z' from two passes that differ
    in their dropout.  Regression takes ``(z_i - z'_i)^2`` in place of the halved sum.

    Logged: ``symm_kl``, the sum of both directions per sentence in nats, without alpha
    (``squared_diff`` in regression).  Metrics count the first pass.

    Source: Liang et al. 2021 (arXiv 2106.14448), with the released README's average of the
    two cross-entropies.
    """

    per_sentence = DIVERGENCES

    def __init__(self, cfg: SentencePredictionRDropConfig, task: Any) -> None:
        super().__init__(cfg, task)
        check_settings(cfg)
        self.alpha = cfg.rdrop_alpha

    def predict(self, model: nn.Module, sample: dict[str, Any]) -> Predictions:
        """See the base class; validation and alpha 0 take the plain path."""
        if not model.training or self.alpha == 0:
            return super().predict(model, sample)
        one, other = two_branches(model, sample["net_input"], self.logits, None, PLAN)
        divergence, name = self.divergence(one, other)
        share = 1.0 if self.regression_target else 0.5
        logged = {name: divergence.detach()}
        return Predictions(one, self.alpha * share * divergence, logged, (one, other))
