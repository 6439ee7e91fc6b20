"""How much of a perturbation half precision leaves: said once, and logged."""

import logging
from typing import Any

import torch
from fairseq.logging import metrics
from torch import Tensor

__all__ = ["RoundingReport", "log_noise_share"]

logger = logging.getLogger(__name__)


class RoundingReport:
    """Says once how much of the noise half precision leaves.

    Args:
        flag: the flag that scales the noise, with its value.
    """

    # Below this share of changed coordinates the noise is not what the flag says.
    ENOUGH = 0.95

    def __init__(self, flag: str) -> None:
        self._flag = flag
        self._said = False

    def look_at(self, share_changed: Tensor, dtype: torch.dtype) -> None:
        """Warn, once, where too few coordinates changed (a scalar between 0 and 1)."""
        if self._said:
            return
        self._said = True
        share = float(share_changed)
        if share < self.ENOUGH:
            logger.warning(
                f"{self._flag}: {dtype} rounds most of this noise away, {share:.1%} of the "
                "embedding coordinates changed (logged as noise_share); what is left of the "
                "divergence comes from dropout. Larger noise, --amp or fp32 keeps it"
            )


def log_noise_share(logging_outputs: list[dict[str, Any]]) -> None:
    """Log ``noise_share`` where the outputs hold it; each counts by its ``nsentences``."""
    if "noise_share" not in logging_outputs[0]:
        return
    sentences = sum(output["nsentences"] for output in logging_outputs)
    share = sum(output["noise_share"] for output in logging_outputs)
    metrics.log_scalar("noise_share", share / sentences, sentences)
