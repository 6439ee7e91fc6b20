"""The part of a generation criterion that does not depend on the method."""

import logging
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Optional

import torch
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
    label_smoothed_nll_loss,
)
from fairseq.logging import metrics
from torch import Tensor, nn

from rxf.divergence import FusedLoss, fused_linear_ce_kl, symmetric_kl
from rxf.errors import UserError
from rxf.forward import (
    decoder_features,
    decoder_outputs,
    log_probabilities,
    output_projection,
    require_generation,
    unwrapped,
)
from rxf.forward.branches import Call

__all__ = ["GenerationCriterion", "Pair", "Positions"]

logger = logging.getLogger(__name__)

SPECTRAL_NORM = "spectral_norm_classification_head"


class Positions(NamedTuple):
    """Which target positions of a batch count, each of shape (B, T)."""

    targets: Tensor
    keep: Tensor  # in the divergence
    in_loss: Tensor  # in the cross-entropy too


@dataclass(frozen=True)
class Pair:
    """Two branches' decoder outputs, as :meth:`GenerationCriterion.call` makes them.

    Attributes:
        clean: the first branch's.
        other: the second's, of the same shape.
        kl_weight: of their symmetric KL.
        ce_weights: of the two branches' cross-entropies.
        other_gradient: False cuts the second branch off.
        other_weight: the output projection of the second branch where it has another one.
        frozen_weight: no gradient to the first branch's output projection.
    """

    clean: Tensor
    other: Tensor
    kl_weight: float
    ce_weights: tuple[float, float] = (1.0, 0.0)
    other_gradient: bool = True
    other_weight: Optional[Tensor] = None
    frozen_weight: bool = False


def _all_log_probabilities(model: nn.Module, net_input: dict[str, Any]) -> Tensor:
    return log_probabilities(model, decoder_outputs(model, net_input))


