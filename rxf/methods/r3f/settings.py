"""The noise and pass flags that every R3F criterion has, and what they come to."""

import logging
from dataclasses import dataclass, field

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from rxf.errors import check_choice, check_number
from rxf.forward.branches import PASSES, BranchPlan
from rxf.forward.noise import NOISE_TYPES

__all__ = ["R3FConfig", "branch_plan", "check_settings"]

logger = logging.getLogger(__name__)


@dataclass
class R3FConfig(FairseqDataclass):
    """Flags of R3F (Aghajanyan et al. 2020), released names first."""

    eps: float = field(
        default=1e-5,
        metadata={
            "help": "noise scale: half width of the uniform, standard deviation of the normal"
        },
    )
    r3f_lambda: float = field(
        default=1.0,
        metadata={
            "help": "weight of the divergence; 0 is plain fine-tuning, without a second pass"
        },
    )
    noise_type: ChoiceEnum(NOISE_TYPES) = field(  # type: ignore[valid-type]
        default="uniform", metadata={"help": "distribution of the noise"}
    )
    r3f_passes: ChoiceEnum(PASSES) = field(  # type: ignore[valid-type]
        default="packed",
        metadata={
            "help": "packed: clean and noised rows in one pass; separate: two passes; recompute: "
            "run the noised branch again in the backward pass, for the memory of one pass"
        },
    )
    r3f_share_dropout: bool = field(
        default=False,
        metadata={"help": "same dropout masks in both branches: the noise alone is seen"},
    )
    r3f_noise_seed: int = field(
        default=0, metadata={"help": "another value draws other noise for the same --seed"}
    )
    r3f_grad: ChoiceEnum(("both", "clean")) = field(  # type: ignore[valid-type]
        default="both",
        metadata={"help": "clean: no gradient through the noised branch, the paper's cost table"},
    )


def check_settings(cfg: R3FConfig) -> None:
    """Refuse values that mean nothing.

    Raises:
        UserError: a negative or non-finite ``--eps`` or ``--r3f-lambda``, or, from YAML, an
            unknown choice.
    """
    for flag, value in (("--eps", cfg.eps), ("--r3f-lambda", cfg.r3f_lambda)):
        check_number(flag, value, value >= 0, "of 0 or more")
    check_choice("--noise-type", cfg.noise_type, NOISE_TYPES)
    check_choice("--r3f-passes", cfg.r3f_passes, PASSES)
    check_choice("--r3f-grad", cfg.r3f_grad, ("both", "clean"))


def branch_plan(cfg: R3FConfig) -> BranchPlan:
    """How the two branches are run; says so where a flag overrules ``--r3f-passes``."""
    plan = BranchPlan(
        passes=str(cfg.r3f_passes),
        share_dropout=cfg.r3f_share_dropout,
        noised_gradient=str(cfg.r3f_grad) == "both",
    )
    if not plan.needs_two_passes() or plan.passes == "separate":
        return plan
    flag = "--r3f-share-dropout" if plan.share_dropout else "--r3f-grad clean"
    logger.info(f"{flag} needs two passes: --r3f-passes {plan.passes} is taken as separate")
    return BranchPlan("separate", plan.share_dropout, plan.noised_gradient)
