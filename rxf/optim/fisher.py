"""The diagonal of the Fisher information, which EWC weighs parameters by.

F = mean over training batches of (gradient of the batch's mean loss)^2, at the anchor's
weights.  It is a property of where a run starts, so it is estimated once and kept beside
the checkpoints: a resumed run, whose head is no longer the one of the start, reads it again.
"""

import contextlib
import logging
import math
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import torch
from torch import Tensor

from rxf.errors import UserError
from rxf.optim.anchor import Anchor
from rxf.parameters.ledger import Entry
from rxf.parameters.training import Training

__all__ = ["CACHE", "fisher_diagonal"]

logger = logging.getLogger(__name__)
# In the folder of the checkpoints.
CACHE = "ewc_fisher.pt"


def fisher_diagonal(
    training: Training, anchor: Anchor, batches: int, epoch: int
) -> dict[int, Tensor]:
    """The Fisher's diagonal for each anchored parameter, from the cache or estimated now.

    New parameters (a head) stay as they are during the estimate; the anchored ones are put
    back bit for bit after it.  Training is not disturbed.

    Args:
        training: where the batches, the other ranks and the folder of the cache are.
        anchor: whose weights it is taken at.
        batches: how many each rank takes of its own shard; fewer where there are fewer.
        epoch: whose order of the data they are the first of.

    Returns:
        Number of the ledger's entry -> F, of the parameter's shape, in the anchor's dtype
        (fp32; fp64 where the parameter is) and on its device.  It is 0 for a parameter that
        no batch has a gradient of.

    Raises:
        UserError: a gradient is not finite, or no rank has a batch.
    """
    path = os.path.join(training.save_dir, CACHE)
    facts = {"fingerprint": anchor.reference["fingerprint"], "batches": batches}
    names = {number: training.ledger.entries[number].name for number in anchor.tensors}
    shapes = {name: anchor.tensors[number].shape for number, name in names.items()}
    cached = _read(path, facts, shapes)
    # A rank that estimates waits for all others to do so.
    if _on_all_ranks(training, cached is not None):
        assert cached is not None
        logger.info(f"EWC: read the Fisher from {path}; remove the file to estimate it anew")
        return {n: cached[names[n]].to(tensor) for n, tensor in anchor.tensors.items()}
    fisher = _estimate(training, anchor, batches, epoch)
    if training.writes_files:
        by_name = {names[number]: tensor.cpu() for number, tensor in fisher.items()}
        _write(path, {**facts, "fisher": by_name})
    return fisher


def _on_all_ranks(training: Training, holds: bool) -> bool:
    fails = torch.tensor([not holds], dtype=torch.uint8, device=training.device)
    return not bool(training.all_reduce_max(fails))


# ---------------------------------------------------------------------- estimate


def _estimate(training: Training, anchor: Anchor, batches: int, epoch: int) -> dict[int, Tensor]:
    """Sum the squares over this rank's batches, then over the ranks, and log what came out."""
    started = time.perf_counter()
    entries = training.ledger.entries
    fisher = {number: torch.zeros_like(tensor) for number, tensor in anchor.tensors.items()}
    own = 0
    with (
        _at_anchor(entries, anchor),
        contextlib.closing(training.gradients_of_batches(batches, epoch)) as divisors,
    ):
        for divisor in divisors:
            _add_squares(fisher, entries, divisor)
            own += 1
    count = _divide_by_count(training, fisher, own)
    mean, largest = _mean_and_largest(fisher)
    if not math.isfinite(largest):
        raise UserError(
            "--ewc-weight: the gradients that the Fisher is estimated from are not finite at "
            "the pre-trained weights: lower --fp16-init-scale (with --fp16 or --amp), or train "
            "without --ewc-weight"
        )
    logger.info(
        f"EWC: Fisher of {len(fisher)} parameters from {count} batches: mean {mean:.3e}, "
        f"largest {largest:.3e}; took {time.perf_counter() - started:.1f} seconds"
    )
    return fisher


@contextlib.contextmanager
def _at_anchor(entries: Sequence[Entry], anchor: Anchor) -> Iterator[None]:
    """Let the anchored parameters have the anchor's values for a while.

    In place, since other modules and DDP may hold views of the parameters.
    """
    weights = {number: entries[number].parameter.detach() for number in anchor.tensors}
    before = {number: weight.clone() for number, weight in weights.items()}
    try:
        for number, weight in weights.items():
            weight.copy_(anchor.tensors[number])
        yield
    finally:
        for number, weight in weights.items():
            weight.copy_(before[number])


@torch.no_grad()
def _add_squares(totals: dict[int, Tensor], entries: Sequence[Entry], divisor: float) -> None:
    for number, total in totals.items():
        stored = entries[number].parameter.grad
        if stored is not None:
            gradient = stored.to(total.dtype) / divisor
            total.addcmul_(gradient, gradient)


def _divide_by_count(training: Training, totals: dict[int, Tensor], own: int) -> int:
    """Make sums of this rank means over all ranks, in place; the count of all their batches."""
    counts = torch.tensor([own], dtype=torch.int64, device=training.device)
    count = int(training.all_reduce_sum(counts))
    if count == 0:
        raise UserError(
            "--ewc-weight: there is no training batch to estimate the Fisher from: check "
            "--train-subset, and leave out --skip-remainder-batch with so little data"
        )
    for total in totals.values():
        training.all_reduce_sum(total).div_(count)
    return count


def _mean_and_largest(fisher: dict[int, Tensor]) -> tuple[float, float]:
    elements = sum(tensor.numel() for tensor in fisher.values())
    total = torch.stack([tensor.sum(dtype=torch.float64) for tensor in fisher.values()]).sum()
    # Unlike Python's max, torch's is nan where any is.
    largest = torch.stack([tensor.max() for tensor in fisher.values()]).max()
    return float(total) / elements, float(largest)


# ------------------------------------------------------------------------- cache


def _read(
    path: str, facts: dict[str, Any], shapes: dict[str, torch.Size]
) -> Optional[dict[str, Tensor]]:
    """Name -> F of the file, if there is one and it was made under the same ``facts``."""
    if not os.path.exists(path):
        return None
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
        problem = _disagreement(held, facts, shapes)
    except Exception:
        # A truncated file raises whatever the part of it that is gone leads to.
        problem = "it is damaged or no cache of ours"
    if problem is not None:
        logger.info(f"EWC: {path} is not used, since {problem}; the Fisher is estimated anew")
        return None
    fisher: dict[str, Tensor] = held["fisher"]
    return fisher


def _disagreement(
    held: dict[str, Any], facts: dict[str, Any], shapes: dict[str, torch.Size]
) -> Optional[str]:
    if held["fingerprint"] != facts["fingerprint"]:
        return "it is of other pre-trained weights"
    if held["batches"] != facts["batches"]:
        return f"it is of --ewc-batches {held['batches']}"
    if {name: tensor.shape for name, tensor in held["fisher"].items()} != shapes:
        return "it is of other parameters"
    return None


def _write(path: str, content: dict[str, Any]) -> None:
    """Whole or not at all; a failure is only said, since training can do without the file."""
    # The process number keeps two trainings that share a folder apart.
    partial = f"{path}.{os.getpid()}.tmp"
    try:
        with open(partial, "wb") as stream:
            torch.save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:
        logger.warning(f"EWC: {path} cannot be written ({error}): a resume estimates F anew")
    finally:
        with contextlib.suppress(OSError):
            os.remove(partial)
