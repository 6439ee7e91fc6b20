"""The published updates, restated one parameter at a time from the equations."""

import math
from dataclasses import dataclass
from typing import Any, Optional

import torch
from torch import Tensor


@dataclass
class Plain:
    """One parameter under RecAdam (Chen et al. 2020), or Adam where ``anchor`` is None.

    m and v are of the task's gradient alone.  With t the update, lam = lambda(t):

        p <- p - lr sqrt(1 - b2^t) / (1 - b1^t) lam m / (sqrt(v) + eps)
        p <- p - lr (w - lam) gamma (p - anchor)
        p <- p - lr wd p

    ``decays_first`` has the last line before all others, which is fairseq's Adam.
    """

    weight: Tensor
    anchor: Optional[Tensor]
    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    decay: float = 0.0
    decays_first: bool = False
    gamma: float = 5000.0
    w: float = 1.0
    function: str = "sigmoid"
    k: float = 0.5
    t0: float = 250.0
    t: int = 0

    def __post_init__(self) -> None:
        self.m = torch.zeros_like(self.weight)
        self.v = torch.zeros_like(self.weight)

    def lam(self) -> float:
        if self.function == "sigmoid":
            return self.w / (1 + math.exp(-self.k * (self.t - self.t0)))
        if self.function == "linear":
            return self.w * min(1.0, self.t / self.t0)
        return self.w

    def update(self, gradient: Tensor) -> None:
        self.t += 1
        if self.decays_first:
            self._decay()
        b1, b2 = self.betas
        self.m = b1 * self.m + (1 - b1) * gradient
        self.v = b2 * self.v + (1 - b2) * gradient * gradient
        rate = self.lr * math.sqrt(1 - b2**self.t) / (1 - b1**self.t)
        step = self.m / (self.v.sqrt() + self.eps)
        if self.anchor is None:
            self.weight = self.weight - rate * step
        else:
            lam = self.lam()
            self.weight = self.weight - rate * lam * step
            pull = self.lr * (self.w - lam) * self.gamma
            self.weight = self.weight - pull * (self.weight - self.anchor)
        if not self.decays_first:
            self._decay()

    def _decay(self) -> None:
        self.weight = self.weight - self.lr * self.decay * self.weight


def clipped(gradient: Tensor, max_norm: float) -> Tensor:
    """g min(1, c / (|g| + 1e-6)), as torch's clip_grad_norm_ has it."""
    length = math.sqrt(float((gradient.double() ** 2).sum()))
    return gradient * min(1.0, max_norm / (length + 1e-6))


class Net(torch.nn.Module):
    """A body that is pre-trained and a head that is new, of odd sizes."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.body = torch.nn.Linear(7, 5, dtype=dtype)
        self.norm = torch.nn.LayerNorm(5, dtype=dtype)
        self.head = torch.nn.Linear(5, 3, dtype=dtype)

    def loss(self, inputs: Tensor, targets: Tensor) -> Any:
        return torch.nn.functional.cross_entropy(self.head(self.norm(self.body(inputs))), targets)
