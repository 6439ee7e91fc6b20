"""R against its formula in plain loops, and at its edges."""

import itertools
from typing import Any

import pytest
import torch

from rxf.methods.mmr.margin import margin_penalty


def plain(features: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """R, class by class and pair by pair, in float64."""
    features = features.double()
    centres = []
    for kind in sorted(set(targets.tolist())):
        members = [features[row] for row in range(len(targets)) if int(targets[row]) == kind]
        centres.append(sum(members) / len(members))
    closeness = []
    for one, other in itertools.combinations(centres, 2):
        distance = ((one - other) ** 2).sum() ** 0.5
        closeness.append(1 / (1 + distance))
    return sum(closeness) / len(closeness) if closeness else features.sum() * 0


def value_and_gradient(function: Any, features: torch.Tensor, *rest: Any) -> Any:
    leaf = features.clone().requires_grad_()
    value = function(leaf, *rest)
    value.backward()
    return value.detach(), leaf.grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("targets", "classes"),
    [
        ([0, 1], 2),
        ([1, 0, 1, 1, 0, 1, 0], 2),
        ([0, 2, 1, 1, 2, 2], 3),
        ([0, 3, 3, 3, 0, 5], 7),
        ([4, 2, 1, 4, 2, 2, 1, 4, 0], 5),
    ],
    ids=str,
)
def test_equals_the_formula(targets: list[int], classes: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(len(targets), 6, generator=generator).to(dtype)
    kinds = torch.tensor(targets)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is not torch.float32):
        got, gradient = value_and_gradient(margin_penalty, features, kinds, classes)
    wanted, wanted_gradient = value_and_gradient(plain, features, kinds)
    assert got.dtype is torch.float32 and 0 < got < 1
    torch.testing.assert_close(got.double(), wanted, rtol=1e-6, atol=1e-7)
    assert gradient.abs().max() > 1e-3
    # The gradient comes back in the features' own dtype.
    torch.testing.assert_close(gradient, wanted_gradient.to(dtype), rtol=1e-2, atol=1e-5)
    if dtype is torch.float32:
        torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-5, atol=1e-7)


def test_numbers_that_can_be_checked_by_hand() -> None:
    corners = torch.tensor([[0.0, 0.0], [2.0, 0.0], [4.0, 3.0]])
    two = margin_penalty(corners, torch.tensor([0, 0, 1]), 2)
    assert two == pytest.approx(1 / (1 + 18**0.5))  # (1, 0) and (4, 3)
    three = margin_penalty(torch.tensor([[0.0, 0], [3, 0], [3, 4]]), torch.tensor([2, 0, 1]), 3)
    assert three == pytest.approx((1 / 4 + 1 / 5 + 1 / 6) / 3)


@pytest.mark.parametrize("targets", [[1], [0, 0, 0]], ids=["one row", "one class"])
def test_one_class_adds_nothing(targets: list[int]) -> None:
    features = torch.randn(len(targets), 4)
    value, gradient = value_and_gradient(margin_penalty, features, torch.tensor(targets), 3)
    assert value == 0 and torch.equal(gradient, torch.zeros_like(features))


def test_centres_that_coincide_have_a_finite_gradient() -> None:
    features = torch.tensor([[1.0, 2.0], [3.0, 0.0], [2.0, 1.0], [5.0, 5.0]])
    value, gradient = value_and_gradient(margin_penalty, features, torch.tensor([0, 0, 1, 2]), 3)
    assert gradient.isfinite().all() and gradient.abs().max() > 0
    assert value == pytest.approx((1 + 2 / (1 + 5)) / 3)
    alike, none = value_and_gradient(margin_penalty, torch.ones(3, 2), torch.tensor([0, 1, 1]), 2)
    assert alike == 1 and torch.equal(none, torch.zeros(3, 2))


def test_a_step_down_the_gradient_moves_the_centres_apart() -> None:
    features = torch.randn(8, 5, generator=torch.Generator().manual_seed(2))
    targets = torch.arange(8) % 2
    before, gradient = value_and_gradient(margin_penalty, features, targets, 2)
    assert margin_penalty(features - gradient, targets, 2) < before


def test_many_rows_in_half_precision_are_summed_in_fp32() -> None:
    """4096 rows of bfloat16: a sum in bfloat16 would stop growing at 256."""
    features = torch.ones(4096, 2, dtype=torch.bfloat16)
    features[::2] = 0
    targets = torch.arange(4096) % 2
    assert margin_penalty(features, targets, 2) == pytest.approx(1 / (1 + 2**0.5), rel=1e-6)
