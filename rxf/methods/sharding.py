"""Which spreading of a model over processes the methods work under.

``--zero-sharding os`` (fairscale's sharded optimizer state) leaves the model whole: what works on
gradients and outputs works there, and what must tell parameters apart by name says that it does
not (:func:`rxf.parameters.training.refuse_unknown_layouts`).  ``--ddp-backend fully_sharded``
takes the weights themselves apart and needs GPUs to run at all: none of the methods has been
tried under it, so it ends in one line, and not hours later in a number that nobody checked.
"""

from typing import Any, Callable

from fairseq.distributed import utils as distributed_utils
from fairseq.registry import REGISTRIES
from fairseq.trainer import Trainer

from rxf.errors import UserError
from rxf.fairseq_fixes.patching import wrap

__all__ = ["install", "refuse_fully_sharded"]


def refuse_fully_sharded(cfg: Any) -> None:
    """Refuse ``--ddp-backend fully_sharded`` with a criterion or an optimizer of rxf.

    Args:
        cfg: of the run.

    Raises:
        UserError: it is such a run.
    """
    if cfg.distributed_training.ddp_backend != "fully_sharded":
        return
    for group in ("criterion", "optimizer"):
        name = getattr(getattr(cfg, group), "_name", None)
        known = REGISTRIES[group]["registry"].get(name)
        if known is not None and known.__module__.startswith("rxf."):
            raise UserError(
                f"--ddp-backend fully_sharded: --{group} {name} has not been tried with sharded "
                "weights: use --ddp-backend pytorch_ddp or legacy_ddp"
            )


def install() -> None:
    """Check as ``fairseq-train`` starts, and, where Hydra imports rxf later, in the trainer."""
    wrap(distributed_utils, "call_main", _call_main)
    wrap(Trainer, "__init__", _trainer_init)


def _call_main(original: Callable, cfg: Any, *args: Any, **kwargs: Any) -> None:
    refuse_fully_sharded(cfg)
    original(cfg, *args, **kwargs)


def _trainer_init(original: Callable, self: Trainer, cfg: Any, *args: Any, **kwargs: Any) -> None:
    refuse_fully_sharded(cfg)
    original(self, cfg, *args, **kwargs)
