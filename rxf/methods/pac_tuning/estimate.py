"""K of the bound, estimated on the training data before training starts."""

import logging
import sys
from collections.abc import Sequence
from typing import Any, Callable

import torch
import torch.nn.functional as F
from fairseq.trainer import Trainer
from torch import Tensor

from rxf.errors import UserError
from rxf.forward import replaced_weights
from rxf.methods.pac_tuning.bound import prior_grid, smallest_k
from rxf.methods.pac_tuning.model import perturbed
from rxf.methods.pac_tuning.posterior import Posterior
from rxf.methods.pac_tuning.settings import PacTuningConfig
from rxf.parameters.training import all_reduce, evaluated_batches

__all__ = ["estimate_k"]

logger = logging.getLogger(__name__)

# (model, net_input) -> logits
Call = Callable[[Any, dict[str, Any]], Tensor]


def estimate_k(trainer: Trainer, posterior: Posterior, call: Call, cfg: PacTuningConfig) -> Tensor:
    """K at each size of :func:`prior_grid`, shape (8,), not falling.

    At each size random models are drawn, w0 + N(0, size^2), the same ones on every rank, and
    their losses on the training data go into :func:`smallest_k`.

    Raises:
        UserError: their losses are not finite.
    """
    generator = torch.Generator(trainer.device)
    generator.manual_seed(trainer.cfg.common.seed + cfg.pac_noise_seed)
    found = []
    for prior in prior_grid().tolist():
        rows = []
        for _ in range(cfg.pac_k_models):
            noise = torch.empty_like(posterior.centres).normal_(generator=generator) * prior
            rows.append(_losses(trainer, posterior, call, noise, cfg.pac_k_batches))
        losses = torch.stack(rows)
        if not losses.isfinite().all():
            raise UserError(
                f"--criterion sentence_prediction_pac: random models {prior:.3f} away from the "
                "pre-trained one have no finite loss in this precision: use --amp or fp32"
            )
        found.append(smallest_k(losses, cfg.pac_gamma))
    table = torch.tensor(found).cummax(0).values
    shown = ", ".join(f"{value:.3f}" for value in table.tolist())
    logger.info(f"K of the bound on {losses.size(1)} sentences: {shown}")
    return table


@torch.no_grad()
def _losses(
    trainer: Trainer, posterior: Posterior, call: Call, noise: Tensor, batches: int
) -> Tensor:
    """Cross-entropy in nats of each sentence of all ranks' batches, in the data's order."""
    layout = posterior.layout
    model = trainer.get_model()
    weights: Sequence[Tensor] = [model.get_parameter(name) for name in layout.names]
    noised = perturbed(weights, layout.views(noise))
    amp = torch.autocast("cuda", enabled=bool(trainer.cfg.common.amp) and trainer.cuda)
    rows = len(trainer.task.dataset(trainer.cfg.dataset.train_subset))
    found = torch.zeros(2, rows, dtype=torch.float64, device=trainer.device)
    for sample in evaluated_batches(trainer, 1, batches or sys.maxsize):
        with amp, replaced_weights(model, dict(zip(layout.names, noised, strict=True))):
            logits = call(model, sample["net_input"])
        targets = sample["target"].view(-1)
        losses = F.cross_entropy(logits.float(), targets, reduction="none")
        found[:, sample["id"]] = torch.stack([losses.double(), torch.ones_like(losses)])
    losses, seen = all_reduce(trainer, found, "sum")
    return losses[seen > 0]
