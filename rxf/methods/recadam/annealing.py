"""How the weight of the task, lambda(t), grows over the updates (Chen et al. 2020)."""

import math
from collections.abc import Callable

__all__ = ["FUNCTIONS", "annealed"]


def _sigmoid(update: int, k: float, t0: float) -> float:
    exponent = -k * (update - t0)
    # exp of more than some 709 is no number; what it would make is 0.
    return 1.0 / (1.0 + math.exp(exponent)) if exponent < 700 else 0.0


def _linear(update: int, k: float, t0: float) -> float:
    return min(1.0, update / t0)


def _constant(update: int, k: float, t0: float) -> float:
    return 1.0


FUNCTIONS: dict[str, Callable[[int, float, float], float]] = {
    "sigmoid": _sigmoid,
    "linear": _linear,
    "constant": _constant,
}


def annealed(function: str, update: int, k: float, t0: float, weight: float) -> float:
    """lambda(t): never smaller than at an earlier update, and never above ``weight``.

    Args:
        function: a key of :data:`FUNCTIONS`.
        update: t, counted from 1.
        k: steepness of the sigmoid, 0 or more.
        t0: where the sigmoid is at half, or the line at its end (then above 0), in updates.
        weight: w, what lambda(t) grows towards.
    """
    return weight * FUNCTIONS[function](update, k, t0)
