"""One step of the inner maximisation: pure torch.

Shapes: B examples of T tokens, embeddings of d numbers.
"""

import torch
from torch import Tensor

__all__ = ["NORMS", "ascend", "normalised", "projected"]

NORMS = ("inf", "l2")


def ascend(noise: Tensor, gradient: Tensor, step_size: float) -> Tensor:
    """``noise + step_size * gradient``, without the steps that are not finite.

    In half precision a gradient may overflow; the example's noise then stays where it is.

    Args:
        noise: B x T x d, float32.
        gradient: of the divergence, the same shape.
        step_size: eta.
    """
    finite = gradient.isfinite().flatten(1).all(dim=1)[:, None, None]
    step = torch.where(finite, gradient, torch.zeros_like(gradient))
    return noise + step_size * step


def projected(noise: Tensor, radius: float, norm: str) -> Tensor:
    """The nearest point of the ball ``|noise_i| <= radius`` around 0, for each example i.

    Args:
        noise: B x T x d.
        radius: epsilon.
        norm: "inf", the largest coordinate; or "l2", the Euclidean norm over T and d.

    Source: Jiang et al. 2019 (arXiv 1911.03437), algorithm 1; that the l2 ball is of a whole
    example is our reading.
    """
    if norm == "inf":
        return noise.clamp(-radius, radius)
    length = noise.flatten(1).norm(dim=1).clamp_min(torch.finfo(noise.dtype).tiny)
    return noise * (radius / length).clamp_max(1.0)[:, None, None]


def normalised(noise: Tensor, small: float, norm: str) -> Tensor:
    """Each token's noise divided by its norm over d plus ``small``: no projection.

    Source: the public code (namisan/mt-dnn ``perturbation.py``), where it stands in the
    place of the projection.
    """
    order = float("inf") if norm == "inf" else 2.0
    return noise / (torch.linalg.vector_norm(noise, ord=order, dim=-1, keepdim=True) + small)
