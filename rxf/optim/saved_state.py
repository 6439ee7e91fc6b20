"""What a checkpoint keeps of an optimizer beside torch's own state, and how it is read again."""

import logging
from typing import Any, Optional

from torch import Tensor

from rxf.errors import UserError
from rxf.optim.settings import ComponentAdamConfig, settings_of

__all__ = ["KEY", "SavedState", "log_changes", "pack", "unpack"]

logger = logging.getLogger(__name__)
KEY = "rxf"
# method: what --optimizer calls it; updates: how many it has made; settings: flag -> value;
# anchor: its reference, if any; fp32_copies: what the model holds rounded, if it does.
SavedState = dict[str, Any]


def pack(
    method: str,
    updates: int,
    cfg: ComponentAdamConfig,
    anchor: Optional[dict[str, str]],
    fp32_copies: Optional[list[Tensor]],
) -> SavedState:
    """What :func:`unpack` finds again under :data:`KEY`."""
    return {
        "method": method,
        "updates": updates,
        "settings": settings_of(cfg),
        "anchor": anchor,
        "fp32_copies": fp32_copies,
    }


def unpack(state_dict: dict[str, Any], method: str) -> SavedState:
    """What was packed by an optimizer of this ``method``.

    Raises:
        UserError: the state is of another optimizer.
    """
    kept = state_dict.get(KEY)
    if kept is None or kept["method"] != method:
        raise UserError(
            f"--optimizer {method}: the optimizer state of the checkpoint is not its own: go on "
            "with the optimizer that saved it, or give --reset-optimizer"
        )
    return kept


def log_changes(before: dict[str, Any], cfg: ComponentAdamConfig) -> None:
    """Say of each setting that is no longer what the checkpoint was trained with."""
    for flag, value in settings_of(cfg).items():
        if flag in before and before[flag] != value:
            logger.info(f"{flag} was {before[flag]} in the checkpoint and is {value} from here")
