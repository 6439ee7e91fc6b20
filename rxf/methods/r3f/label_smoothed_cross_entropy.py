"""``--criterion label_smoothed_cross_entropy_r3f``: R3F for generation."""

from dataclasses import dataclass, field
from typing import Any

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.dataclass import ChoiceEnum
from torch import nn

from rxf.divergence import FusedLoss
from rxf.errors import check_choice
from rxf.forward import log_noise_share
from rxf.forward.noise import NOISE_TYPES
from rxf.generation import GenerationCriterion, Pair, Positions
from rxf.methods.r3f.noised_branches import NoisedBranches
from rxf.methods.r3f.settings import R3FConfig

__all__ = ["LabelSmoothedCrossEntropyR3FConfig", "LabelSmoothedCrossEntropyR3FCriterion"]

NAME = "label_smoothed_cross_entropy_r3f"
REDUCTIONS = ("sentence", "token", "released")


@dataclass
class LabelSmoothedCrossEntropyR3FConfig(R3FConfig, LabelSmoothedCrossEntropyCriterionConfig):
    """Flags of ``label_smoothed_cross_entropy_r3f``."""

    noise_type: ChoiceEnum(NOISE_TYPES) = field(  # type: ignore[valid-type]
        default="normal", metadata={"help": "distribution of the noise"}
    )
    r3f_reduction: ChoiceEnum(REDUCTIONS) = field(  # type: ignore[valid-type]
        default="sentence",
        metadata={
            "help": "what --r3f-lambda weighs. sentence: the divergence summed over a target's "
            "positions, averaged over sentences (the released scale, without padding); token: "
            "averaged over target tokens, as the cross-entropy is; released: as sentence, "
            "padding counted"
        },
    )


@register_criterion(NAME, dataclass=LabelSmoothedCrossEntropyR3FConfig)
class LabelSmoothedCrossEntropyR3FCriterion(GenerationCriterion):
    """Label-smoothed cross-entropy plus lambda times the divergence of the noised branch.

    With D_t = KL(p_t || q_t) + KL(q_t || p_t) at target position t, q from source
    embeddings with noise added, the loss of a batch is::

        sum_t CE_t + lambda * sample_size / B * sum_t D_t     sentence, released
        sum_t CE_t + lambda * sum_t D_t                       token

    and fairseq divides by the sample size: the number of target tokens, or of sentences
    with ``--sentence-avg``.  ``released`` counts padding among the positions.

    Logged: what fairseq's own criterion logs, ``loss`` with the divergence; ``symm_kl``, in
    nats, as it is weighed by lambda: per sentence, or per token with ``token``; and in half
    precision ``noise_share``, the share of embedding coordinates that the noise changed.

    Source: Aghajanyan et al. 2020, equations (3) and (4) and the section on generation.
    """

    criterion_name = NAME

    def __init__(self, cfg: LabelSmoothedCrossEntropyR3FConfig, task: Any) -> None:
        super().__init__(cfg, task)
        check_choice("--r3f-reduction", cfg.r3f_reduction, REDUCTIONS)
        self.r3f_lambda = cfg.r3f_lambda
        self.reduction = str(cfg.r3f_reduction)
        # The noised branch keeps the embeddings' gradient here, as the released one does.
        self.branches = NoisedBranches(cfg, detach=False)

    def is_on(self) -> bool:
        """Lambda 0 is fairseq's own criterion."""
        return self.r3f_lambda != 0

    def training_loss(
        self, model: nn.Module, sample: dict[str, Any], positions: Positions
    ) -> tuple[FusedLoss, dict[str, Any]]:
        """See the base class."""
        weight = self._per_divergence(sample)
        clean, noised, logged = self.branches(model, sample["net_input"], self.call(model))
        through_noised = self.branches.plan.noised_gradient
        pair = Pair(clean, noised, self.r3f_lambda * weight, other_gradient=through_noised)
        result = self.pair_loss(model, pair, positions)
        return result, {**logged, "symm_kl": result.symm_kl * weight}

    def _per_divergence(self, sample: dict[str, Any]) -> float:
        """What the summed divergence counts, before fairseq divides by the sample size."""
        if self.reduction == "token":
            return 1.0
        return self.sample_size(sample) / sample["target"].size(0)

    def positions(
        self, model: nn.Module, sample: dict[str, Any], keep_padding: bool = False
    ) -> Positions:
        """See the base class; ``released`` counts padding."""
        return super().positions(model, sample, self.reduction == "released")

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """As the base class, and the share of the noise that half precision leaves."""
        super().reduce_metrics(logging_outputs)
        if logging_outputs:
            log_noise_share(logging_outputs)
