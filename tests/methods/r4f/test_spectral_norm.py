"""The normalised layer against torch's SVD, through training, casting, copying and loading."""

import copy

import pytest
import torch
from torch import nn

from rxf.methods.r4f.spectral_norm import SpectralNormLinear, leading_singular_vectors

SHAPES = [(2, 16), (1, 8), (3, 3), (40, 16), (96, 96), (5, 1)]


def largest(weight: torch.Tensor) -> float:
    return float(torch.linalg.svdvals(weight.detach().float())[0])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16], ids=str)
def test_leading_vectors(shape: tuple[int, int], dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    weight = torch.randn(shape).to(dtype)
    u, v = leading_singular_vectors(weight)
    assert u.norm() == pytest.approx(1, abs=1e-5) and v.norm() == pytest.approx(1, abs=1e-5)
    assert float(u @ weight.to(u.dtype) @ v) == pytest.approx(largest(weight), rel=1e-4)


@pytest.mark.parametrize("gap", [0.0, 1e-6, 1e-4, 1e-3, 1e-2])
def test_nearly_equal_singular_values(gap: float) -> None:
    """Where a kept vector would lag behind: another value overtakes by a share of ``gap``."""
    torch.manual_seed(2)
    left, right = torch.linalg.qr(torch.randn(8, 8))[0], torch.linalg.qr(torch.randn(30, 8))[0]
    values = torch.tensor([1.0, 1.0 + gap, 0.9, 0.5, 0.1, 0.01, 0.0, 0.0])
    weight = left @ torch.diag(values) @ right.t()
    u, v = leading_singular_vectors(weight)
    assert float(u @ weight @ v) == pytest.approx(1.0 + gap, rel=2e-4)


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_extreme_weights(scale: float) -> None:
    weight = torch.randn(3, 9) * scale
    u, v = leading_singular_vectors(weight)
    assert float(u @ weight @ v) == pytest.approx(largest(weight), rel=1e-4)


def test_a_zero_weight_stays_finite() -> None:
    layer = SpectralNormLinear(nn.Linear(4, 2))
    nn.init.zeros_(layer.weight_orig)
    layer.refresh()
    assert torch.equal(layer.normalized_weight(), torch.zeros(2, 4))


def test_value_and_gradient_are_those_of_the_definition() -> None:
    """W / s(W), s differentiable: torch's SVD differentiates it exactly."""
    torch.manual_seed(3)
    layer = SpectralNormLinear(nn.Linear(7, 3).double())
    weight = layer.weight_orig.detach().clone().requires_grad_()
    x = torch.randn(5, 7, dtype=torch.float64)
    layer.refresh()
    wanted = x @ (weight / torch.linalg.matrix_norm(weight, 2)).t() + layer.bias
    torch.testing.assert_close(layer(x), wanted, rtol=1e-6, atol=1e-8)
    layer(x).square().sum().backward()
    wanted.square().sum().backward()
    torch.testing.assert_close(layer.weight_orig.grad, weight.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_norm_1_at_build_after_training_and_cast(dtype: torch.dtype) -> None:
    torch.manual_seed(4)
    layer = SpectralNormLinear(nn.Linear(64, 3)).train()
    used = layer.normalized_weight().to(dtype)
    assert largest(used) == pytest.approx(1, abs=1e-3 if dtype != torch.bfloat16 else 5e-3)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    for update in range(30):
        layer.set_num_updates(update)
        assert largest(layer.normalized_weight()) == pytest.approx(1, abs=1e-3)
        layer(torch.randn(16, 64)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    layer.eval().to(dtype)
    assert layer.weight_u.dtype == torch.float32
    used = layer.normalized_weight().to(dtype)
    assert largest(used) == pytest.approx(1, abs=1e-3 if dtype != torch.bfloat16 else 5e-3)
    assert layer(torch.randn(2, 64).to(dtype)).dtype == dtype


def test_sigma_is_frozen_within_an_update() -> None:
    layer = SpectralNormLinear(nn.Linear(6, 4)).train()
    layer.set_num_updates(1)
    before = layer.weight_u.clone()
    with torch.no_grad():
        layer.weight_orig.copy_(torch.randn(4, 6))
    layer.set_num_updates(1)
    assert torch.equal(layer.weight_u, before)
    layer.set_num_updates(2)
    assert not torch.equal(layer.weight_u, before)


def test_evaluation_sees_the_weight_after_the_last_update() -> None:
    layer = SpectralNormLinear(nn.Linear(6, 4)).train()
    layer.set_num_updates(1)
    with torch.no_grad():
        layer.weight_orig.copy_(torch.randn(4, 6) * 5)
    assert largest(layer.normalized_weight()) != pytest.approx(1, abs=1e-3)
    assert largest(layer.eval().normalized_weight()) == pytest.approx(1, abs=1e-3)


def test_deep_copy_and_state_dict() -> None:
    layer = SpectralNormLinear(nn.Linear(6, 4))
    layer(torch.randn(2, 6)).sum().backward()
    x = torch.randn(3, 6)
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))
    assert list(layer.state_dict()) == ["bias", "weight_orig"]
    other = SpectralNormLinear(nn.Linear(6, 4))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), layer(x))


def test_under_bf16_autocast_sigma_stays_in_float32() -> None:
    layer = SpectralNormLinear(nn.Linear(64, 3))
    with torch.autocast("cpu", torch.bfloat16):
        weight = layer.normalized_weight()
        layer(torch.randn(2, 64))
    assert weight.dtype == torch.float32
    assert largest(weight) == pytest.approx(1, abs=1e-4)
