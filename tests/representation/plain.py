"""The measures once more, from all vectors at once and by their definitions, in numpy."""

import math

import numpy as np


def centred_gram(x):
    """K of the unbiased estimate: inner products, with a diagonal of 0."""
    gram = x @ x.T
    np.fill_diagonal(gram, 0.0)
    return gram


def unbiased_hsic(x, y):
    n = len(x)
    k, l = centred_gram(x), centred_gram(y)  # noqa: E741
    ones = np.ones(n)
    value = np.trace(k @ l)
    value += (ones @ k @ ones) * (ones @ l @ ones) / ((n - 1) * (n - 2))
    value -= 2 / (n - 2) * (ones @ k @ l @ ones)
    return value / (n * (n - 3))


def unbiased_cka(x, y):
    return unbiased_hsic(x, y) / math.sqrt(unbiased_hsic(x, x) * unbiased_hsic(y, y))


def biased_cka(x, y):
    """Kornblith et al. 2019 in feature space."""
    x, y = x - x.mean(0), y - y.mean(0)
    norms = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return np.linalg.norm(y.T @ x) ** 2 / norms


def effective_rank(x):
    singular = np.linalg.svd(x - x.mean(0), compute_uv=False)
    shares = singular / singular.sum()
    shares = shares[shares > 0]
    return math.exp(-(shares * np.log(shares)).sum())


def anisotropy(x):
    """Pair by pair."""
    cosines = [cosine(x[i], x[j]) for i in range(len(x)) for j in range(i)]
    return sum(cosines) / len(cosines)


def cosine(a, b):
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / lengths) if lengths else 0.0


def mean_cosine(x, y):
    return sum(cosine(a, b) for a, b in zip(x, y, strict=True)) / len(x)


def bits(logits, target):
    """Of one token, by its definition."""
    logits = logits - logits.max()
    return -(logits[target] - math.log(np.exp(logits).sum())) / math.log(2)
