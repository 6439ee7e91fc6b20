"""The losses written out from their equations, with whole logits and no thought of speed."""

from typing import NamedTuple, Optional

import torch


class PlainLoss(NamedTuple):
    loss: torch.Tensor
    nll: torch.Tensor
    symm_kl: torch.Tensor
    correct: torch.Tensor


def plain_linear_ce_kl(
    clean: torch.Tensor,
    noised: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    *,
    ignore_index: int,
    label_smoothing: float = 0.0,
    kl_weight: float = 1.0,
    ce_weights: tuple[float, float] = (1.0, 0.0),
    keep: Optional[torch.Tensor] = None,
    noised_gradient: bool = True,
    noised_weight: Optional[torch.Tensor] = None,
) -> PlainLoss:
    """What ``fused_linear_ce_kl`` promises, position by position."""
    vocabulary = weight.size(0)
    kept = targets != ignore_index if keep is None else keep
    exact = torch.promote_types(clean.dtype, torch.float32)
    loss, nll, symm_kl = (torch.zeros((), dtype=exact) for _ in range(3))
    correct = torch.zeros((), dtype=torch.long)
    for position in kept.nonzero():
        index = tuple(position.tolist())
        log_p = torch.log_softmax((weight @ clean[index]).to(exact), 0)
        other = (weight if noised_weight is None else noised_weight) @ noised[index]
        log_q = torch.log_softmax((other if noised_gradient else other.detach()).to(exact), 0)
        forward_kl = (log_p.exp() * (log_p - log_q)).sum()
        backward_kl = (log_q.exp() * (log_q - log_p)).sum()
        symm_kl = symm_kl + forward_kl + backward_kl
        loss = loss + kl_weight * (forward_kl + backward_kl)
        target = int(targets[index])
        if target == ignore_index:
            continue
        smooth = torch.full((vocabulary,), label_smoothing / (vocabulary - 1), dtype=exact)
        smooth[target] = 1.0 - label_smoothing
        loss = (
            loss - ce_weights[0] * (smooth * log_p).sum() - ce_weights[1] * (smooth * log_q).sum()
        )
        nll = nll - ce_weights[0] * log_p[target] - ce_weights[1] * log_q[target]
        correct = correct + (log_p.argmax() == target)
    return PlainLoss(loss, nll, symm_kl, correct)
