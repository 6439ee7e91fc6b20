"""``--criterion label_smoothed_cross_entropy_r3f``: R3F for generation."""

import contextlib
import logging
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional

import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
    label_smoothed_nll_loss,
)
from fairseq.dataclass import ChoiceEnum
from fairseq.logging import metrics
from torch import Tensor, nn

from rxf.divergence import FusedLoss, fused_linear_ce_kl, symmetric_kl
from rxf.errors import UserError, check_choice
from rxf.forward import (
    decoder_features,
    decoder_outputs,
    log_probabilities,
    output_projection,
    require_generation,
    unwrapped,
)
from rxf.forward.noise import NOISE_TYPES
from rxf.methods.r3f.noised_branches import NoisedBranches, log_noise_share
from rxf.methods.r3f.settings import R3FConfig

__all__ = ["LabelSmoothedCrossEntropyR3FConfig", "LabelSmoothedCrossEntropyR3FCriterion"]

logger = logging.getLogger(__name__)

REDUCTIONS = ("sentence", "token", "released")
SPECTRAL_NORM = "spectral_norm_classification_head"


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


class _Positions(NamedTuple):
    """Which target positions of a batch count, each of shape (B, T)."""

    targets: Tensor
    keep: Tensor  # in the divergence
    in_loss: Tensor  # in the cross-entropy too


@register_criterion(
    "label_smoothed_cross_entropy_r3f", dataclass=LabelSmoothedCrossEntropyR3FConfig
)
class LabelSmoothedCrossEntropyR3FCriterion(LabelSmoothedCrossEntropyCriterion):
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

    def __init__(self, cfg: LabelSmoothedCrossEntropyR3FConfig, task: Any) -> None:
        super().__init__(
            task,
            cfg.sentence_avg,
            cfg.label_smoothing,
            cfg.ignore_prefix_size,
            cfg.report_accuracy,
        )
        if not 0 <= cfg.label_smoothing < 1:
            raise UserError(f"--label-smoothing {cfg.label_smoothing}: must be in [0, 1)")
        check_choice("--r3f-reduction", cfg.r3f_reduction, REDUCTIONS)
        self.r3f_lambda = cfg.r3f_lambda
        self.reduction = str(cfg.r3f_reduction)
        # The noised branch keeps the embeddings' gradient here, as the released one does.
        self.branches = NoisedBranches(cfg, detach=False)
        # An id, since a module kept here would become part of the criterion.
        self._checked: Optional[int] = None
        self._said_why_slow = False

    def forward(
        self, model: nn.Module, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Loss (a sum, scalar), sample size and logging output of one batch.

        Validation and lambda 0 are fairseq's own criterion.  ``reduce`` is for these; the
        loss of training is always summed.
        """
        self._check(model)
        if not model.training or self.r3f_lambda == 0:
            return super().forward(model, sample, reduce)
        positions = self._positions(model, sample)
        sentences = positions.targets.size(0)
        sample_size = sentences if self.sentence_avg else sample["ntokens"]
        per_divergence = 1.0 if self.reduction == "token" else sample_size / sentences
        result, logged = self._loss(model, sample, positions, self.r3f_lambda * per_divergence)
        logged.update(
            loss=result.loss.detach(),
            nll_loss=result.nll,
            symm_kl=result.symm_kl * per_divergence,
            ntokens=sample["ntokens"],
            nsentences=sentences,
            sample_size=sample_size,
        )
        if self.report_accuracy:
            logged.update(n_correct=result.correct, total=positions.in_loss.sum())
        return result.loss, sample_size, logged

    def _check(self, model: nn.Module) -> None:
        if self._checked == id(model):
            return
        require_generation(model, "--criterion label_smoothed_cross_entropy_r3f")
        if getattr(getattr(unwrapped(model), "args", None), SPECTRAL_NORM, False):
            raise UserError(
                "--spectral-norm-classification-head is R4F, which has no head to normalise in "
                "generation: leave it out with --criterion label_smoothed_cross_entropy_r3f"
            )
        self._checked = id(model)

    def _positions(self, model: nn.Module, sample: dict[str, Any]) -> _Positions:
        targets = unwrapped(model).get_targets(sample, None)  # type: ignore[operator]
        has_target = targets.ne(self.padding_idx)
        keep = torch.ones_like(has_target) if self.reduction == "released" else has_target
        if self.ignore_prefix_size > 0:
            behind_prefix = torch.ones_like(has_target)
            behind_prefix[:, : self.ignore_prefix_size] = False
            keep, has_target = keep & behind_prefix, has_target & behind_prefix
        return _Positions(targets, keep, has_target)

    def _loss(
        self, model: nn.Module, sample: dict[str, Any], positions: _Positions, kl_weight: float
    ) -> tuple[FusedLoss, dict[str, Any]]:
        weight = output_projection(model)
        if weight is None:
            return self._loss_of_full_outputs(model, sample, positions, kl_weight)
        clean, noised, logged = self.branches(model, sample["net_input"], decoder_features)
        loss = fused_linear_ce_kl(
            clean,
            noised,
            weight,
            positions.targets,
            ignore_index=self.padding_idx,
            label_smoothing=self.eps,
            kl_weight=kl_weight,
            keep=positions.keep,
            noised_gradient=self.branches.plan.noised_gradient,
            count_correct=self.report_accuracy,
        )
        return loss, logged

    def _loss_of_full_outputs(
        self, model: nn.Module, sample: dict[str, Any], positions: _Positions, kl_weight: float
    ) -> tuple[FusedLoss, dict[str, Any]]:
        """The same from the model's own probabilities, for any output layer."""
        if not self._said_why_slow:
            self._said_why_slow = True
            logger.info(
                f"the output layer of {type(unwrapped(model)).__name__} is more than a plain "
                "projection: the loss takes whole log-probabilities of both branches, with "
                "more memory and time"
            )
        clean, noised, logged = self.branches(model, sample["net_input"], decoder_outputs)
        log_p = log_probabilities(model, clean)[positions.keep]
        through_noised = self.branches.plan.noised_gradient
        with contextlib.nullcontext() if through_noised else torch.no_grad():
            log_q = log_probabilities(model, noised)[positions.keep]
        targets = positions.targets[positions.keep]
        cross_entropy, nll = label_smoothed_nll_loss(
            log_p, targets, self.eps, ignore_index=self.padding_idx
        )
        divergence = symmetric_kl(log_p, log_q)
        return FusedLoss(
            loss=cross_entropy + kl_weight * divergence,
            nll=nll.detach(),
            symm_kl=divergence.detach(),
            correct=self._correct(log_p, targets) if self.report_accuracy else None,
        ), logged

    def _correct(self, log_p: Tensor, targets: Tensor) -> Tensor:
        return ((log_p.argmax(-1) == targets) & targets.ne(self.padding_idx)).sum()

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """As fairseq's own criterion, and the divergence."""
        super().reduce_metrics(logging_outputs)
        if not logging_outputs or "symm_kl" not in logging_outputs[0]:
            return
        sample_size = sum(output["sample_size"] for output in logging_outputs)
        divergence = sum(output["symm_kl"] for output in logging_outputs)
        metrics.log_scalar("symm_kl", divergence / sample_size, sample_size)
        log_noise_share(logging_outputs)
