"""The PAC-Bayes bound: what it adds to the training loss, and its constant K.

Source: Liu et al. 2023, section 3, and the released ``utils.py``.
"""

import math
from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor

__all__ = ["gaussian_kl", "interpolated_k", "penalty", "prior_grid", "smallest_k"]

# ln(1 / delta), and what each tensor pays for the choice of its prior, as released.  Both
# are constants of the bound: no gradient sees them.
LOG_CONFIDENCE = 10.0
LOG_CHOICE_OF_PRIOR = 3.0


def gaussian_kl(
    weights: Sequence[Tensor],
    centres: Sequence[Tensor],
    log_sigmas: Sequence[Tensor],
    log_priors: Tensor,
) -> Tensor:
    """KL(Q || P) in nats, a scalar, summed over J tensors.

    Q has the mean w and the standard deviation exp(p) for each weight, P the mean w0 and
    one standard deviation exp(b_j) for each tensor.  With r = p - b_j a weight counts
    ``(exp(2 r) - 1) / 2 - r + exp(-2 b_j) (w - w0)^2 / 2``, which is written so that large
    numbers never cancel.

    Args:
        weights: w, J float32 tensors.
        centres: w0, of the same shapes.
        log_sigmas: p, of the same shapes.
        log_priors: b, shape (J,).
    """
    terms = []
    for w, w0, p, b in zip(weights, centres, log_sigmas, log_priors.unbind(), strict=True):
        ratio = p - b
        spread = (0.5 * torch.expm1(2 * ratio) - ratio).sum()
        terms.append(spread + 0.5 * torch.exp(-2 * b) * (w - w0).square().sum())
    return torch.stack(terms).sum()


def penalty(kl: Tensor, k: Tensor, gamma: float, examples: int, tensors: int) -> Tensor:
    """``(KL + ln(1 / delta) + choice of priors) / (gamma m) + gamma K^2``, a scalar in nats.

    Args:
        kl: of :func:`gaussian_kl`.
        k: K at the priors' size.
        gamma: of the bound.
        examples: m, the training sentences.
        tensors: J.
    """
    constants = LOG_CONFIDENCE + LOG_CHOICE_OF_PRIOR * tensors
    return (kl + constants) / (gamma * examples) + gamma * k.square()


def prior_grid(device: Optional[torch.device] = None) -> Tensor:
    """The prior standard deviations at which K is estimated, shape (8,), float64, ascending."""
    return torch.linspace(-6, -2, 8, dtype=torch.float64, device=device).exp()


def smallest_k(losses: Tensor, gamma: float) -> float:
    """The smallest K for which the losses are sub-gaussian enough for the bound.

    That is, for which ``mean exp(g (mu - loss)) <= exp(g^2 K^2)`` at ten g, the mean being
    over models and sentences and mu each model's own mean loss.

    Args:
        losses: in nats, shape (models, sentences).
        gamma: of the bound; the ten g are spaced evenly in their logarithm from a tenth of
            it to it.
    """
    losses = losses.double()
    below_mean = losses.mean(dim=1, keepdim=True) - losses
    squares = [
        (torch.logsumexp(g * below_mean.flatten(), 0) - math.log(losses.numel())) / g**2
        for g in torch.logspace(math.log10(gamma / 10), math.log10(gamma), 10).tolist()
    ]
    return float(torch.stack(squares).max().clamp_min(0.0).sqrt())


def interpolated_k(prior: Tensor, k_values: Tensor) -> Tensor:
    """K at the standard deviation ``prior``, piece-wise linear between :func:`prior_grid`.

    Below the grid it is the first value, above it the last piece goes on.

    Args:
        prior: a scalar; the gradient goes through it.
        k_values: shape (8,), not falling.
    """
    grid = prior_grid(k_values.device).to(k_values)
    prior = torch.maximum(prior, grid[0])
    # Indexing by a tensor without dimensions would wait for a GPU.
    piece = (torch.bucketize(prior.detach(), grid) - 1).clamp(0, grid.numel() - 2).view(1)
    (low, high), (at_low, at_high) = (
        (values.index_select(0, piece), values.index_select(0, piece + 1))
        for values in (grid, k_values)
    )
    slope = (at_high - at_low) / (high - low)
    return (at_low + slope * (prior - low)).squeeze(0)
