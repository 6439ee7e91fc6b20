"""``--optimizer recadam``: Adam that lets go of the pre-trained weights by and by."""

from dataclasses import dataclass, field
from typing import Optional

from fairseq.dataclass import ChoiceEnum
from fairseq.logging import metrics
from fairseq.optim import register_optimizer

from rxf.errors import UserError, check_choice, check_number
from rxf.methods.recadam.annealing import FUNCTIONS, annealed
from rxf.optim.component_adam import ComponentAdam, Rates
from rxf.optim.fairseq_optimizer import ComponentOptimizer
from rxf.optim.settings import ComponentAdamConfig
from rxf.parameters.training import keep_initial_weights

__all__ = ["RecAdam", "RecAdamConfig", "RecAdamOptimizer", "install"]

INITS = ("pretrained", "random")


@dataclass
class RecAdamConfig(ComponentAdamConfig):
    """Flags of RecAdam (Chen et al. 2020), with the defaults of its released script."""

    recadam_anneal_fun: ChoiceEnum(tuple(FUNCTIONS)) = field(  # type: ignore[valid-type]
        default="sigmoid",
        metadata={"help": "how lambda(t), the weight of the task, grows; constant is plain Adam"},
    )
    recadam_anneal_k: float = field(
        default=0.5, metadata={"help": "steepness of the sigmoid, per update"}
    )
    recadam_anneal_t0: float = field(
        default=250.0, metadata={"help": "update at which the sigmoid is at half, the line at 1"}
    )
    recadam_anneal_w: float = field(default=1.0, metadata={"help": "what lambda(t) grows towards"})
    recadam_pretrain_cof: float = field(
        default=5000.0, metadata={"help": "gamma, strength of the pull to the pre-trained weights"}
    )
    recadam_init: ChoiceEnum(INITS) = field(  # type: ignore[valid-type]
        default="pretrained",
        metadata={"help": "start at the pre-trained weights, or at random ones pulled to them"},
    )
    recadam_pretrained: Optional[str] = field(
        default=None,
        metadata={
            "help": "file of the pre-trained weights to pull towards (default: the one that "
            "--finetune-from-model or --restore-file names)"
        },
    )


class RecAdam(ComponentAdam):
    """Chen et al. 2020, in the decoupled form of the released code: see README.md."""

    method = "recadam"
    decays_last = True
    cfg: RecAdamConfig

    def weight_of_task(self, update: int) -> float:
        """lambda(t) of update number t, counted from 1."""
        cfg = self.cfg
        return annealed(
            str(cfg.recadam_anneal_fun),
            update,
            cfg.recadam_anneal_k,
            cfg.recadam_anneal_t0,
            cfg.recadam_anneal_w,
        )

    def rates(self, update: int) -> Rates:
        of_task = self.weight_of_task(update)
        gamma, weight = self.cfg.recadam_pretrain_cof, self.cfg.recadam_anneal_w
        return Rates(adam=of_task, pull=gamma * (weight - of_task))

    def largest_pull(self) -> float:
        # lambda only grows.
        return self.rates(1).pull

    def pull_flags(self) -> str:
        return "--recadam-pretrain-cof, --l2sp-weight or --ewc-weight"

    def needs_anchor(self) -> bool:
        return True

    def anchor_files(self) -> list[tuple[str, str]]:
        named = self.cfg.recadam_pretrained
        first = [("--recadam-pretrained", named)] if named else []
        return first + super().anchor_files()

    def start_fresh(self) -> None:
        if str(self.cfg.recadam_init) == "pretrained" and not self.training.pretrained_files:
            raise UserError(
                "--recadam-init pretrained starts from the file that --finetune-from-model (or "
                "--restore-file) names: give it, or --recadam-init random"
            )
        super().start_fresh()

    def log_method(self) -> None:
        metrics.log_scalar(
            "recadam_lambda", self.weight_of_task(self.updates), priority=710, round=6, weight=0
        )


@register_optimizer("recadam", dataclass=RecAdamConfig)
class RecAdamOptimizer(ComponentOptimizer):
    """fairseq's handle on :class:`RecAdam`."""

    kind = RecAdam
    cfg: RecAdamConfig

    def __init__(self, cfg, params):  # type: ignore[no-untyped-def]
        _check_settings(cfg)
        super().__init__(cfg, params)


def install() -> None:
    """Let ``--recadam-init random`` keep the model's random start."""
    keep_initial_weights(lambda cfg: str(getattr(cfg, "recadam_init", "")) == "random")


def _check_settings(cfg: RecAdamConfig) -> None:
    """Refuse values that mean nothing, with :class:`UserError`."""
    check_choice("--recadam-anneal-fun", cfg.recadam_anneal_fun, tuple(FUNCTIONS))
    check_choice("--recadam-init", cfg.recadam_init, INITS)
    for name in ("k", "t0"):
        value = getattr(cfg, f"recadam_anneal_{name}")
        check_number(f"--recadam-anneal-{name}", value, value >= 0, "of 0 or more")
    w, gamma = cfg.recadam_anneal_w, cfg.recadam_pretrain_cof
    check_number("--recadam-anneal-w", w, w > 0, "above 0")
    check_number("--recadam-pretrain-cof", gamma, gamma >= 0, "of 0 or more")
    if str(cfg.recadam_anneal_fun) == "linear":
        t0 = cfg.recadam_anneal_t0
        check_number("--recadam-anneal-t0", t0, t0 > 0, "above 0 with --recadam-anneal-fun linear")
