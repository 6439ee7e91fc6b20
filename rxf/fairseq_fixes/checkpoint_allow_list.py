"""What a fairseq checkpoint may hold, and a ``torch.load`` that reads no more.

A checkpoint is a pickle, and a pickle may run any code.  torch >= 2.6 therefore
reads tensors and plain containers only, at which every fairseq checkpoint fails
(``argparse.Namespace``); older versions run whatever the file says.  Both are
mended by one list of the names that fairseq's own checkpoints hold.

Why the list is safe.  torch's reader calls nothing but listed objects, and sets the
state of nothing but instances of listed classes.  So each entry has to be harmless
when called with any arguments and then given any state:

* ``Namespace``, the meters, ``_TensorPlaceholder`` and the classes of omegaconf keep
  the state as attributes and call none of it.  Attributes can hide methods, but only
  behind plain data or other listed objects.  Strings with ``${...}`` in a config are
  resolved on access, by omegaconf's resolvers, none of which runs code.
* A ``defaultdict`` calls its factory without arguments, a listed object again.
* The builtin types convert data of the file.
* numpy is the exception: the state of a real ``numpy.dtype`` sets its flags, and an
  object type without its flag, or a float type with it, turns bytes of the file into
  pointers.  Neither ``dtype`` nor arrays are listed; numbers come from stand-ins.

This file has two homes: it is part of rxf, and ``scripts/build_fairseq.sh``
copies it into the fairseq wheel, where no plugin need be imported.  So it imports
nothing of rxf, and of fairseq only when a file is read.
"""

import argparse
import collections
import contextlib
import pickle
import re
import tarfile
import typing
import zipfile
from collections.abc import Iterator
from typing import Any, Optional

import torch
from torch import _weights_only_unpickler as reader

__all__ = ["CheckpointRefused", "allowed_names", "load"]


class CheckpointRefused(pickle.UnpicklingError):
    """The file is no checkpoint as fairseq writes them; nothing in it has run."""


class _Unlisted(Exception):
    """As CheckpointRefused, but not an error that torch's reader rewrites."""


class _Dtype:
    """Stands for ``numpy.dtype`` while a file is read; keeps its code and byte order."""

    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        if not (isinstance(code, str) and re.fullmatch(r"b1|[iu][1248]|f(2|4|8|16)|c(8|16)", code)):
            raise _Unlisted(f"it holds a numpy value of type {str(code)[:20]!r}")
        self.code = code
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, ...); the rest is what a number does not need.
        if state[1] not in ("<", ">", "|", "="):
            raise _Unlisted("it holds a numpy value of unknown byte order")
        self.order = state[1]


def _numpy_scalar(dtype: Any, data: Any) -> Any:
    """Stands for ``numpy.core.multiarray.scalar``: a number from its bytes."""
    import numpy

    if type(dtype) is not _Dtype or type(data) is not bytes:
        raise _Unlisted("it holds a numpy value that is no number")
    return numpy.frombuffer(data, dtype=dtype.order + dtype.code, count=1)[0]


def _numpy() -> dict[str, Any]:
    # numpy 2 renamed the module, so files are found with either name.
    return {
        "numpy.dtype": _Dtype,
        "numpy.core.multiarray.scalar": _numpy_scalar,
        "numpy._core.multiarray.scalar": _numpy_scalar,
    }


def _meters() -> dict[str, Any]:
    from fairseq.logging import meters

    names = ["AverageMeter", "SumMeter", "StopwatchMeter", "TimeMeter"]
    # Files written before fairseq 0.9 know them as fairseq.meters.
    modules = ["fairseq.logging.meters", "fairseq.meters"]
    return {f"{module}.{name}": getattr(meters, name) for module in modules for name in names}


