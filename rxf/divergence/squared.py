"""The counterpart of the symmetric KL where the prediction is a number."""

import torch
from torch import Tensor

__all__ = ["squared_difference"]


def squared_difference(scores_p: Tensor, scores_q: Tensor) -> Tensor:
    """Sum over all elements of (p - q)^2, for regression.

    Args:
        scores_p: predictions of any shape and floating dtype.
        scores_q: the same shape.

    Returns:
        A scalar in float32 (float64 for float64 input), with gradient to both.

    Source: Jiang et al. 2019 (arXiv 1911.03437) take (p - q)^2 for regression; the R3F
    paper leaves regression out.
    """
    dtype = torch.promote_types(scores_p.dtype, torch.float32)
    return (scores_p.to(dtype) - scores_q.to(dtype)).square().sum()
