"""Distances between two predictions of one example: pure torch, no fairseq."""

from rxf.divergence.fused_linear import FusedLoss, fused_linear_ce_kl
from rxf.divergence.squared import squared_difference
from rxf.divergence.symmetric_kl import symmetric_kl

__all__ = ["FusedLoss", "fused_linear_ce_kl", "squared_difference", "symmetric_kl"]