class GenerationCriterion(LabelSmoothedCrossEntropyCriterion):
    """Label-smoothed cross-entropy, and what a method adds to it in training.

    A method subclasses this and overrides :meth:`is_on` and :meth:`training_loss`.

    Logged: what fairseq's own criterion logs, ``loss`` being all that is optimised, and
    ``symm_kl`` where :meth:`training_loss` gives it.

    Attributes:
        criterion_name: what ``--criterion`` calls it.

    Raises:
        UserError: flags that mean nothing, at construction; a model that does not write word
            by word, at the first batch.
    """

    criterion_name: ClassVar[str]

    def __init__(self, cfg: LabelSmoothedCrossEntropyCriterionConfig, task: Any) -> None:
        super().__init__(
            task,
            cfg.sentence_avg,
            cfg.label_smoothing,
            cfg.ignore_prefix_size,
            cfg.report_accuracy,
        )
        if not 0 <= cfg.label_smoothing < 1:
            raise UserError(f"--label-smoothing {cfg.label_smoothing}: must be in [0, 1)")
        # An id, since a module kept here would become part of the criterion.
        self._checked: Optional[int] = None
        self._said_why_slow = False

    def is_on(self) -> bool:
        """Whether training differs from fairseq's own criterion."""
        raise NotImplementedError

    def training_loss(
        self, model: nn.Module, sample: dict[str, Any], positions: Positions
    ) -> tuple[FusedLoss, dict[str, Any]]:
        """Loss of one batch, summed over tokens, and what to log besides."""
        raise NotImplementedError

    def forward(
        self, model: nn.Module, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Loss (a sum, scalar), sample size and logging output of one batch.

        Validation, and a method that is off, are fairseq's own criterion.  ``reduce`` is for
        these; the loss of training is always summed.
        """
        self._check(model)
        if not model.training or not self.is_on():
            return super().forward(model, sample, reduce)
        positions = self.positions(model, sample)
        result, logged = self.training_loss(model, sample, positions)
        sample_size = self.sample_size(sample)
        logged.update(
            loss=result.loss.detach(),
            nll_loss=result.nll,
            ntokens=sample["ntokens"],
            nsentences=positions.targets.size(0),
            sample_size=sample_size,
        )
        if self.report_accuracy:
            logged.update(n_correct=result.correct, total=positions.in_loss.sum())
        return result.loss, sample_size, logged

    def sample_size(self, sample: dict[str, Any]) -> int:
        """What fairseq divides by: sentences with ``--sentence-avg``, else target tokens."""
        return int(sample["target"].size(0) if self.sentence_avg else sample["ntokens"])

    def positions(
        self, model: nn.Module, sample: dict[str, Any], keep_padding: bool = False
    ) -> Positions:
        """The positions behind ``--ignore-prefix-size`` that hold a target.

        Args:
            model: wrapped or not.
            sample: the batch.
            keep_padding: count padding in the divergence.
        """
        targets = unwrapped(model).get_targets(sample, None)  # type: ignore[operator]
        has_target = targets.ne(self.padding_idx)
        keep = torch.ones_like(has_target) if keep_padding else has_target
        if self.ignore_prefix_size > 0:
            behind_prefix = torch.ones_like(has_target)
            behind_prefix[:, : self.ignore_prefix_size] = False
            keep, has_target = keep & behind_prefix, has_target & behind_prefix
        return Positions(targets, keep, has_target)

    def call(self, model: nn.Module) -> Call:
        """How to run ``model`` for :meth:`pair_loss`.

        To decoder features; to the model's own log-probabilities, with more memory and time,
        where its output layer is more than a plain projection.
        """
        return _all_log_probabilities if output_projection(model) is None else decoder_features

    def pair_loss(self, model: nn.Module, pair: Pair, positions: Positions) -> FusedLoss:
        """Cross-entropies and divergence of two branches, summed over the kept positions."""
        weight = output_projection(model)
        if weight is None:
            return self._loss_of_full_outputs(model, pair, positions)
        return fused_linear_ce_kl(
            pair.clean,
            pair.other,
            weight.detach() if pair.frozen_weight else weight,
            positions.targets,
            ignore_index=self.padding_idx,
            label_smoothing=self.eps,
            kl_weight=pair.kl_weight,
            ce_weights=pair.ce_weights,
            keep=positions.keep,
            noised_gradient=pair.other_gradient,
            noised_weight=pair.other_weight,
            count_correct=self.report_accuracy,
        )

    def _loss_of_full_outputs(
        self, model: nn.Module, pair: Pair, positions: Positions
    ) -> FusedLoss:
        """The same from log-probabilities of shape (B, T, V)."""
        self._say_why_slow(model)
        targets = positions.targets[positions.keep]
        log_p = pair.clean[positions.keep]
        log_q = pair.other[positions.keep]
        if not pair.other_gradient:
            log_q = log_q.detach()
        divergence = symmetric_kl(log_p, log_q)
        loss, nll = pair.kl_weight * divergence, torch.zeros_like(divergence)
        for scores, share in zip((log_p, log_q), pair.ce_weights, strict=True):
            if share:
                cross_entropy, branch_nll = label_smoothed_nll_loss(
                    scores, targets, self.eps, ignore_index=self.padding_idx
                )
                loss, nll = loss + share * cross_entropy, nll + share * branch_nll.detach()
        return FusedLoss(
            loss=loss,
            nll=nll.detach(),
            symm_kl=divergence.detach(),
            correct=self._correct(log_p, targets) if self.report_accuracy else None,
        )

    def _say_why_slow(self, model: nn.Module) -> None:
        if not self._said_why_slow:
            self._said_why_slow = True
            logger.info(
                f"the output layer of {type(unwrapped(model)).__name__} is more than a plain "
                "projection: the loss takes whole log-probabilities of both branches, with "
                "more memory and time"
            )

    def _correct(self, log_p: Tensor, targets: Tensor) -> Tensor:
        return ((log_p.argmax(-1) == targets) & targets.ne(self.padding_idx)).sum()

    def _check(self, model: nn.Module) -> None:
        if self._checked == id(model):
            return
        require_generation(model, f"--criterion {self.criterion_name}")
        if getattr(getattr(unwrapped(model), "args", None), SPECTRAL_NORM, False):
            raise UserError(
                "--spectral-norm-classification-head is R4F, which has no head to normalise in "
                f"generation: leave it out with --criterion {self.criterion_name}"
            )
        self._checked = id(model)

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """As fairseq's own criterion, and the divergence."""
        super().reduce_metrics(logging_outputs)
        if not logging_outputs or "symm_kl" not in logging_outputs[0]:
            return
        sample_size = sum(output["sample_size"] for output in logging_outputs)
        divergence = sum(output["symm_kl"] for output in logging_outputs)
        metrics.log_scalar("symm_kl", divergence / sample_size, sample_size)
