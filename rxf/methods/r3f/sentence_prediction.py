"""``--criterion sentence_prediction_r3f``: R3F for classification and regression."""

from dataclasses import dataclass
from typing import Any, Optional

from fairseq.criterions import register_criterion
from fairseq.logging import metrics
from torch import Tensor, nn

from rxf.classification import SentenceCriterion, SentenceCriterionConfig
from rxf.divergence import squared_difference, symmetric_kl
from rxf.methods.r3f.noised_branches import NoisedBranches, log_noise_share
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

    def __init__(self, cfg: SentencePredictionR3FConfig, task: Any) -> None:
        super().__init__(cfg, task)
        self.r3f_lambda = cfg.r3f_lambda
        self.branches = NoisedBranches(cfg, detach=True)

    def regularised_logits(
        self, model: nn.Module, sample: dict[str, Any]
    ) -> tuple[Tensor, Optional[Tensor], dict[str, Any]]:
        """See the base class; validation and lambda 0 take the plain path."""
        if not model.training or self.r3f_lambda == 0:
            return super().regularised_logits(model, sample)
        clean, noised, logged = self.branches(model, sample["net_input"], self.logits)
        divergence, name = self._divergence(clean, noised)
        logged[name] = divergence.detach()
        return clean, self.r3f_lambda * divergence, logged

    def _divergence(self, clean: Tensor, noised: Tensor) -> tuple[Tensor, str]:
        if self.regression_target:
            return squared_difference(clean, noised), "squared_diff"
        return symmetric_kl(noised, clean), "symm_kl"

    @staticmethod
    def reduce_metrics(logging_outputs: list[dict[str, Any]]) -> None:
        """As the base class, and the divergence."""
        SentenceCriterion.reduce_metrics(logging_outputs)
        if not logging_outputs:
            return
        sample_size = sum(output["sample_size"] for output in logging_outputs)
        for key in ("symm_kl", "squared_diff"):
            if key in logging_outputs[0]:
                total = sum(output[key] for output in logging_outputs)
                metrics.log_scalar(key, total / sample_size, sample_size)
        log_noise_share(logging_outputs)
