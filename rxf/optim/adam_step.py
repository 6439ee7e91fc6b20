"""One update of lists of tensors, in place, in as few passes over memory as torch has.

All lists of one call belong to the same parameters in the same order; tensors are
contiguous, of one dtype (fp32 or fp64) and on one device, and keep no gradient graph.
"""

import math

import torch
from torch import Tensor
from torch.optim.adamw import adamw

__all__ = ["FUSED_DEVICES", "adam", "distances", "pull", "pull_by_fisher"]

Tensors = list[Tensor]
# Where torch >= 2.5 has Adam as one kernel; elsewhere torch chooses.
FUSED_DEVICES = ("cpu", "cuda")
# Elements of a temporary that is small enough for caches and for the allocator to keep.
_PIECE = 2**18


def adam(
    weights: Tensors,
    gradients: Tensors,
    first_moments: Tensors,
    second_moments: Tensors,
    *,
    step: int,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    decay: float,
) -> None:
    """p <- (1 - decay) p;  p <- p - lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps).

    That is fairseq's ``adam``, with eps added before bias correction.  torch adds it after,
    so it gets the eps that comes to the same.

    Args:
        step: t, the number of this update of these parameters, from 1.
    """
    # torch multiplies its decay by lr: in its kernel it costs no pass of its own.
    if decay and not lr:
        torch._foreach_mul_(weights, 1.0 - decay)
    device = weights[0].device
    # torch counts the step up itself, for each tensor on its own.
    steps = torch.full((len(weights),), float(step - 1), device=device)
    adamw(
        weights,
        gradients,
        first_moments,
        second_moments,
        [],
        list(steps.unbind()),
        fused=True if device.type in FUSED_DEVICES else None,
        amsgrad=False,
        beta1=betas[0],
        beta2=betas[1],
        lr=lr,
        weight_decay=decay / lr if lr else 0.0,
        eps=eps / math.sqrt(1 - betas[1] ** step),
        maximize=False,
    )


def pull(weights: Tensors, anchors: Tensors, rate: float) -> None:
    """p <- p - rate (p - anchor)."""
    torch._foreach_lerp_(weights, anchors, rate)


def pull_by_fisher(weights: Tensors, anchors: Tensors, fisher: Tensors, rate: float) -> None:
    """p <- p - rate F (p - anchor), element by element."""
    differences = torch._foreach_sub(weights, anchors)
    torch._foreach_addcmul_(weights, differences, fisher, -rate)


def distances(ones: Tensors, others: Tensors) -> Tensors:
    """Euclidean lengths whose squares sum to that of all differences together."""
    return [
        (a - b).norm()
        for one, other in zip(ones, others, strict=True)
        for a, b in zip(one.view(-1).split(_PIECE), other.view(-1).split(_PIECE), strict=True)
    ]
