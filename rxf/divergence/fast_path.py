"""Where the divergences go through Triton's kernel and where through torch.

``RXF_TRITON=off`` leaves everything to torch; ``on``, the default, means the kernel wherever it
can run.
"""

import functools
import importlib
import importlib.util
import logging
import os
from types import ModuleType
from typing import Optional

import torch
from torch import Tensor

from rxf.errors import UserError

__all__ = ["SWITCH", "switched_on", "triton_kernel"]

SWITCH = "RXF_TRITON"
# A smaller row does not fill a program, and for a classifier's few logits Triton's launcher, in
# Python, takes about as long as the handful of operations that it would save.
LEAST_VOCABULARY = 1024
DTYPES = (torch.float16, torch.bfloat16, torch.float32)

logger = logging.getLogger(__name__)


def triton_kernel(*features: Tensor, vocabulary: int) -> Optional[ModuleType]:
    """``rxf.divergence.triton_kl`` where it is to be used, else None.

    That is where all tensors are on one GPU in one of 16 or 32 bits' dtypes, rows are long, and
    Triton is there and works.  Triton is imported by the first call for which the rest holds.

    Args:
        features: what the logits are or are made from.
        vocabulary: length of a row of logits.

    Raises:
        UserError: the environment variable ``RXF_TRITON`` is neither ``on`` nor ``off``.
    """
    if not switched_on():
        return None
    device, dtype = features[0].device, features[0].dtype
    alike = all((each.device, each.dtype) == (device, dtype) for each in features)
    if not (alike and _is_gpu(device) and dtype in DTYPES and vocabulary >= LEAST_VOCABULARY):
        return None
    return _kernels(device, dtype)


def switched_on() -> bool:
    """What ``RXF_TRITON`` says.

    Raises:
        UserError: it is neither ``on`` nor ``off``.
    """
    asked = os.environ.get(SWITCH, "on")
    if asked not in ("on", "off"):
        raise UserError(f"{SWITCH}={asked}: must be on or off")
    return asked == "on"


def _is_gpu(device: torch.device) -> bool:
    return device.type == "cuda"


@functools.lru_cache(maxsize=None)
def _kernels(device: torch.device, dtype: torch.dtype) -> Optional[ModuleType]:
    """The kernels, once one has been compiled for the device and run on logits of the dtype."""
    if importlib.util.find_spec("triton") is None:
        return None
    try:
        kernels = importlib.import_module("rxf.divergence.triton_kl")
        kernels.check(device, dtype)
    # Triton calls a compiler and a driver: what is missing shows as all kinds of errors.
    except Exception as error:
        logger.warning(
            f"Triton cannot be used here ({type(error).__name__}: {error}); torch computes the "
            f"same with more memory traffic. {SWITCH}=off leaves Triton alone."
        )
        return None
    return kernels
