"""The perturbation's start, climb and ball, against loops over sentences and coordinates."""

import math

import pytest
import torch

from rxf.methods.freelb.ascent import ascend, initial_perturbation, norms, project

PADDING = torch.tensor([[False, False, False, True], [False] * 4])


def some(seed: int = 1, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(seed)) * scale


def test_start_l2() -> None:
    uniform = some()
    start = initial_perturbation(uniform, PADDING, 0.5, "l2")
    for row, length in enumerate((3, 4)):
        wanted = uniform[row, :length] * 0.5 / math.sqrt(length * 3)
        torch.testing.assert_close(start[row, :length], wanted)
    assert torch.equal(start[0, 3], torch.zeros(3))


def test_start_l2_has_the_same_norm_whatever_the_length() -> None:
    """Of U(-1, 1) the mean square is 1/3."""
    for tokens in (10, 400):
        uniform = torch.rand(1, tokens, 50, generator=torch.Generator().manual_seed(2)) * 2 - 1
        start = initial_perturbation(uniform, torch.zeros(1, tokens, dtype=torch.bool), 0.6, "l2")
        assert float(start.norm()) == pytest.approx(0.6 / math.sqrt(3), rel=0.05)


def test_start_linf() -> None:
    start = initial_perturbation(torch.full((2, 4, 3), -0.5), PADDING, 0.2, "linf")
    assert torch.equal(start[1], torch.full((4, 3), -0.1))
    assert torch.equal(start[0, 3], torch.zeros(3))


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("scale", [1.0, 2.0**15, 1e-30, 1e30])
def test_climb(norm: str, scale: float) -> None:
    """The gradient's direction alone counts: a loss scale drops out, and squares do not."""
    delta, gradient = some(1), some(2)
    moved = ascend(delta, gradient * scale, 0.7, norm)
    for row in range(2):
        numbers = gradient[row].double()
        size = numbers.pow(2).sum().sqrt() if norm == "l2" else numbers.abs().max()
        wanted = delta[row].double() + 0.7 * numbers / size
        torch.testing.assert_close(moved[row].double(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("bad", [0.0, float("inf"), float("nan")])
def test_a_sentence_without_usable_gradient_stays(norm: str, bad: float) -> None:
    delta, gradient = some(1), some(2)
    wanted = ascend(delta, gradient, 0.7, norm)
    if bad == 0:
        gradient[0] = 0
    else:
        gradient[0, 2, 1] = bad
    moved = ascend(delta, gradient, 0.7, norm)
    assert torch.equal(moved[0], delta[0])
    assert torch.equal(moved[1], wanted[1])


def test_ball_l2() -> None:
    delta = some()
    delta[0] *= 0.1 / delta[0].norm()
    inside, outside = project(delta, 0.5, "l2")
    assert torch.equal(inside, delta[0])
    torch.testing.assert_close(outside, delta[1] * 0.5 / delta[1].norm())
    assert float(outside.norm()) == pytest.approx(0.5)


def test_ball_linf() -> None:
    delta = torch.tensor([[[0.3, -0.9], [0.5, 2.0]]])
    wanted = torch.tensor([[[0.3, -0.5], [0.5, 0.5]]])
    assert torch.equal(project(delta, 0.5, "linf"), wanted)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_no_ball_and_no_perturbation(norm: str) -> None:
    delta = some(scale=100.0)
    assert torch.equal(project(delta, 0.0, norm), delta)
    zero = torch.zeros(2, 4, 3)
    assert torch.equal(project(zero, 0.5, norm), zero)


def test_norms() -> None:
    delta = some()
    for norm, order in (("l2", 2), ("linf", float("inf"))):
        wanted = torch.stack([row.flatten().norm(order) for row in delta]).view(2, 1, 1)
        torch.testing.assert_close(norms(delta, norm), wanted)
