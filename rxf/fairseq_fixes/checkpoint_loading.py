"""A checkpoint is read by an allow-list, and one that cannot be read is named in one line.

Symptom: with torch >= 2.6, fairseq 0.12.2 reads no checkpoint at all ("Weights only
load failed ... argparse.Namespace"), on rank 0, on the other ranks and for EMA alike;
with older torch it reads every file and runs whatever code the file carries.  A
truncated file or a wrong one ends in a traceback that does not say which file it was.
Measured on torch 2.13; the list of classes is in checkpoint_allow_list.py.

Why this mends it: the two modules that call ``torch.load`` get a ``torch`` whose
``load`` knows the allow-list; nobody else's ``torch.load`` changes.  On a fairseq that
already reads by the list (the wheel of scripts/build_fairseq.sh) that has no effect.
When rank 0 reads for all ranks, its error is sent in place of the file, so that every
rank ends with the same line and none waits.
"""

import contextlib
import pickle
from collections.abc import Iterator
from typing import Any, Callable

import torch
from fairseq import checkpoint_utils, trainer
from fairseq.distributed import utils as distributed_utils

from rxf.errors import UserError
from rxf.fairseq_fixes import Fix, checkpoint_allow_list
from rxf.fairseq_fixes.patching import StandIn, wrap

_ERROR = "rxf_error"
# True while a trainer loads a file that rank 0 will send to the other ranks.
_read_for_all = False


def _apply() -> None:
    for module in (checkpoint_utils, distributed_utils):
        module.torch = StandIn(torch, load=_load)
    wrap(checkpoint_utils, "load_checkpoint_to_cpu", _load_checkpoint_to_cpu)
    wrap(checkpoint_utils, "load_ema_from_checkpoint", _load_ema_from_checkpoint)
    wrap(checkpoint_utils, "load_model_ensemble_and_task", _load_model_ensemble_and_task)
    wrap(distributed_utils, "broadcast_object", _broadcast_object)
    wrap(trainer.Trainer, "load_checkpoint", _trainer_load_checkpoint)


def _load(file: Any, map_location: Any = None, **ignored: Any) -> Any:
    return checkpoint_allow_list.load(file, map_location=map_location)


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """Errors that a bad file causes become one line that names it."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"checkpoint {path} does not exist") from None
    except pickle.UnpicklingError as error:
        # With the wheel's copy of the allow-list its own CheckpointRefused comes here.
        raise UserError(f"checkpoint {path} was refused: {error}") from None
    except (EOFError, OSError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
        raise UserError(
            f"checkpoint {path} cannot be read ({reason}): it may be truncated; "
            "take another one or copy it again"
        ) from None
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is no fairseq checkpoint: it lacks what fairseq saves ({error!r})"
        ) from error


def _load_checkpoint_to_cpu(
    original: Callable,
    path: str,
    arg_overrides: Any = None,
    load_on_all_ranks: bool = False,
) -> Any:
    try:
        with _naming(path):
            return original(path, arg_overrides, load_on_all_ranks)
    except UserError as error:
        if _read_for_all and not load_on_all_ranks:
            return {_ERROR: str(error)}
        raise


def _load_ema_from_checkpoint(original: Callable, fpath: str) -> Any:
    with _naming(fpath):
        return original(fpath)


def _load_model_ensemble_and_task(original: Callable, *args: Any, **kwargs: Any) -> Any:
    try:
        return original(*args, **kwargs)
    except OSError as error:
        if str(error).startswith("Model file not found"):
            raise UserError(f"{error} (--path)") from None
        raise


def _broadcast_object(original: Callable, *args: Any, **kwargs: Any) -> Any:
    received = original(*args, **kwargs)
    if isinstance(received, dict) and _ERROR in received:
        raise UserError(received[_ERROR])
    return received


def _trainer_load_checkpoint(original: Callable, self: Any, *args: Any, **kwargs: Any) -> Any:
    global _read_for_all
    _read_for_all = self.data_parallel_world_size > 1
    try:
        return original(self, *args, **kwargs)
    finally:
        _read_for_all = False


FIX = Fix(
    name="checkpoint-loading",
    symptom="no checkpoint loads with torch >= 2.6; with older torch a file may run any code",
    reference="measured; the default of torch.load changed with torch 2.6",
    apply=_apply,
)
