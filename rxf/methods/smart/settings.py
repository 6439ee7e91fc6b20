"""The flags that both SMART criterions have."""

from dataclasses import dataclass, field

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from rxf.errors import check_choice, check_number
from rxf.methods.smart.ascent import NORMS

__all__ = ["SmartConfig", "check_settings"]


@dataclass
class SmartConfig(FairseqDataclass):
    """Flags of SMART (Jiang et al. 2019)."""

    smart_lambda: float = field(
        default=1.0,
        metadata={"help": "weight of the divergence under adversarial noise; 0 leaves it out"},
    )
    smart_eps: float = field(
        default=1e-5,
        metadata={
            "help": "radius of the ball that the noise is projected onto; with "
            "--smart-normalize the small number that is added to the norm"
        },
    )
    smart_sigma: float = field(
        default=1e-5, metadata={"help": "standard deviation of the noise that the ascent starts at"}
    )
    smart_eta: float = field(default=1e-3, metadata={"help": "step size of the ascent"})
    smart_steps: int = field(default=1, metadata={"help": "K, steps of the ascent"})
    smart_norm: ChoiceEnum(NORMS) = field(  # type: ignore[valid-type]
        default="inf",
        metadata={"help": "norm of the ball: inf, of each coordinate, or l2, of a whole example"},
    )
    smart_normalize: bool = field(
        default=False,
        metadata={
            "help": "divide each token's noise by its norm in place of the projection, as the "
            "public code does: its norm is then 1, whatever --smart-eps"
        },
    )
    smart_share_dropout: bool = field(
        default=False,
        metadata={"help": "same dropout masks in all passes: the noise alone is seen"},
    )
    smart_mu: float = field(
        default=1.0,
        metadata={"help": "weight of the divergence from the slow copy; 0 keeps no copy"},
    )
    smart_beta: float = field(
        default=0.99, metadata={"help": "share of itself that the slow copy keeps in an update"}
    )
    smart_late_beta: float = field(
        default=0.999, metadata={"help": "the same, behind --smart-early-share of the updates"}
    )
    smart_early_share: float = field(
        default=0.1, metadata={"help": "share of all updates in which --smart-beta holds"}
    )


def check_settings(cfg: SmartConfig) -> None:
    """Refuse values that mean nothing.

    Raises:
        UserError: a number out of its range, or, from YAML, an unknown norm.
    """
    for name in ("lambda", "sigma", "mu"):
        value = getattr(cfg, f"smart_{name}")
        check_number(f"--smart-{name}", value, value >= 0, "of 0 or more")
    for name in ("eps", "eta"):
        value = getattr(cfg, f"smart_{name}")
        check_number(f"--smart-{name}", value, value > 0, "above 0")
    for name in ("beta", "late_beta", "early_share"):
        value = getattr(cfg, f"smart_{name}")
        flag = "--smart-" + name.replace("_", "-")
        check_number(flag, value, 0 <= value <= 1, "from 0 to 1")
    check_number("--smart-steps", cfg.smart_steps, cfg.smart_steps >= 1, "of 1 or more")
    check_choice("--smart-norm", cfg.smart_norm, NORMS)
