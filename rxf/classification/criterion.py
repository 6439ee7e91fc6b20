"""The part of a sentence criterion that does not depend on the method."""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Optional

import torch
import torch.nn.functional as F
from fairseq.criterions import FairseqCriterion
from fairseq.logging import metrics
from torch import Tensor, nn

from rxf.classification.metrics import (
    confusion_counts,
    log_classification,
    log_regression,
    prediction_pairs,
)
from rxf.divergence import squared_difference, symmetric_kl
from rxf.errors import UserError
from rxf.forward import unwrapped
from rxf.representation.monitor import CollapseConfig, CollapseMonitor

__all__ = ["DIVERGENCES", "Predictions", "SentenceCriterion", "SentenceCriterionConfig"]

POSITIVE_LABEL = "1"
# What SentenceCriterion.divergence is logged as.
DIVERGENCES = ("symm_kl", "squared_diff")


@dataclass
class SentenceCriterionConfig(CollapseConfig):
    """Flags of every ``sentence_prediction_*`` criterion of rxf."""

    classification_head_name: str = field(
        default="sentence_classification_head",
        metadata={"help": "name of the classification head to use"},
    )
    regression_target: bool = field(
        default=False, metadata={"help": "the target is a number, as in STS-B"}
    )
    report_mcc: bool = field(
        default=False, metadata={"help": "log Matthews correlation as mcc (CoLA)"}
    )
    report_acc_and_f1: bool = field(
        default=False,
        metadata={"help": "log f1 of the label 1, and acc_and_f1 (MRPC, QQP)"},
    )
    report_pearson_and_spearman: bool = field(
        default=False,
        metadata={"help": "log pearson, spearman and their mean in validation (STS-B)"},
    )


class Predictions(NamedTuple):
    """What a method makes of one batch of B sentences and C classes.

    Attributes:
        logits: shape (B, C); what the metrics count.
        extra: added to the task loss, a sum over the B sentences; None adds nothing.
        logged: name -> value for the logging output.
        branches: logits, each of shape (B, C), whose task losses are averaged; by default
            ``logits`` alone.
    """

    logits: Tensor
    extra: Optional[Tensor] = None
    logged: Optional[dict[str, Any]] = None
    branches: Optional[tuple[Tensor, ...]] = None


