"""The bound against formulas written out, and its constant against a search."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from rxf.methods.pac_tuning.bound import (
    gaussian_kl,
    interpolated_k,
    penalty,
    prior_grid,
    smallest_k,
)

SHAPES = [(3, 4), (5,), (1,)]


def _problem() -> tuple[list, list, list, torch.Tensor]:
    source = torch.Generator().manual_seed(1)
    draw = [[torch.randn(s, generator=source) for s in SHAPES] for _ in range(3)]
    w, w0, p = draw
    p = [part * 0.3 - 2 for part in p]
    b = torch.randn(3, generator=source) * 0.5 - 1
    for tensor in (*w, *p, b):
        tensor.requires_grad_()
    return w, w0, p, b


def test_kl_is_that_of_the_distributions() -> None:
    w, w0, p, b = _problem()
    inputs = [*w, *p, b]
    got = gaussian_kl(w, w0, p, b)
    wanted = sum(
        kl_divergence(Normal(w[j], p[j].exp()), Normal(w0[j], b[j].exp())).sum() for j in range(3)
    )
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(
        torch.autograd.grad(got, inputs), torch.autograd.grad(wanted, inputs)
    )


def test_kl_is_what_was_released() -> None:
    """The sum as the released code has it: one half of four sums over all weights."""
    w, w0, p, b = _problem()
    flat = torch.cat([part.flatten() for part in p])
    wanted = -2 * flat.sum() - flat.numel()
    for j, count in enumerate([12, 5, 1]):
        spread = (2 * p[j]).exp().sum() + (w[j] - w0[j]).pow(2).sum()
        wanted = wanted + (-2 * b[j]).exp() * spread + 2 * b[j] * count
    torch.testing.assert_close(gaussian_kl(w, w0, p, b), wanted / 2)


def test_kl_of_equals_is_0_and_near_it_exact() -> None:
    """In float32 a million weights at -7 leave nothing of a sum that cancels."""
    w, p = torch.zeros(1_000_000), torch.full((1_000_000,), -7.0)
    assert gaussian_kl([w], [w], [p], torch.tensor([-7.0])) == 0
    near = gaussian_kl([w], [w], [p], torch.tensor([-7.001]))
    assert float(near) == pytest.approx(1e6 * (math.expm1(0.002) / 2 - 0.001), rel=1e-2)


def test_penalty_is_what_was_released() -> None:
    """With the released definition of K, whose square is two thirds of ours."""
    k, gamma, m, layers = 0.4, 5.0, 100, 7
    kl = torch.tensor(33.0)
    wanted = 3 * k**2 * gamma / 2 + (33.0 + 10 + 3 * layers) / (m * gamma)
    got = penalty(kl, torch.tensor(k * math.sqrt(1.5)), gamma, m, layers)
    assert float(got) == pytest.approx(wanted)


def _released_condition(losses: torch.Tensor, k: float, gammas: list[float]) -> bool:
    """Whether k is large enough, models and sentences taken one by one."""
    for gamma in gammas:
        excess = 0.0
        for model in losses.tolist():
            mean = sum(model) / len(model)
            moments = [math.exp(gamma * (mean - loss)) for loss in model]
            excess += sum(moments) / len(model) - math.exp(3 * gamma**2 * k**2 / 2)
        if excess > 0:
            return False
    return True


@pytest.mark.parametrize("gamma", [0.5, 5.0, 10.0])
def test_k_is_the_smallest_that_satisfies_the_released_condition(gamma: float) -> None:
    losses = torch.rand(4, 9, generator=torch.Generator().manual_seed(2)) * 2
    gammas = [gamma * 10 ** (number / 9 - 1) for number in range(10)]
    low, high = 0.0, 4.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if _released_condition(losses, middle, gammas) else (middle, high)
    assert smallest_k(losses, gamma) == pytest.approx(high * math.sqrt(1.5), rel=1e-6)


def test_k_of_equal_losses_is_0_and_of_large_ones_finite() -> None:
    assert smallest_k(torch.full((2, 5), 0.7), 10.0) == pytest.approx(0, abs=1e-6)
    assert math.isfinite(smallest_k(torch.tensor([[0.0, 1000.0]]), 10.0))


def test_k_between_and_beside_the_grid() -> None:
    grid = prior_grid()
    assert torch.equal(grid, torch.exp(torch.linspace(-6, -2, 8, dtype=torch.float64)))
    values = torch.tensor([0.1, 0.2, 0.2, 0.5, 0.6, 0.9, 1.0, 1.4])
    for x in (grid[0], grid[3], grid[7]):
        here = int((grid - x).abs().argmin())
        got = interpolated_k(x.float(), values)
        assert float(got) == pytest.approx(float(values[here]), rel=1e-5)
    inside = 0.25 * grid[2] + 0.75 * grid[3]
    assert float(interpolated_k(inside.float(), values)) == pytest.approx(0.2 + 0.75 * 0.3)
    assert float(interpolated_k(grid[0].float() / 10, values)) == pytest.approx(0.1)
    beyond = 2 * grid[7] - grid[6]
    assert float(interpolated_k(beyond.float(), values)) == pytest.approx(1.8, rel=1e-5)


@pytest.mark.parametrize(("log_prior", "piece"), [(-7.0, None), (-5.5, 0), (-3.1, 5), (-1.0, 6)])
def test_the_gradient_of_k_is_the_slope(log_prior: float, piece: int) -> None:
    grid, values = prior_grid().float(), torch.arange(8.0) ** 2
    prior = torch.tensor(math.exp(log_prior), requires_grad=True)
    (slope,) = torch.autograd.grad(interpolated_k(prior, values), prior)
    if piece is None:
        assert slope == 0
    else:
        wanted = (values[piece + 1] - values[piece]) / (grid[piece + 1] - grid[piece])
        torch.testing.assert_close(slope, wanted)
