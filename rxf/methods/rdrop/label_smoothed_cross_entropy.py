"""``--criterion label_smoothed_cross_entropy_rdrop``: R-Drop for generation."""

from dataclasses import dataclass
from typing import Any

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterionConfig,
)
from torch import nn

from rxf.divergence import FusedLoss
from rxf.forward import two_branches
from rxf.generation import GenerationCriterion, Pair, Positions
from rxf.methods.rdrop.settings import PLAN, RDropConfig, check_settings

__all__ = ["LabelSmoothedCrossEntropyRDropConfig", "LabelSmoothedCrossEntropyRDropCriterion"]

NAME = "label_smoothed_cross_entropy_rdrop"


@dataclass
class LabelSmoothedCrossEntropyRDropConfig(RDropConfig, LabelSmoothedCrossEntropyCriterionConfig):
    """Flags of ``label_smoothed_cross_entropy_rdrop``."""


@register_criterion(NAME, dataclass=LabelSmoothedCrossEntropyRDropConfig)
class LabelSmoothedCrossEntropyRDropCriterion(GenerationCriterion):
    """Cross-entropy averaged over two dropout passes, plus alpha times their divergence.

    ``loss = sum_t [CE(p_t) + CE(p'_t)] / 2 + alpha sum_t [KL(p_t||p'_t) + KL(p'_t||p_t)] / 2``
    over the target tokens of a batch, padding left out; fairseq divides by their number (by
    that of sentences with ``--sentence-avg``).

    Logged: ``symm_kl``, the sum of both directions per token in nats, without alpha.

    Source: Liang et al. 2021 (arXiv 2106.14448), with the released README's average of the
    two cross-entropies.
    """

    criterion_name = NAME

    def __init__(self, cfg: LabelSmoothedCrossEntropyRDropConfig, task: Any) -> None:
        super().__init__(cfg, task)
        check_settings(cfg)
        self.alpha = cfg.rdrop_alpha

    def is_on(self) -> bool:
        """Alpha 0 is fairseq's own criterion."""
        return self.alpha != 0

    def training_loss(
        self, model: nn.Module, sample: dict[str, Any], positions: Positions
    ) -> tuple[FusedLoss, dict[str, Any]]:
        """See the base class."""
        one, other = two_branches(model, sample["net_input"], self.call(model), None, PLAN)
        pair = Pair(one, other, kl_weight=self.alpha / 2, ce_weights=(0.5, 0.5))
        result = self.pair_loss(model, pair, positions)
        return result, {"symm_kl": result.symm_kl}
