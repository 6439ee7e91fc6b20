"""``--criterion sentence_prediction_pac``: PAC-tuning for classification."""

from dataclasses import dataclass
from typing import Any, Optional

import torch
from fairseq.criterions import register_criterion
from fairseq.trainer import Trainer
from torch import Tensor, nn

from rxf.classification import Predictions, SentenceCriterion, SentenceCriterionConfig
from rxf.fairseq_fixes.criterion_hooks import require_hooks
from rxf.forward import NoiseStream, replaced_weights, unwrapped
from rxf.methods.pac_tuning.bound import gaussian_kl, interpolated_k, penalty, prior_grid
from rxf.methods.pac_tuning.estimate import estimate_k
from rxf.methods.pac_tuning.gradients import VarianceGradients
from rxf.methods.pac_tuning.model import (
    freeze_embeddings,
    perturbed,
    prepare,
    used_parameters,
)
from rxf.methods.pac_tuning.posterior import Layout, Posterior, head_rate
from rxf.methods.pac_tuning.settings import PacTuningConfig, check_settings
from rxf.parameters.training import all_reduce, refuse_unknown_layouts

__all__ = ["SentencePredictionPacConfig", "SentencePredictionPacCriterion"]

# The noise is a standard normal cut off here, as released.
NOISE_LIMIT = 2.0


@dataclass
class SentencePredictionPacConfig(PacTuningConfig, SentenceCriterionConfig):
    """Flags of ``sentence_prediction_pac``."""


