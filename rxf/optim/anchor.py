"""The pre-trained weights that an optimizer pulls towards.

They are kept once, in fp32 on the parameters' device, outside of torch's state and param
groups.  A checkpoint holds no copy: only where the file is and a fingerprint of what was
taken from it.  So checkpoints do not grow, and a resumed run reads the original file again
and refuses another one.
"""

import logging
import os
from collections.abc import Sequence
from typing import Any, Optional

import torch
from fairseq.file_io import PathManager
from torch import Tensor

from rxf.errors import UserError
from rxf.parameters.ledger import Ledger
from rxf.parameters.pretrained import PretrainedWeights, read_pretrained

__all__ = ["Anchor", "first_anchor", "restored_anchor"]

logger = logging.getLogger(__name__)
_Source = tuple[str, str]


class Anchor:
    """The anchors of those parameters that the pre-trained file holds.

    Attributes:
        tensors: number of the ledger's entry -> tensor of its shape, fp32 (fp64 where the
            parameter is).
        reference: what a checkpoint keeps: ``path`` and ``fingerprint``.
    """

    def __init__(self, weights: PretrainedWeights, ledger: Ledger) -> None:
        self.tensors: dict[int, Tensor] = {}
        for number, entry in enumerate(ledger.entries):
            if entry.name in weights.tensors and entry.owner == "model":
                dtype = torch.promote_types(entry.parameter.dtype, torch.float32)
                device = entry.parameter.device
                tensor = weights.tensors[entry.name]
                # A copy: nothing else may hold on to it, or to the file's other tensors.
                self.tensors[number] = tensor.to(device, dtype, copy=True)
        self.reference = {
            "path": os.path.abspath(weights.path),
            "fingerprint": weights.fingerprint,
        }
        _report(self, ledger)


def first_anchor(sources: Sequence[_Source], method: str, ledger: Ledger, model_cfg: Any) -> Anchor:
    """The anchor of a run that starts.

    Args:
        sources: (flag, path) of the files it may come from; the first is taken.
        method: what ``--optimizer`` is called.
        ledger: the parameters.
        model_cfg: fairseq's configuration of the model.

    Raises:
        UserError: there is no file, or not the right one.
    """
    if not sources:
        raise UserError(
            f"--optimizer {method} pulls towards pre-trained weights, and no file of them is "
            "named: give --finetune-from-model (or --restore-file with the --reset flags)"
        )
    flag, path = sources[0]
    if not PathManager.isfile(path):
        raise UserError(f"{flag} {path} does not exist or is not a file: correct the path")
    return _read(path, flag, ledger, model_cfg)


def restored_anchor(
    reference: dict[str, str],
    sources: Sequence[_Source],
    ledger: Ledger,
    model_cfg: Any,
) -> Anchor:
    """The anchor of a run that goes on: the one that it started with.

    Args:
        reference: of the checkpoint.
        sources: (flag, path) of files that the command line names now, for the case that
            the one of the reference is gone.
        ledger: the parameters.
        model_cfg: fairseq's configuration of the model.

    Raises:
        UserError: no such file is there, or it holds other weights.
    """
    recorded = ("the checkpoint's anchor", reference["path"])
    found = [source for source in (recorded, *sources) if PathManager.isfile(source[1])]
    if not found:
        raise UserError(
            f"{reference['path']}, the pre-trained weights that this run is anchored to, is "
            "gone: bring it back, or name it where it is now by --finetune-from-model"
        )
    flag, path = found[0]
    anchor = _read(path, flag, ledger, model_cfg)
    if anchor.reference["fingerprint"] != reference["fingerprint"]:
        raise UserError(
            f"{flag} {path}: holds other weights than the file that this run started from "
            f"({reference['path']}): bring that one back, or start again with --reset-optimizer"
        )
    return anchor


def _read(path: str, flag: str, ledger: Ledger, model_cfg: Any) -> Anchor:
    weights = read_pretrained(path, flag, ledger.model, ledger.entries, model_cfg)
    return Anchor(weights, ledger)


def _report(anchor: Anchor, ledger: Ledger) -> None:
    new = [e for number, e in enumerate(ledger.entries) if number not in anchor.tensors]
    names: Optional[str] = ", ".join(entry.name for entry in new[:6]) or "none"
    dots = ", ..." if len(new) > 6 else ""
    elements = sum(tensor.numel() for tensor in anchor.tensors.values())
    logger.info(
        f"anchor: {len(anchor.tensors)} parameters ({elements:,} elements) of "
        f"{anchor.reference['path']}; new ones get plain Adam: {names}{dots}"
    )
