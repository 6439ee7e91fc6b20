"""Distances between two predictions of one example: pure torch, no fairseq."""

from rxf.divergence.squared import squared_difference
from rxf.divergence.symmetric_kl import symmetric_kl

__all__ = ["squared_difference", "symmetric_kl"]