@register_criterion("sentence_prediction_pac", dataclass=SentencePredictionPacConfig)
class SentencePredictionPacCriterion(SentenceCriterion):
    """Cross-entropy at randomly perturbed weights, and at first the PAC-Bayes bound's penalty.

    ``loss = sum_i CE(z_i(w + exp(p) tau), y_i) + B * penalty`` over the B sentences of a
    batch, tau one standard normal for each weight, cut off at 2; p the log standard
    deviations.  After ``--pac-stage1-epochs`` the penalty is gone and p stays as it is.  The
    weights themselves are never changed by the noise.

    Logged: ``pac_stage``; ``pac_sigma``, the mean standard deviation; in stage 1
    ``pac_kl`` and ``pac_penalty`` in nats, and ``pac_k``.

    Attributes:
        posterior: its state, built with the trainer.
        stage: 1 on the bound, 2 on noise alone.
        examples: m of the bound; 0 before training starts.

    Source: Liu et al. 2023, section 3.
    """

    keep_in_fp32 = True
    k_values: Tensor
    per_sentence = ("pac_stage", "pac_kl", "pac_penalty", "pac_k", "pac_sigma")

    def __init__(self, cfg: SentencePredictionPacConfig, task: Any) -> None:
        super().__init__(cfg, task)
        check_settings(cfg, cfg.regression_target)
        require_hooks("sentence_prediction_pac")
        self.settings = cfg
        self.stream = NoiseStream(cfg.pac_noise_seed)
        self.stage = 1
        self.examples = 0
        self.posterior: Optional[Posterior] = None
        self.register_buffer("k_values", torch.zeros(prior_grid().numel()))
        self.gradients = VarianceGradients()

    def get_extra_state(self) -> dict[str, Any]:
        return {"examples": self.examples}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.examples = state["examples"]

    # ------------------------------------------------------------------ a batch

    def predict(self, model: nn.Module, sample: dict[str, Any]) -> Predictions:
        """See the base class; validation takes the plain path, at the mean weights."""
        if not model.training:
            return super().predict(model, sample)
        posterior = self._started()
        weights = self._weights(model)
        if all(weight.grad is None for weight in weights):
            # Nothing is left of the last update, also where that was skipped.
            self.gradients.clear()
        sentences = sample["target"].numel()
        log_sigma, log_prior = (
            posterior.leaves() if self.stage == 1 else (posterior.log_sigma, None)
        )
        sigma = log_sigma.exp()
        noise = self.stream.draw(sigma, "normal", 1.0).clamp_(-NOISE_LIMIT, NOISE_LIMIT)
        layout = posterior.layout
        noised = perturbed(weights, layout.views(sigma * noise))
        with replaced_weights(model, dict(zip(layout.names, noised, strict=True))):
            logits = self.logits(model, sample["net_input"])
        logged = {"pac_stage": self.stage, "pac_sigma": sigma.detach().mean()}
        extra = None
        if log_prior is not None:
            per_sentence, values = self._penalty(weights, log_sigma, log_prior)
            extra = sentences * per_sentence
            self.gradients.collect((log_sigma, log_prior), extra, sentences)
            logged.update(values)
        return Predictions(logits, extra, {k: v * sentences for k, v in logged.items()})

    def _penalty(
        self, weights: list[Tensor], log_sigma: Tensor, log_prior: Tensor
    ) -> tuple[Tensor, dict[str, Any]]:
        posterior = self._started()
        views = posterior.layout.views
        exact = [weight.float() for weight in weights]
        kl = gaussian_kl(exact, views(posterior.centres), views(log_sigma), log_prior)
        k = interpolated_k(log_prior.mean().exp(), self.k_values)
        value = penalty(kl, k, self.settings.pac_gamma, self.examples, log_prior.numel())
        logged = {"pac_kl": kl, "pac_k": k, "pac_penalty": value}
        return value, {name: tensor.detach() for name, tensor in logged.items()}

    def _weights(self, model: nn.Module) -> list[Tensor]:
        inner = unwrapped(model)
        return [inner.get_parameter(name) for name in self._built().layout.names]

    # --------------------------------------------------------------- a training

    def build_for(self, model: nn.Module) -> None:
        """See rxf/fairseq_fixes/criterion_hooks.py; the weights are not yet loaded.

        Raises:
            UserError: see :func:`prepare`; a model without the head.
        """
        self._require_head(model)
        prepare(model)
        if not self.settings.pac_train_embeddings:
            freeze_embeddings(model)
        head = self.classification_head_name
        used = used_parameters(model, self._small_batch(), head)
        self.posterior = Posterior(Layout.of(used, f"classification_heads.{head}."))

    def _small_batch(self) -> dict[str, Any]:
        dictionary = self.task.source_dictionary
        tokens = torch.tensor([[dictionary.bos(), dictionary.eos()]])
        net_input = {"src_tokens": tokens, "src_lengths": torch.tensor([2])}
        if self.task.cfg.add_prev_output_tokens:
            net_input["prev_output_tokens"] = tokens.flip(1)
        return net_input

    def _built(self) -> Posterior:
        if self.posterior is None:
            raise RuntimeError("no posterior: call build_for, or train by the trainer")
        return self.posterior

    def _started(self) -> Posterior:
        posterior = self._built()
        if self.examples == 0:
            raise RuntimeError("no training was started: call start, or train by the trainer")
        return posterior

    def start(self, model: nn.Module, examples: int) -> None:
        """Begin at the weights of ``model``.

        Args:
            model: out of its wrappers.
            examples: m, the training sentences.
        """
        self._built().start(self._weights(model))
        self.examples = examples

    def before_epoch(self, trainer: Trainer, epoch: int) -> None:
        """Set the stage; in a new training also take the start and estimate K."""
        self.stage = 1 if epoch <= self.settings.pac_stage1_epochs else 2
        if self.examples and trainer.get_num_updates() > 0:
            return
        refuse_unknown_layouts(trainer.cfg, "use another --criterion")
        dataset = trainer.task.dataset(trainer.cfg.dataset.train_subset)
        self.start(trainer.get_model(), len(dataset))
        if self.stage == 1:
            table = estimate_k(trainer, self._built(), self.logits, self.settings)
            self.k_values.copy_(table)

    def after_update(self, trainer: Trainer) -> None:
        """In stage 1: one step of the variances, on the mean gradient of all ranks."""
        if self.stage == 2 or self.gradients.totals is None:
            return
        posterior, settings = self._built(), self.settings
        sentences = all_reduce(trainer, self.gradients.sentences, "sum").clamp_min(1.0)
        means = [all_reduce(trainer, t, "sum") / sentences for t in self.gradients.totals]
        head_lr = head_rate(settings.pac_head_variance_lr, posterior.updates)
        posterior.step(means[0], means[1], settings.pac_variance_lr, head_lr)
        self.gradients.clear()
