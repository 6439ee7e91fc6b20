"""What the moments of a representation say: CKA, effective rank, anisotropy."""

import math

import torch
from torch import Tensor

from rxf.representation.moments import CrossMoments, Directions

__all__ = ["anisotropy", "cka", "covariance", "effective_rank", "hsic"]


def hsic(moments: CrossMoments) -> float:
    """Unbiased estimate of HSIC with linear kernels.

    With K = X X^T and L = Y Y^T, both with a diagonal of 0::

        [ tr(K L) + 1'K1 1'L1 / ((n-1)(n-2)) - 2 1'K L1 / (n-2) ] / (n (n-3))

    Source: Song et al. 2012 (JMLR 13), the estimator HSIC_1; here from sums over tokens, so
    that no n x n matrix is made.

    Args:
        moments: of at least 4 tokens.

    Returns:
        The estimate, which may be below 0; NaN for fewer than 4 tokens.
    """
    n = moments.count
    if n < 4:
        return math.nan
    trace = moments.product.square().sum() - moments.squares_xy
    whole_x = moments.sum_x.square().sum() - moments.squares_x
    whole_y = moments.sum_y.square().sum() - moments.squares_y
    rows = moments.sum_x @ moments.product @ moments.sum_y
    rows = rows - moments.sum_x @ moments.weighted_x - moments.sum_y @ moments.weighted_y
    rows = rows + moments.squares_xy
    mean = whole_x * whole_y / ((n - 1) * (n - 2))
    return float((trace + mean - 2 * rows / (n - 2)) / (n * (n - 3)))


def cka(xx: CrossMoments, yy: CrossMoments, xy: CrossMoments) -> float:
    """Linear centred kernel alignment of two representations, unbiased.

    Source: Kornblith et al. 2019 (arXiv 1905.00414) for linear CKA; the unbiased estimate of
    HSIC in it (:func:`hsic`) keeps unrelated representations at 0 where tokens are not many
    more than dimensions, as Nguyen et al. 2021 (arXiv 2010.15327) have it.

    Args:
        xx: of the one with itself.
        yy: of the other with itself.
        xy: of both.

    Returns:
        1 for representations that are the same up to rotation, scale and offset; about 0
        (or slightly below) for unrelated ones; 0 where one of them does not vary at all;
        NaN for fewer than 4 tokens.
    """
    spread_x, spread_y = hsic(xx), hsic(yy)
    if math.isnan(spread_x) or math.isnan(spread_y):
        return math.nan
    if spread_x <= 0 or spread_y <= 0:
        return 0.0
    return hsic(xy) / math.sqrt(spread_x) / math.sqrt(spread_y)


def covariance(xx: CrossMoments) -> Tensor:
    """Covariance matrix, shape (d, d), float64, divided by n."""
    mean = xx.sum_x / xx.count
    return xx.product / xx.count - mean.outer(mean)


def effective_rank(covariances: Tensor) -> float:
    """How many dimensions a representation makes use of.

    ``exp(-sum_k p_k ln p_k)`` with ``p_k = s_k / sum_j s_j``, s_k the singular values of the
    centred representations (one row a token), which are the square roots of the eigenvalues
    of their covariance up to a factor.

    Source: Roy and Vetterli 2007 ("The effective rank", EUSIPCO); the centring is ours, since
    a common offset, which :func:`anisotropy` shows, would hide all else.

    Args:
        covariances: shape (d, d), symmetric.

    Returns:
        Between 1 and d; 0 where nothing varies.
    """
    eigenvalues = torch.linalg.eigvalsh(covariances.double())
    # What is below is rounding, as numpy.linalg.matrix_rank has it.
    least = float(eigenvalues[-1]) * len(eigenvalues) * torch.finfo(torch.float64).eps
    singular = eigenvalues[eigenvalues > max(least, 0.0)].sqrt()
    if not len(singular):
        return 0.0
    shares = singular / singular.sum()
    return math.exp(float(torch.special.entr(shares).sum()))


def anisotropy(directions: Directions) -> float:
    """Mean cosine between the vectors of two different tokens, over all pairs.

    Source: Ethayarajh 2019 (arXiv 1909.00512), there over a random sample of pairs.

    Returns:
        0 where directions are spread evenly, 1 where all are the same; NaN for fewer than 2
        tokens.
    """
    n = directions.count
    if n < 2 or directions.total is None:
        return math.nan
    return float(directions.total.square().sum() - directions.nonzero) / (n * (n - 1))
