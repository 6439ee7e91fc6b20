"""The perturbation of FreeLB: how it starts, how it climbs, and the ball it stays in.

All of it is sentence by sentence: norms are over the T x d coordinates of one sentence.
"""

import torch
from torch import Tensor

__all__ = ["NORMS", "ascend", "initial_perturbation", "norms", "project"]

NORMS = ("l2", "linf")


def initial_perturbation(
    uniform: Tensor, padding_mask: Tensor, magnitude: float, norm: str
) -> Tensor:
    """Where the ascent starts.

    Args:
        uniform: numbers of U(-1, 1), B x T x d.
        padding_mask: B x T, True at padding, where the perturbation is 0.
        magnitude: "l2": the norm of a sentence is about 0.58 times this, whatever its length;
            "linf": the largest coordinate.
        norm: "l2" or "linf".

    Returns:
        B x T x d, in the dtype of ``uniform``.

    Source: Zhu et al. 2019, algorithm 1: ``U(-1, 1) x magnitude / sqrt(N)``, N the number of
    coordinates of the sentence; "linf" without the root.
    """
    start = (uniform * magnitude).masked_fill(padding_mask.unsqueeze(-1), 0.0)
    if norm == "linf":
        return start
    coordinates = (~padding_mask).sum(dim=1).clamp_min(1) * uniform.size(-1)
    return start / coordinates.to(uniform.dtype).sqrt().view(-1, 1, 1)


def ascend(perturbation: Tensor, gradient: Tensor, step: float, norm: str) -> Tensor:
    """One step uphill: ``perturbation + step x gradient / |gradient|``.

    A sentence whose gradient is 0 or not finite (an overflow in half precision) stays where
    it is.

    Args:
        perturbation: B x T x d.
        gradient: of the loss by the perturbation, same shape, at any scale.
        step: how far, in ``norm``.
        norm: which norm the gradient is divided by: "l2", or "linf", the largest coordinate.

    Source: Zhu et al. 2019, algorithm 1.
    """
    # First by the largest coordinate, so that no square over- or underflows.
    peak = gradient.abs().amax(dim=(1, 2), keepdim=True)
    usable = torch.isfinite(peak) & (peak > 0)
    direction = torch.where(usable, gradient, 0.0) / torch.where(usable, peak, 1.0)
    if norm == "l2":
        # At least 1 where there is a gradient.
        direction = direction / norms(direction, "l2").clamp_min(1.0)
    return perturbation + step * direction


def project(perturbation: Tensor, radius: float, norm: str) -> Tensor:
    """The nearest point of each sentence's ball around 0; radius 0 is no ball.

    Args:
        perturbation: B x T x d.
        radius: in ``norm``.
        norm: "l2" scales a sentence down as a whole, "linf" cuts each coordinate.

    Source: Zhu et al. 2019, algorithm 1.
    """
    if radius == 0:
        return perturbation
    if norm == "linf":
        return perturbation.clamp(-radius, radius)
    size = norms(perturbation, "l2")
    return perturbation * torch.where(size > radius, radius / size, 1.0)


def norms(perturbation: Tensor, norm: str) -> Tensor:
    """Norm of each sentence, B x 1 x 1."""
    order = 2.0 if norm == "l2" else float("inf")
    return torch.linalg.vector_norm(perturbation, order, dim=(1, 2), keepdim=True)
