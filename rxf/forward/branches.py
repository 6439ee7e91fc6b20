"""A clean and a perturbed forward pass of one batch, in one, two or three runs of the model."""

import contextlib
from dataclasses import dataclass
from typing import Any, Callable, ContextManager, Optional

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rxf.forward.adapters import Perturbation, perturbed_embeddings, unwrapped

__all__ = ["PASSES", "BranchPlan", "replay_dropout", "two_branches"]

PASSES = ("packed", "separate", "recompute")

# (model, net_input) -> a tensor whose first dimension is the rows of the batch
Call = Callable[[nn.Module, dict[str, Any]], Tensor]


@dataclass(frozen=True)
class BranchPlan:
    """How the two branches are run.

    Attributes:
        passes: ``packed``, one pass over clean and noised rows together; ``separate``, two
            passes; ``recompute``, as separate, but the noised branch keeps no activations
            and is run again in the backward pass, so that the peak is that of one pass.
        share_dropout: the noised branch gets the clean branch's dropout masks.
        noised_gradient: False computes the noised branch without gradient.
    """

    passes: str = "packed"
    share_dropout: bool = False
    noised_gradient: bool = True

    @property
    def one_pass(self) -> bool:
        return self.passes == "packed" and not self.needs_two_passes()

    def needs_two_passes(self) -> bool:
        """Neither shared masks nor a branch without gradient fit into one packed pass."""
        return self.share_dropout or not self.noised_gradient


def two_branches(
    model: nn.Module,
    net_input: dict[str, Any],
    call: Call,
    perturb: Optional[Perturbation],
    plan: BranchPlan,
) -> tuple[Tensor, Tensor]:
    """Outputs of the clean and of the perturbed branch, each with B rows.

    Without dropout, layer drop and changing weights all plans give the same numbers.

    Args:
        model: the model as the criterion got it; under DDP only the clean pass goes through
            the wrapper, since DDP knows one forward before each backward.
        net_input: the batch, every tensor with B rows.
        call: runs the model on a batch.
        perturb: what happens to the token embeddings of the second branch.  It is called
            again where the branch is recomputed, and must then return the same.  None
            changes nothing, and any model will do: the branches then differ by dropout.
        plan: how to run them.

    Raises:
        UserError: the model's encoder cannot be given embeddings.
    """
    if plan.one_pass:
        return _packed(model, net_input, call, perturb)
    if plan.passes == "recompute" and not plan.needs_two_passes():
        return _recomputed(model, net_input, call, perturb)
    return _separate(model, net_input, call, perturb, plan)


def _perturbing(
    model: nn.Module, perturb: Optional[Perturbation], packed: bool = False
) -> ContextManager[None]:
    if perturb is None:
        return contextlib.nullcontext()
    return perturbed_embeddings(model, perturb, packed)


def _packed(
    model: nn.Module, net_input: dict[str, Any], call: Call, perturb: Optional[Perturbation]
) -> tuple[Tensor, Tensor]:
    twice = {name: _doubled(value) for name, value in net_input.items()}
    with _perturbing(model, perturb, packed=True):
        clean, noised = call(model, twice).chunk(2)
    return clean, noised


def _doubled(value: Any) -> Any:
    return torch.cat([value, value]) if torch.is_tensor(value) else value


def _recomputed(
    model: nn.Module, net_input: dict[str, Any], call: Call, perturb: Optional[Perturbation]
) -> tuple[Tensor, Tensor]:
    inner = unwrapped(model)

    def noised_branch() -> Tensor:
        with _perturbing(inner, perturb):
            return call(inner, net_input)

    # First, so that the backward pass comes to it last, when the clean branch's
    # activations are gone.  checkpoint replays the dropout of the first run.
    noised = checkpoint(noised_branch, use_reentrant=False, preserve_rng_state=True)
    return call(model, net_input), noised


def _separate(
    model: nn.Module,
    net_input: dict[str, Any],
    call: Call,
    perturb: Optional[Perturbation],
    plan: BranchPlan,
) -> tuple[Tensor, Tensor]:
    inner = unwrapped(model)
    replay = replay_dropout(net_input) if plan.share_dropout else None
    clean = call(model, net_input)
    if replay is not None:
        replay()
    gradient = contextlib.nullcontext() if plan.noised_gradient else torch.no_grad()
    with gradient, _perturbing(inner, perturb):
        noised = call(inner, net_input)
    return clean, noised


def replay_dropout(net_input: dict[str, Any]) -> Callable[[], None]:
    """Remember torch's random streams; what is returned puts them back to where they are now.

    A pass that is run after that has the dropout masks of the first pass from here.  It
    draws just as many numbers, so that the streams end where they would have ended after
    one.

    Args:
        net_input: the batch, for its device.
    """
    device = net_input["src_tokens"].device
    cpu = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def replay() -> None:
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda, device)

    return replay
