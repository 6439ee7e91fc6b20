"""One step of the inner maximisation against its definition, number by number."""

import math

import pytest
import torch

from rxf.methods.smart.ascent import ascend, normalised, projected

SHAPE = (3, 4, 5)


def noise(seed: int = 1, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)) * scale


@pytest.mark.parametrize("radius", [1e-5, 0.3, 100.0])
def test_the_inf_ball_holds_every_coordinate(radius: float) -> None:
    got = projected(noise(), radius, "inf").flatten().tolist()
    wanted = [min(max(value, -radius), radius) for value in noise().flatten().tolist()]
    assert got == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("radius", [1e-5, 4.0, 100.0])
def test_the_l2_ball_is_of_an_example(radius: float) -> None:
    got = projected(noise(), radius, "l2")
    for example, wanted in zip(got, noise(), strict=True):
        length = math.sqrt(sum(value**2 for value in wanted.flatten().tolist()))
        share = radius / length if length > radius else 1.0
        torch.testing.assert_close(example, wanted * share, rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("norm", ["inf", "l2"])
def test_a_projection_leaves_what_is_inside_and_is_idempotent(norm: str) -> None:
    inside = noise(scale=1e-3)
    assert torch.equal(projected(inside, 1.0, norm), inside)
    once = projected(noise(), 0.5, norm)
    torch.testing.assert_close(projected(once, 0.5, norm), once)
    assert torch.equal(projected(torch.zeros(SHAPE), 0.5, norm), torch.zeros(SHAPE))


@pytest.mark.parametrize(("norm", "order"), [("inf", math.inf), ("l2", 2)])
def test_normalised_makes_each_token_as_long_as_another(norm: str, order: float) -> None:
    got = normalised(noise(), 1e-6, norm)
    lengths = [[float(token.norm(p=order)) for token in example] for example in got]
    assert lengths == [pytest.approx([1.0] * SHAPE[1], rel=1e-5)] * SHAPE[0]
    small = normalised(noise(scale=1e-9), 1e-6, norm)
    assert small.abs().max() < 1e-2  # the small number is added to the norm, not compared with it


def test_ascend_moves_along_the_gradient() -> None:
    torch.testing.assert_close(ascend(noise(1), noise(2), 0.1), noise(1) + 0.1 * noise(2))


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_an_example_whose_gradient_overflowed_stays(bad: float) -> None:
    gradient = noise(2)
    gradient[1, 2, 3] = bad
    got = ascend(noise(1), gradient, 0.1)
    assert torch.equal(got[1], noise(1)[1])
    torch.testing.assert_close(got[[0, 2]], (noise(1) + 0.1 * noise(2))[[0, 2]])
