"""``--criterion sentence_prediction_r3f``: R3F for classification and regression."""

from dataclasses import dataclass
from typing import Any

from fairseq.criterions import register_criterion
from torch import nn

from rxf.classification import DIVERGENCES, Predictions, SentenceCriterion, SentenceCriterionConfig
from rxf.forward import log_noise_share
from rxf.methods.r3f.noised_branches import NoisedBranches
from rxf.methods.r3f.settings import R3FConfig

__all__ = ["SentencePredictionR3FConfig", "SentencePredictionR3FCriterion"]


@dataclass
class SentencePredictionR3FConfig(R3FConfig, SentenceCriterionConfig):
    """Flags of ``sentence_prediction_r3f``."""


@register_criterion("sentence_prediction_r3f", dataclass=SentencePredictionR3FConfig)
class SentencePredictionR3FCriterion(SentenceCriterion):
    """Task loss plus lambda times the divergence between clean and noised predictions.

    ``loss = sum_i CE(z_i, y_i) + lambda * sum_i [KL(p_i||p'_i) + KL(p'_i||p_i)]`` over the
    sentences of a batch, z' from embeddings that are cut off from the table and have noise
    added.  Regression takes ``(z_i - z'_i)^2`` in place of the divergence.

    Logged: ``symm_kl``, the divergence per sentence in nats and without lambda
    (``squared_diff`` in regression), and in half precision ``noise_share``, the share of
    embedding coordinates that the noise changed.

    Source: Aghajanyan et al. 2020, equations (3) and (4).
    """

    per_sentence = DIVERGENCES

    def __init__(self, cfg: SentencePredictionR3FConfig, task: Any) -> None:
        super().__init__(cfg, task)
        self.r3f_lambda = cfg.r3f_lambda
        self.branches = NoisedBranches(cfg, detach=True)

    def predict(self, model: nn.Module, sample: dict[str, Any]) -> Predictions:
        """See the base class; validation and lambda 0 take the plain path."""
        if not model.training or self.r3f_lambda == 0:
            return super().predict(model, sample)
        clean, noised, logged = self.branches(model, sample["net_input"], self.logits)
        divergence, name = self.divergence(clean, noised)
        logged[name] = divergence.detach()
        return Predictions(clean, self.r3f_lambda * divergence, logged)

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """As the base class, and the share of the noise that half precision leaves."""
        super().reduce_metrics(logging_outputs)
        if logging_outputs:
            log_noise_share(logging_outputs)
