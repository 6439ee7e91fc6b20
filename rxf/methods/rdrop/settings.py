"""The flag that both R-Drop criterions have."""

from dataclasses import dataclass, field

from fairseq.dataclass import FairseqDataclass

from rxf.errors import check_number
from rxf.forward import BranchPlan

__all__ = ["PLAN", "RDropConfig", "check_settings"]

# Both passes run as one over every row twice, each row with its own dropout.
PLAN = BranchPlan("packed")


@dataclass
class RDropConfig(FairseqDataclass):
    """Flags of R-Drop (Liang et al. 2021)."""

    rdrop_alpha: float = field(
        default=0.7,
        metadata={
            "help": "weight of the divergence, half the sum of both KL directions; 0 is plain "
            "fine-tuning, without a second pass"
        },
    )


def check_settings(cfg: RDropConfig) -> None:
    """Refuse an alpha below 0 or not finite, with :class:`UserError`."""
    check_number("--rdrop-alpha", cfg.rdrop_alpha, cfg.rdrop_alpha >= 0, "of 0 or more")