def _omegaconf() -> dict[str, Any]:
    """What a ``DictConfig`` of omegaconf 2.0 to 2.3 is made of (files of 2020 and 2021)."""
    from omegaconf import base, dictconfig, listconfig, nodes

    classes: list[Any] = [dictconfig.DictConfig, listconfig.ListConfig]
    classes += [base.ContainerMetadata, base.Metadata, nodes.AnyNode]
    classes += [nodes.BooleanNode, nodes.FloatNode, nodes.IntegerNode, nodes.StringNode]
    # Its metadata names the types of keys and values.
    classes += [dict, list, tuple, int, float, str, bool]
    named = {f"{c.__module__}.{c.__qualname__}": c for c in classes}
    # By hand: on Python 3.10 it is no class and has no __qualname__.
    return {**named, "typing.Any": typing.Any, "collections.defaultdict": collections.defaultdict}


def _broadcast() -> dict[str, Any]:
    """What rank 0 sends the other ranks when it has read the file for all."""
    from fairseq.distributed import utils

    return {"fairseq.distributed.utils._TensorPlaceholder": utils._TensorPlaceholder}


def allowed_names() -> dict[str, Any]:
    """Every name, beyond tensors and plain containers, that a file may hold.

    Returns:
        The name as it stands in the file, and the object that it becomes.
    """
    return {
        "argparse.Namespace": argparse.Namespace,
        **_meters(),
        **_omegaconf(),
        **_numpy(),
        **_broadcast(),
    }


@contextlib.contextmanager
def _allowing(names: dict[str, Any]) -> Iterator[None]:
    """``names`` are allowed to torch's reader within, beside what the user allowed."""
    if _before_2_6():
        # torch 2.5 takes the name from the object, so that no object can have another
        # name (fairseq.meters) or none of its own (typing.Any): give it the dictionary.
        users = reader._get_user_allowed_globals
        allowed = {**users(), **names}
        reader._get_user_allowed_globals = lambda: allowed
        try:
            yield
        finally:
            reader._get_user_allowed_globals = users
        return
    known = torch.serialization.get_safe_globals()
    pairs: list[Any] = [(target, name) for name, target in names.items()]
    with torch.serialization.safe_globals([pair for pair in pairs if pair not in known]):
        yield


def _before_2_6() -> bool:
    return tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6)


def load(file: Any, map_location: Any = None) -> Any:
    """``torch.load`` of a fairseq checkpoint.

    Args:
        file: path or seekable binary file object.
        map_location: as in ``torch.load``.

    Raises:
        CheckpointRefused: the file names anything that is not on the list (nothing of
            it has run by then), or is damaged, cut short or no checkpoint at all.
        OSError: there is no such file, or it cannot be opened.
    """
    foreign = _foreign_format(file)
    if foreign:
        raise CheckpointRefused(f"it is {foreign}, not a checkpoint as fairseq writes them")
    try:
        with _allowing(allowed_names()):
            return torch.load(file, map_location=map_location, weights_only=True)
    except (OSError, MemoryError):
        raise
    except _Unlisted as error:
        raise CheckpointRefused(str(error)) from None
    except Exception as error:
        # A pickle that is damaged, or made to fail, may end in any error.
        raise CheckpointRefused(_why(error)) from None


def _foreign_format(file: Any) -> Optional[str]:
    """What torch 2.5 gives to less careful readers (CVE-2025-32434) and 2.6 refuses."""
    if hasattr(file, "seek"):
        start = file.tell()
        try:
            return _tar_or_script(file)
        finally:
            file.seek(start)
    with open(file, "rb") as opened:
        return _tar_or_script(opened)


def _tar_or_script(file: Any) -> Optional[str]:
    if tarfile.is_tarfile(file):
        return "a tar archive"
    try:
        names = zipfile.ZipFile(file).namelist()
    except (zipfile.BadZipFile, ValueError):
        return None
    return "a TorchScript archive" if any(n.endswith("constants.pkl") for n in names) else None


def _why(error: Exception) -> str:
    """torch's answer runs over many lines; the first that names the culprit will do."""
    text = str(error)
    culprit = re.search(r"GLOBAL ([\w.]+)", text)
    if culprit:
        return (
            f"it names {culprit[1]}, which no checkpoint of fairseq holds; "
            "it was not read and none of its code has run"
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    detail = [line for line in lines if line.startswith(("Unsupported", "Can only", "Trying"))]
    reason = (detail or lines or [type(error).__name__])[0]
    return f"it is damaged, cut short or no checkpoint at all ({reason[:200]})"
