"""How lambda(t) grows."""

import math

import pytest

from rxf.methods.recadam.annealing import FUNCTIONS, annealed


@pytest.mark.parametrize(
    "function, update, wanted",
    [
        ("sigmoid", 250, 0.5),
        ("sigmoid", 252, 1 / (1 + math.exp(-1))),
        ("sigmoid", 1, math.exp(-124.5)),
        ("sigmoid", 10**6, 1.0),
        ("linear", 1, 1 / 250),
        ("linear", 250, 1.0),
        ("linear", 251, 1.0),
        ("constant", 1, 1.0),
    ],
)
def test_values(function: str, update: int, wanted: float) -> None:
    """For k 0.5 and t0 250, and in proportion to w."""
    assert annealed(function, update, 0.5, 250.0, 1.0) == pytest.approx(wanted, rel=1e-12)
    assert annealed(function, update, 0.5, 250.0, 0.8) == pytest.approx(0.8 * wanted, rel=1e-12)


@pytest.mark.parametrize("k", [0.0, 1.0, 1e6])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_it_only_grows(function: str, k: float) -> None:
    """exp would overflow at k 1e6; what is refused as divergent rests on the first update."""
    values = [annealed(function, update, k, 1000.0, 1.0) for update in range(1, 3000)]
    assert values == sorted(values)
    assert values[0] >= 0 and values[-1] <= 1
