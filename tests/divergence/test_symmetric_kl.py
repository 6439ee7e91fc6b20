"""The symmetric KL against its definition, written out in float64."""

import pytest
import torch

from rxf.divergence import squared_difference, symmetric_kl

SHAPES = [(1, 2), (8, 3), (5, 1), (3, 7, 11)]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def kl(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    return (log_p.exp() * (log_p - log_q)).sum()


def by_definition(z_p: torch.Tensor, z_q: torch.Tensor) -> torch.Tensor:
    log_p = z_p - z_p.logsumexp(-1, keepdim=True)
    log_q = z_q - z_q.logsumexp(-1, keepdim=True)
    return kl(log_p, log_q) + kl(log_q, log_p)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
def test_value_and_gradients(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    exact = [(torch.randn(shape) * 2).to(dtype).double().requires_grad_() for _ in range(2)]
    ours = [z.detach().to(dtype).requires_grad_() for z in exact]
    wanted, value = by_definition(*exact), symmetric_kl(*ours)
    (wanted * 0.7).backward()
    (value * 0.7).backward()
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(value.double(), wanted, rtol=1e-5, atol=1e-6)
    for z, reference in zip(ours, exact, strict=True):
        torch.testing.assert_close(z.grad.double(), reference.grad, rtol=tolerance, atol=tolerance)


def test_is_symmetric_and_zero_for_equal_predictions() -> None:
    p, q = torch.randn(4, 5), torch.randn(4, 5)
    torch.testing.assert_close(symmetric_kl(p, q), symmetric_kl(q, p))
    assert symmetric_kl(p, p.clone()) == 0
    torch.testing.assert_close(symmetric_kl(p, p + 3.0), torch.tensor(0.0), atol=1e-6, rtol=0)


def test_tiny_differences_do_not_drown() -> None:
    """At the paper's eps the divergence is about 1e-12: it must still be right and positive."""
    z = torch.randn(16, 2, dtype=torch.float64)
    noised = z + 1e-5 * torch.randn(16, 2, dtype=torch.float64)
    exact = by_definition(z, noised)
    value = symmetric_kl(z.float(), noised.float())
    assert 0 < value < 1e-7
    torch.testing.assert_close(value.double(), exact, rtol=0.2, atol=0)


def test_squared_difference() -> None:
    p = torch.tensor([[1.0], [2.0]], dtype=torch.float16, requires_grad=True)
    q = torch.tensor([[3.0], [2.5]], dtype=torch.float16)
    value = squared_difference(p, q)
    value.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(4.25)
    assert p.grad.flatten().tolist() == [-4.0, -1.0]
