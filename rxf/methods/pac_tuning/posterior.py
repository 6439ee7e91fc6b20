"""The variances of PAC-tuning, the weights that training began with, and Adam's moments."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rxf.optim.adam_step import adam

__all__ = ["Layout", "Posterior", "head_rate"]

# Adam's own; what the released optimizer of the variances has could not be had.
BETAS = (0.9, 0.999)
EPS = 1e-8


@dataclass(frozen=True)
class Layout:
    """How tensors lie in one flat vector: the encoder's first, then the head's.

    Attributes:
        names: of the parameters.
        shapes: likewise.
        encoder_tensors: how many of them come before the head's.
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    encoder_tensors: int

    @classmethod
    def of(cls, parameters: Mapping[str, Tensor], head: str) -> "Layout":
        """Lay out ``parameters``; those whose names start with ``head`` are the head's."""
        names = sorted(parameters, key=lambda name: name.startswith(head))
        encoder = [name for name in names if not name.startswith(head)]
        return cls(tuple(names), tuple(parameters[n].shape for n in names), len(encoder))

    @property
    def sizes(self) -> list[int]:
        return [shape.numel() for shape in self.shapes]

    @property
    def encoder_weights(self) -> int:
        return sum(self.sizes[: self.encoder_tensors])

    def views(self, flat: Tensor) -> list[Tensor]:
        """The parts of a vector, each in its parameter's shape; gradients go through."""
        parts = flat.split(self.sizes)
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def flat(self, tensors: Iterable[Tensor]) -> Tensor:
        """One float32 vector of tensors in the order of the names."""
        return torch.cat([tensor.detach().float().flatten() for tensor in tensors])


class Posterior(nn.Module):
    """State of D weights in J tensors; all of it float32 buffers, and a count.

    Attributes:
        log_sigma: p, shape (D,): logarithms of the posterior's standard deviations.  The
            log-variances are 2 p.
        log_prior: b, shape (J,): logarithms of the prior's.
        centres: w0, shape (D,).
        updates: how often :meth:`step` was called.
    """

    log_sigma: Tensor
    log_sigma_exp_avg: Tensor
    log_sigma_exp_avg_sq: Tensor
    log_prior: Tensor
    log_prior_exp_avg: Tensor
    log_prior_exp_avg_sq: Tensor
    centres: Tensor

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.updates = 0
        weights, tensors = sum(layout.sizes), len(layout.sizes)
        for name, size in (("log_sigma", weights), ("log_prior", tensors)):
            for kind in (name, f"{name}_exp_avg", f"{name}_exp_avg_sq"):
                self.register_buffer(kind, torch.zeros(size))
        self.register_buffer("centres", torch.zeros(weights))

    def get_extra_state(self) -> dict[str, Any]:
        return {"updates": self.updates}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]

    def start(self, weights: Sequence[Tensor]) -> None:
        """Begin a training at ``weights``, given in the layout's order.

        p is 2 ln(mean |w|) over all weights of the encoder, ln(mean |w|) over the head's; b
        is the same.
        """
        for buffer in self.buffers():
            buffer.zero_()
        self.updates = 0
        self.centres.copy_(self.layout.flat(weights))
        for factor, (own, of_tensors) in zip((2.0, 1.0), self._halves(), strict=True):
            size = self.centres[own].abs().mean().clamp_min(torch.finfo(torch.float32).tiny)
            self.log_sigma[own] = factor * size.log()
            self.log_prior[of_tensors] = factor * size.log()

    def _halves(self) -> tuple[tuple[slice, slice], ...]:
        """The encoder's part of p and of b, and the head's."""
        split, tensors = self.layout.encoder_weights, self.layout.encoder_tensors
        return (slice(0, split), slice(0, tensors)), (slice(split, None), slice(tensors, None))

    def leaves(self) -> tuple[Tensor, Tensor]:
        """p and b for one graph; the same storage, but gradients of their own."""
        return self.log_sigma.detach().requires_grad_(), self.log_prior.detach().requires_grad_()

    def step(
        self, sigma_gradient: Tensor, prior_gradient: Tensor, lr: float, head_lr: float
    ) -> None:
        """One update by torch's Adam.

        Args:
            sigma_gradient: of the mean loss, shape (D,).
            prior_gradient: likewise, shape (J,).
            lr: for the encoder's p and b.
            head_lr: for the head's.
        """
        self.updates += 1
        # torch's place for it, behind the bias correction: gradients of single variances are
        # small enough to notice the difference.
        eps = EPS * math.sqrt(1 - BETAS[1] ** self.updates)
        for rate, (own, of_tensors) in zip((lr, head_lr), self._halves(), strict=True):
            adam(
                [self.log_sigma[own], self.log_prior[of_tensors]],
                [sigma_gradient[own], prior_gradient[of_tensors]],
                [self.log_sigma_exp_avg[own], self.log_prior_exp_avg[of_tensors]],
                [self.log_sigma_exp_avg_sq[own], self.log_prior_exp_avg_sq[of_tensors]],
                step=self.updates,
                lr=rate,
                betas=BETAS,
                eps=eps,
                decay=0.0,
            )


def head_rate(initial: float, updates: int) -> float:
    """The rate of the head's variances: x 0.9 every 10 updates, down to 0.01.

    Args:
        initial: the rate of the first ten updates; a lower one than 0.01 stays as it is.
        updates: how many there were.
    """
    return max(initial * 0.9 ** (updates // 10), min(initial, 0.01))
