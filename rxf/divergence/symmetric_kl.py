"""Symmetric Kullback-Leibler divergence between two categorical predictions."""

import torch
from torch import Tensor

from rxf.divergence.fast_path import triton_kernel

__all__ = ["symmetric_kl"]


def symmetric_kl(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """KL(P||Q) + KL(Q||P), summed over all rows, in nats.

    The two directions together are ``sum_c (p_c - q_c)(log p_c - log q_c)``: every term
    is non-negative, so that nothing cancels when the noise is small.  On a GPU logits of a whole
    vocabulary go through Triton's kernel (:mod:`rxf.divergence.fast_path`), which no second
    derivative goes through.

    Args:
        logits_p: unnormalised scores, shape (..., C), any floating dtype.
        logits_q: the same shape.

    Returns:
        A scalar in float32 (float64 for float64 input), with gradient to both.

    Raises:
        UserError: the environment variable ``RXF_TRITON`` is neither ``on`` nor ``off``.

    Source: Aghajanyan et al. 2020 (arXiv 2008.03156), the divergence KL_S of equations
    (2) to (4): the sum of both directions, not their mean.
    """
    classes = logits_p.size(-1)
    kernel = triton_kernel(logits_p, logits_q, vocabulary=classes)
    if kernel is not None and logits_p.shape == logits_q.shape:
        value: Tensor = kernel.SymmetricKl.apply(
            logits_p.reshape(-1, classes), logits_q.reshape(-1, classes)
        )
        return value
    dtype = torch.promote_types(logits_p.dtype, torch.float32)
    log_p = torch.log_softmax(logits_p, dim=-1, dtype=dtype)
    log_q = torch.log_softmax(logits_q, dim=-1, dtype=dtype)
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum()
