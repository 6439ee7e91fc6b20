"""What a fairseq checkpoint may hold, and a ``torch.load`` that reads no more.

A checkpoint is a pickle, and a pickle may run any code.  torch >= 2.6 therefore
reads tensors and plain containers only, at which every fairseq checkpoint fails
(``argparse.Namespace``); older versions run whatever the file says.  Both are
mended by one list of the classes that fairseq's own checkpoints hold.

This file has two homes: it is part of rxf, and ``scripts/build_fairseq.sh``
copies it into the fairseq wheel, where no plugin need be imported.  So it imports
nothing of rxf, and of fairseq only when a file is read.
"""

import argparse
import collections
import pickle
from typing import Any, Callable

import torch

__all__ = ["CheckpointRefused", "allowed_globals", "load"]


class CheckpointRefused(pickle.UnpicklingError):
    """The file names a class or function that no fairseq checkpoint holds."""


def _under_name(target: Callable, module: str, name: str) -> Callable:
    """``target`` as a pickle that knows it as ``module.name`` finds it.

    torch 2.5 takes the name from the object itself (the pairs of object and name
    came with 2.6), so a renamed stand-in serves every version.
    """
    if isinstance(target, type):
        stand_in: Any = type(name, (target,), {})
    else:

        def stand_in(*args: Any) -> Any:
            return target(*args)

    stand_in.__module__ = module
    stand_in.__name__ = stand_in.__qualname__ = name
    return stand_in


def _meters() -> list[Callable]:
    from fairseq.logging import meters

    classes = [
        meters.AverageMeter,
        meters.SumMeter,
        meters.StopwatchMeter,
        meters.TimeMeter,
        meters.MetersDict,
    ]
    # Checkpoints written before fairseq 0.9 know them as fairseq.meters.
    old = [_under_name(c, "fairseq.meters", c.__name__) for c in classes]
    return [*classes, *old]


def _omegaconf() -> list[Callable]:
    """A ``DictConfig`` and what it is made of (checkpoints of 2020 and 2021)."""
    import typing

    from omegaconf import AnyNode, DictConfig, ListConfig, base, nodes

    classes = [DictConfig, ListConfig, AnyNode, base.ContainerMetadata, base.Metadata]
    classes += [nodes.BooleanNode, nodes.FloatNode, nodes.IntegerNode, nodes.StringNode]
    any_type: Any = typing.Any
    plain: list[Callable] = [dict, list, tuple, int, float, str, bool]
    return [*classes, _any_type(any_type), *plain]


def _any_type(any_type: Any) -> Any:
    # typing.Any is pickled by name and has no __qualname__ before Python 3.11.
    if hasattr(any_type, "__qualname__"):
        return any_type
    return (any_type, "typing.Any")


def _numpy() -> list[Callable]:
    """Scalars and arrays, under the names that numpy 1 and numpy 2 give them."""
    import numpy

    scalar = numpy.float64(0).__reduce__()[0]
    array = numpy.zeros(1).__reduce__()[0]
    renamed = [
        _under_name(function, module, function.__name__)
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for function in (scalar, array)
    ]
    dtypes = {type(numpy.dtype(kind)) for kind in "?bBhHiIlLqQefdSU"}
    return [*renamed, numpy.ndarray, numpy.dtype, *dtypes]


def _broadcast() -> list[Callable]:
    """What rank 0 sends the other ranks when it has read the file for all."""
    from fairseq.distributed import utils

    return [utils._TensorPlaceholder]


def allowed_globals() -> list[Callable]:
    """Every class and function, beyond tensors and containers, that may be read."""
    plain = [argparse.Namespace, collections.defaultdict, collections.deque]
    return [*plain, *_meters(), *_omegaconf(), *_numpy(), *_broadcast()]


def load(file: Any, map_location: Any = None) -> Any:
    """``torch.load`` of a fairseq checkpoint.

    Args:
        file: path or binary file object.
        map_location: as in ``torch.load``.

    Raises:
        CheckpointRefused: the file names anything that is not on the list.
            Nothing of it has run by then.
    """
    known = torch.serialization.get_safe_globals()
    ours = [item for item in allowed_globals() if item not in known]
    try:
        with torch.serialization.safe_globals(ours):
            return torch.load(file, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointRefused(_why(error)) from None


def _why(error: Exception) -> str:
    """torch's answer runs over many lines; the first names the culprit."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    culprit = [line for line in lines if "GLOBAL" in line or "Unsupported" in line]
    reason = (culprit or lines or ["no reason given"])[0]
    return (
        "this is not a checkpoint of tensors and settings as fairseq writes them, so it was "
        f"not read and none of its code has run ({reason[:200]})"
    )
