"""``--criterion sentence_prediction_freelb``: FreeLB for classification and regression."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Optional

import torch
from fairseq.criterions import register_criterion
from fairseq.dataclass import ChoiceEnum
from fairseq.optim import AMPOptimizer
from torch import Tensor, nn

from rxf.classification import SentenceCriterion, SentenceCriterionConfig
from rxf.errors import UserError, check_choice, check_number
from rxf.fairseq_fixes.criterion_hooks import require_hooks
from rxf.forward import (
    NoiseStream,
    add_noise,
    perturbed_embeddings,
    replay_dropout,
    text_encoder,
    unwrapped,
)
from rxf.forward.adapters import has_quant_noise
from rxf.methods.freelb.ascent import NORMS, ascend, initial_perturbation, norms, project

__all__ = ["SentencePredictionFreeLBConfig", "SentencePredictionFreeLBCriterion"]


@dataclass
class SentencePredictionFreeLBConfig(SentenceCriterionConfig):
    """Flags of ``sentence_prediction_freelb``."""

    freelb_steps: int = field(
        default=3,
        metadata={
            "help": "forward and backward passes of an update, K in the paper; the perturbation "
            "climbs between them, K - 1 times"
        },
    )
    freelb_adv_lr: float = field(
        default=1e-1, metadata={"help": "length of a step of the perturbation"}
    )
    freelb_init_mag: float = field(
        default=1e-1,
        metadata={"help": "size of the random perturbation of the first pass; 0 starts clean"},
    )
    freelb_max_norm: float = field(
        default=3e-1,
        metadata={"help": "radius of the ball that the perturbation stays in; 0 is no ball"},
    )
    freelb_norm: ChoiceEnum(NORMS) = field(  # type: ignore[valid-type]
        default="l2",
        metadata={"help": "norm of a sentence's perturbation in the three flags above"},
    )


@register_criterion("sentence_prediction_freelb", dataclass=SentencePredictionFreeLBConfig)
class SentencePredictionFreeLBCriterion(SentenceCriterion):
    """Mean task loss of K passes, between which a perturbation of the embeddings climbs.

    ``g = sum_k grad L(e + delta_k) / K``, ``delta_(k+1) = P(delta_k + step x d_k / |d_k|)``
    with d_k the gradient of the loss by delta_k, P the projection on the ball; all passes
    with the same dropout masks.  The gradients add up at the parameters, so that no more
    than one pass is in memory.

    Logged: ``loss`` and ``nll_loss``, the mean of the passes; ``delta_norm``, the norm of
    the last pass's perturbation, per sentence; all else is the last pass's.

    Source: Zhu et al. 2019, algorithm 1.

    Raises:
        UserError: settings that mean nothing, or no fix ``criterion-hooks``, at construction;
            at the first update, a model that cannot be given embeddings or has quantisation
            noise.
    """

    per_sentence = ("delta_norm",)

    def __init__(self, cfg: SentencePredictionFreeLBConfig, task: Any) -> None:
        super().__init__(cfg, task)
        _check_settings(cfg)
        self.steps = cfg.freelb_steps
        self.stream = NoiseStream()
        # One pass on clean embeddings.
        self.plain = cfg.freelb_steps == 1 and cfg.freelb_init_mag == 0
        if not self.plain:
            require_hooks("sentence_prediction_freelb")
        self._checked: Optional[int] = None

    def forward(
        self, model: nn.Module, sample: dict[str, Any], reduce: bool = True
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Validation: one pass without perturbation.

        Raises:
            UserError: called in training, which several backward passes need
                :meth:`train_step` for.
        """
        if model.training and not self.plain:
            raise UserError(
                "--criterion sentence_prediction_freelb: this task does not call its training "
                "step: use --task sentence_prediction"
            )
        return super().forward(model, sample, reduce)

    def train_step(
        self,
        sample: dict[str, Any],
        model: nn.Module,
        optimizer: Any,
        update_num: int,
        ignore_grad: bool,
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """All passes over one batch, forward and backward; see the fix ``criterion-hooks``.

        Returns:
            Mean loss of the passes (each a sum over sentences), sample size, logging output.
        """
        self._check(unwrapped(model))
        climb = _Climb(self.cfg, self.stream)
        replay = replay_dropout(sample["net_input"])
        losses, task_losses = [], []
        for number in range(1, self.steps + 1):
            last = number == self.steps
            climb.wants_gradient = not last
            if number > 1:
                replay()
            with _local_gradients(model, not last):
                loss, sample_size, logged = self._forward(model, sample, climb, optimizer)
                if ignore_grad:
                    loss = loss * 0
                optimizer.backward(loss / self.steps)
            losses.append(loss.detach())
            task_losses.append(logged["nll_loss"])
            if not last:
                climb.step()
        mean = torch.stack(losses).mean()
        logged.update(loss=mean, nll_loss=torch.stack(task_losses).mean())
        if not self.plain:
            logged["delta_norm"] = climb.norm_of_sentences().sum()
        return mean, sample_size, logged

    def _forward(
        self, model: nn.Module, sample: dict[str, Any], climb: "_Climb", optimizer: Any
    ) -> tuple[Tensor, int, dict[str, Any]]:
        perturbed = perturbed_embeddings(model, climb)
        # As in FairseqTask.train_step.
        mixed = torch.autocast("cuda", enabled=isinstance(optimizer, AMPOptimizer))
        with mixed, contextlib.nullcontext() if self.plain else perturbed:
            return super().forward(model, sample)

    def _check(self, model: nn.Module) -> None:
        if self._checked == id(model) or self.plain:
            return
        if self.steps > 1 and has_quant_noise(text_encoder(model)):
            raise UserError(
                "--quant-noise-pq and --quant-noise-scalar change the weights from pass to pass, "
                "but FreeLB's passes share them: leave both at 0, or pass --freelb-steps 1"
            )
        self._checked = id(model)


class _Climb:
    """The perturbation of one batch, from pass to pass.

    Attributes:
        wants_gradient: whether the next pass is to leave its gradient for :meth:`step`.
    """

    def __init__(self, cfg: SentencePredictionFreeLBConfig, stream: NoiseStream) -> None:
        self.wants_gradient = False
        self._cfg = cfg
        self._norm = str(cfg.freelb_norm)
        self._stream = stream
        self._delta: Optional[Tensor] = None

    def __call__(self, embeddings: Tensor, padding_mask: Tensor) -> Tensor:
        """Perturbed embeddings, B x T x d, in their own dtype; the perturbation is float32."""
        if self._delta is None:
            self._delta = self._start(embeddings, padding_mask)
        self._delta.requires_grad_(self.wants_gradient)
        return add_noise(embeddings, self._delta, padding_mask)

    def _start(self, embeddings: Tensor, padding_mask: Tensor) -> Tensor:
        magnitude = self._cfg.freelb_init_mag
        if magnitude == 0:
            return torch.zeros_like(embeddings, dtype=torch.float32)
        uniform = self._stream.draw(embeddings, "uniform", 1.0)
        return initial_perturbation(uniform, padding_mask, magnitude, self._norm)

    def step(self) -> None:
        """Climb by the gradient of the pass just made, and go back into the ball."""
        assert self._delta is not None and self._delta.grad is not None
        delta, gradient = self._delta.detach(), self._delta.grad
        moved = ascend(delta, gradient, self._cfg.freelb_adv_lr, self._norm)
        self._delta = project(moved, self._cfg.freelb_max_norm, self._norm)

    def norm_of_sentences(self) -> Tensor:
        """Shape (B,)."""
        assert self._delta is not None
        return norms(self._delta.detach(), self._norm).view(-1)


@contextlib.contextmanager
def _local_gradients(model: Any, local: bool) -> Iterator[None]:
    """Keep DDP from exchanging gradients of which more are to come, forward pass included."""
    if local and hasattr(model, "no_sync"):
        with model.no_sync():
            yield
    else:
        yield


def _check_settings(cfg: SentencePredictionFreeLBConfig) -> None:
    check_number("--freelb-steps", cfg.freelb_steps, cfg.freelb_steps >= 1, "of 1 or more")
    for flag, value in (
        ("--freelb-adv-lr", cfg.freelb_adv_lr),
        ("--freelb-init-mag", cfg.freelb_init_mag),
        ("--freelb-max-norm", cfg.freelb_max_norm),
    ):
        check_number(flag, value, value >= 0, "of 0 or more")
    check_choice("--freelb-norm", cfg.freelb_norm, NORMS)
