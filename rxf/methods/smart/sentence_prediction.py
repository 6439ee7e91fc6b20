"""``--criterion sentence_prediction_smart``: SMART for classification and regression."""

from dataclasses import dataclass
from typing import Any, Optional

from fairseq.criterions import register_criterion
from torch import Tensor, nn

from rxf.classification import (
    DIVERGENCES,
    Predictions,
    SentenceCriterion,
    SentenceCriterionConfig,
)
from rxf.forward import log_noise_share
from rxf.methods.smart.adversary import Adversary
from rxf.methods.smart.settings import SmartConfig, check_settings
from rxf.methods.smart.teacher import KeepsTeacher

__all__ = ["SentencePredictionSmartConfig", "SentencePredictionSmartCriterion"]


NAME = "sentence_prediction_smart"


@dataclass
class SentencePredictionSmartConfig(SmartConfig, SentenceCriterionConfig):
    """Flags of ``sentence_prediction_smart``."""


@register_criterion(NAME, dataclass=SentencePredictionSmartConfig)
class SentencePredictionSmartCriterion(KeepsTeacher, SentenceCriterion):
    """Task loss, plus what adversarial noise changes, plus the distance from a slow copy.

    ``loss = sum_i CE(z_i, y_i) + lambda sum_i D(z_i, z'_i) + mu sum_i D(z_i, t_i)`` over the
    sentences of a batch: z' from embeddings under adversarial noise, t of the slow copy, and D
    the symmetric KL, or in regression the squared difference.

    Logged: ``symm_kl``, the divergence under noise per sentence in nats, and ``teacher_kl``,
    from the copy, both without their weights (in regression ``squared_diff`` and
    ``teacher_diff``); in half precision ``noise_share``.

    Source: Jiang et al. 2019 (arXiv 1911.03437), algorithm 1.
    """

    per_sentence = (*DIVERGENCES, "teacher_kl", "teacher_diff")

    def __init__(self, cfg: SentencePredictionSmartConfig, task: Any) -> None:
        super().__init__(cfg, task)
        check_settings(cfg)
        self.keep_teacher(cfg, NAME)
        self.adversary = Adversary(cfg)

    def predict(self, model: nn.Module, sample: dict[str, Any]) -> Predictions:
        """See the base class; validation, and lambda and mu 0, take the plain path."""
        if not model.training or (self.smart.smart_lambda == 0 and self.smart.smart_mu == 0):
            return super().predict(model, sample)
        net_input = sample["net_input"]
        logged: dict[str, Any] = {}
        extra: Optional[Tensor] = None
        if self.smart.smart_lambda == 0:
            clean = self.logits(model, net_input)
        else:
            clean, noised, logged = self.adversary(
                model, net_input, self.logits, lambda one, other: self.divergence(one, other)[0]
            )
            divergence, name = self.divergence(clean, noised)
            logged[name] = divergence.detach()
            extra = self.smart.smart_lambda * divergence
        if self.smart.smart_mu:
            taught = self.teacher_of(model).outputs(model, net_input, self.logits)
            apart, _ = self.divergence(clean, taught)
            logged["teacher_diff" if self.regression_target else "teacher_kl"] = apart.detach()
            pull = self.smart.smart_mu * apart
            extra = pull if extra is None else extra + pull
        return Predictions(clean, extra, logged)

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """As the base class, and the share of the noise that half precision leaves."""
        super().reduce_metrics(logging_outputs)
        if logging_outputs:
            log_noise_share(logging_outputs)