class SentenceCriterion(FairseqCriterion):
    """Cross-entropy or squared error of a sentence head, and exact metrics.

    A method subclasses this and overrides :meth:`predict`.  Losses are sums over sentences
    and the sample size is their number, as fairseq's trainer wants them.

    Attributes:
        per_sentence: names of what :meth:`predict` logs as sums over sentences; their means
            are logged under the same names.
        collapse: with ``--collapse-interval`` alone: see :class:`CollapseMonitor`.

    Raises:
        UserError: flags that contradict each other or the data, at construction; a model
            without the head, or a label outside ``--num-classes``, at the first batch.
    """

    per_sentence: ClassVar[tuple[str, ...]] = ()

    def __init__(self, cfg: SentenceCriterionConfig, task: Any) -> None:
        super().__init__(task)
        self.cfg = cfg
        self.classification_head_name = cfg.classification_head_name
        self.regression_target = cfg.regression_target
        self.num_classes = int(task.cfg.num_classes)
        _check_report_flags(cfg)
        if cfg.regression_target and self.num_classes != 1:
            raise UserError(
                f"--regression-target predicts one number, but --num-classes is "
                f"{self.num_classes}: pass --num-classes 1"
            )
        self.positive_class: Optional[int] = None
        if not cfg.regression_target:
            labels = _label_names(task)
            _check_number_of_labels(labels, self.num_classes)
            if cfg.report_acc_and_f1:
                self.positive_class = _positive_class(labels)
        if cfg.collapse_interval:
            self.collapse = CollapseMonitor(cfg, task.source_dictionary)

    def predict(self, model: nn.Module, sample: dict[str, Any]) -> Predictions:
        """Run the model on one batch; a method overrides this."""
        return Predictions(self.logits(model, sample["net_input"]))

    def logits(self, model: nn.Module, net_input: dict[str, Any]) -> Tensor:
        """One forward pass; shape (rows of ``net_input``, C)."""
        head = self.classification_head_name
        logits, _ = model(**net_input, features_only=True, classification_head_name=head)
        return logits

    def divergence(self, one: Tensor, other: Tensor) -> tuple[Tensor, str]:
        """How far two predictions of the same sentences are apart, and its name in the log.

        Args:
            one: logits, shape (B, C).
            other: logits of the same shape.

        Returns:
            Summed over sentences: the symmetric KL, both directions, in nats; in regression
            the squared difference.
        """
        if self.regression_target:
            return squared_difference(one, other), "squared_diff"
        return symmetric_kl(one, other), "symm_kl"

    def forward(
        self, model: nn.Module, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Loss (a sum, scalar), sample size (sentences) and logging output of one batch."""
        self._require_head(unwrapped(model))
        targets = self._targets(model, sample)
        predictions = self.predict(model, sample)
        logged = dict(predictions.logged or {})
        task_loss = self._mean_task_loss(predictions, targets)
        loss = task_loss if predictions.extra is None else task_loss + predictions.extra
        for name, value in _pruning_losses(unwrapped(model)).items():
            loss = loss + value
            logged[name] = value.detach()
        sample_size = targets.numel()
        logged.update(
            loss=loss.detach(),
            nll_loss=task_loss.detach(),
            ntokens=sample["ntokens"],
            nsentences=sample_size,
            sample_size=sample_size,
        )
        logged.update(self._counts(predictions.logits.detach(), targets))
        return loss, sample_size, logged

    def _require_head(self, model: nn.Module) -> None:
        heads = getattr(model, "classification_heads", {})
        if self.classification_head_name in heads:
            return
        there = ", ".join(heads) or "none"
        raise UserError(
            f"--classification-head-name {self.classification_head_name}: {type(model).__name__} "
            f"has no such head (it has: {there}); use --task sentence_prediction with a RoBERTa, "
            "XLM-R or BART --arch"
        )

    def _targets(self, model: nn.Module, sample: dict[str, Any]) -> Tensor:
        if "target" not in sample:
            raise UserError(
                f"{self.task.cfg.data}: this split has no labels; prepare it with labels, or "
                "leave it out of --valid-subset"
            )
        targets = unwrapped(model).get_targets(sample, None).view(-1)  # type: ignore[operator]
        # On a GPU the check would wait for the device in every update: there the check of
        # the dictionary at start, and validation, have to do.
        if not self.regression_target and (targets.device.type == "cpu" or not self.training):
            self._check_range(targets)
        return targets

    def _check_range(self, targets: Tensor) -> None:
        outside = targets[(targets < 0) | (targets >= self.num_classes)]
        if outside.numel():
            raise UserError(
                f"{self.task.cfg.data}/label: a label has index {int(outside[0])}, outside the "
                f"{self.num_classes} of --num-classes; a negative index is a label that "
                "label/dict.txt does not hold: prepare all splits with one label dictionary"
            )

    def _mean_task_loss(self, predictions: Predictions, targets: Tensor) -> Tensor:
        branches = predictions.branches or (predictions.logits,)
        losses = [self._task_loss(logits, targets) for logits in branches]
        return losses[0] if len(losses) == 1 else torch.stack(losses).mean()

    def _task_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        if self.regression_target:
            return F.mse_loss(logits.view(-1).float(), targets.float(), reduction="sum")
        log_probabilities = F.log_softmax(logits, dim=-1, dtype=torch.float32)
        return F.nll_loss(log_probabilities, targets, reduction="sum")

    def _counts(self, logits: Tensor, targets: Tensor) -> dict[str, Any]:
        if self.regression_target:
            wanted = self.cfg.report_pearson_and_spearman and not self.training
            return {"pairs": prediction_pairs(logits.view(-1), targets)} if wanted else {}
        predictions = logits.argmax(dim=1)
        counts: dict[str, Any] = {"ncorrect": (predictions == targets).sum()}
        if self.cfg.report_mcc:
            counts["confusion"] = confusion_counts(predictions, targets, self.num_classes)
        if self.positive_class is not None:
            counts["f1_counts"] = _f1_counts(predictions, targets, self.positive_class)
        return counts

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log the metrics of one update or validation batch, from all its outputs."""
        if not logging_outputs:
            return

        def total(key: str) -> Any:
            return sum(output.get(key, 0) for output in logging_outputs)

        sample_size, ntokens = total("sample_size"), total("ntokens")
        bits = 1 / math.log(2)
        metrics.log_scalar("loss", total("loss") / sample_size * bits, sample_size, round=3)
        # Per token, and of the task loss alone: what fairseq's own criterion logs.
        metrics.log_scalar("nll_loss", total("nll_loss") / ntokens * bits, ntokens, round=3)
        for name in PRUNING_LOSSES:
            if name in logging_outputs[0]:
                metrics.log_scalar(name, total(name) / sample_size * bits, sample_size, round=3)
        for name in cls.per_sentence:
            if name in logging_outputs[0]:
                metrics.log_scalar(name, total(name) / sample_size, sample_size)
        if "ncorrect" in logging_outputs[0]:
            log_classification(logging_outputs)
        log_regression(logging_outputs)

    def logging_outputs_can_be_summed(self) -> bool:  # type: ignore[override]
        """True but in validation with predictions, which are gathered and not summed."""
        return self.training or not self.cfg.report_pearson_and_spearman


PRUNING_LOSSES = {
    "mha_reg_loss": ("mha_reg_scale_factor", "_get_adaptive_head_loss"),
    "ffn_reg_loss": ("ffn_reg_scale_factor", "_get_adaptive_ffn_loss"),
}


def _pruning_losses(model: Any) -> dict[str, Tensor]:
    """fairseq's penalties for pruning heads and feed-forward blocks, where they are asked for."""
    args = getattr(model, "args", None)
    return {
        name: getattr(model, method)()
        for name, (flag, method) in PRUNING_LOSSES.items()
        if getattr(args, flag, 0.0)
    }


def _f1_counts(predictions: Tensor, targets: Tensor, positive: int) -> Tensor:
    said, true = predictions == positive, targets == positive
    return torch.stack([(said & true).sum(), (said & ~true).sum(), (~said & true).sum()])


def _check_report_flags(cfg: SentenceCriterionConfig) -> None:
    if cfg.report_pearson_and_spearman and not cfg.regression_target:
        raise UserError(
            "--report-pearson-and-spearman compares numbers: pass --regression-target too"
        )
    if cfg.regression_target and (cfg.report_mcc or cfg.report_acc_and_f1):
        raise UserError(
            "--report-mcc and --report-acc-and-f1 count classes, but --regression-target "
            "predicts a number: use --report-pearson-and-spearman"
        )


def _label_names(task: Any) -> list[str]:
    """The labels in class order, without what fairseq adds to every dictionary."""
    dictionary = task.label_dictionary
    names = dictionary.symbols[dictionary.nspecial :]
    return [name for name in names if name != "<mask>" and not name.startswith("madeupword")]


def _check_number_of_labels(labels: list[str], num_classes: int) -> None:
    if len(labels) > num_classes:
        raise UserError(
            f"--num-classes is {num_classes}, but label/dict.txt holds {len(labels)} labels "
            f"({', '.join(labels[:5])}): pass --num-classes {len(labels)}"
        )


def _positive_class(labels: list[str]) -> int:
    if POSITIVE_LABEL not in labels:
        raise UserError(
            f"--report-acc-and-f1 is the F1 of the label {POSITIVE_LABEL}, which label/dict.txt "
            f"does not hold (it has: {', '.join(labels)}): leave the flag out"
        )
    return labels.index(POSITIVE_LABEL)
