"""Clipping by component: each gets a norm of its own (Yang & Ma 2022, arXiv 2210.10325)."""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

__all__ = ["clip_factors"]

# The released code leaves the clipping to torch, which adds this to the norm.
_EPSILON = 1e-6


def clip_factors(
    norms: Tensor, components: Sequence[Hashable], max_norm: float
) -> tuple[Tensor, Tensor]:
    """What each gradient is multiplied by: min(1, c / (norm of its component + 1e-6)).

    Args:
        norms: N Euclidean norms of the true gradients (unscaled, reduced).
        components: N keys; gradients with the same key form one component.
        max_norm: c, above 0.

    Returns:
        N factors, and the share of components (0 to 1) that were longer than ``max_norm``;
        both on the device of ``norms``, which is not waited for.
    """
    numbers = {key: number for number, key in enumerate(dict.fromkeys(components))}
    membership = torch.tensor([numbers[key] for key in components], device=norms.device)
    squares = norms.new_zeros(len(numbers)).index_add_(0, membership, norms.square())
    lengths = squares.sqrt()
    factors = (max_norm / (lengths + _EPSILON)).clamp(max=1.0)
    return factors[membership], (lengths > max_norm).float().mean()
