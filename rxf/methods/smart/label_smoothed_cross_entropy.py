"""``--criterion label_smoothed_cross_entropy_smart``: SMART for generation."""

from dataclasses import dataclass
from typing import Any, Optional

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.logging import metrics
from torch import Tensor, nn

from rxf.divergence import FusedLoss
from rxf.forward import log_noise_share, output_projection
from rxf.generation import GenerationCriterion, Pair, Positions
from rxf.methods.smart.adversary import Adversary
from rxf.methods.smart.settings import SmartConfig, check_settings
from rxf.methods.smart.teacher import KeepsTeacher

__all__ = ["LabelSmoothedCrossEntropySmartConfig", "LabelSmoothedCrossEntropySmartCriterion"]

NAME = "label_smoothed_cross_entropy_smart"
# Of a pair that is there for its divergence alone.
NO_CROSS_ENTROPY = (0.0, 0.0)


@dataclass
class LabelSmoothedCrossEntropySmartConfig(SmartConfig, LabelSmoothedCrossEntropyCriterionConfig):
    """Flags of ``label_smoothed_cross_entropy_smart``."""


@register_criterion(NAME, dataclass=LabelSmoothedCrossEntropySmartConfig)
class LabelSmoothedCrossEntropySmartCriterion(KeepsTeacher, GenerationCriterion):
    """Cross-entropy, plus what adversarial noise changes, plus the distance from a slow copy.

    ``loss = sum_t CE(p_t) + lambda sum_t D(p_t, q_t) + mu sum_t D(p_t, r_t)`` over the target
    tokens of a batch, padding left out: q from source embeddings under adversarial noise, r
    of the slow copy, D the symmetric KL.  fairseq divides by the number of tokens (of
    sentences with ``--sentence-avg``).

    Logged: ``symm_kl`` and ``teacher_kl``, per token in nats, without their weights; in half
    precision ``noise_share``.

    Source: Jiang et al. 2019 (arXiv 1911.03437), algorithm 1; per token is our reading.
    """

    criterion_name = NAME

    def __init__(self, cfg: LabelSmoothedCrossEntropySmartConfig, task: Any) -> None:
        super().__init__(cfg, task)
        check_settings(cfg)
        self.keep_teacher(cfg, NAME)
        self.adversary = Adversary(cfg)

    def is_on(self) -> bool:
        """Lambda and mu 0 are fairseq's own criterion."""
        return self.smart.smart_lambda != 0 or self.smart.smart_mu != 0

    def training_loss(
        self, model: nn.Module, sample: dict[str, Any], positions: Positions
    ) -> tuple[FusedLoss, dict[str, Any]]:
        """See the base class."""
        call, net_input = self.call(model), sample["net_input"]
        weight = self.smart.smart_lambda

        def distance(clean: Tensor, noised: Tensor) -> Tensor:
            pair = Pair(clean, noised, 1.0, NO_CROSS_ENTROPY, frozen_weight=True)
            return self.pair_loss(model, pair, positions).loss

        if weight == 0:
            clean = call(model, net_input)
            result = self.pair_loss(
                model, Pair(clean, clean.detach(), 0.0, other_gradient=False), positions
            )
            logged: dict[str, Any] = {}
        else:
            clean, noised, logged = self.adversary(model, net_input, call, distance)
            result = self.pair_loss(model, Pair(clean, noised, weight), positions)
            logged["symm_kl"] = result.symm_kl
        if self.smart.smart_mu:
            pull = self._pull(model, sample, clean, positions)
            logged["teacher_kl"] = pull.symm_kl
            result = result._replace(loss=result.loss + pull.loss)
        return result, logged

    def _pull(
        self, model: nn.Module, sample: dict[str, Any], clean: Tensor, positions: Positions
    ) -> FusedLoss:
        table: Optional[Tensor] = None

        def run(taught: nn.Module, net_input: dict[str, Any]) -> Tensor:
            nonlocal table
            weight = output_projection(taught)
            # Within this call the model's own table is the copy's.
            table = None if weight is None else weight.detach()
            return self.call(taught)(taught, net_input)

        outputs = self.teacher_of(model).outputs(model, sample["net_input"], run)
        pair = Pair(clean, outputs, self.smart.smart_mu, NO_CROSS_ENTROPY, False, table)
        return self.pair_loss(model, pair, positions)

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """As the base class, and the distance from the copy."""
        super().reduce_metrics(logging_outputs)
        if not logging_outputs:
            return
        log_noise_share(logging_outputs)
        if "teacher_kl" in logging_outputs[0]:
            sample_size = sum(output["sample_size"] for output in logging_outputs)
            total = sum(output["teacher_kl"] for output in logging_outputs)
            metrics.log_scalar("teacher_kl", total / sample_size, sample_size)
