"""The fused loss against its equation: values, every gradient, dtypes, shapes, memory."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rxf.divergence import fused_linear_ce_kl
from rxf.divergence.fused_linear import _chunk_size
from rxf.divergence.products import times_transposed
from tests.divergence.plain import plain_linear_ce_kl

PAD = 1
NAMES = ("clean", "noised", "weight")
Inputs = dict[str, torch.Tensor]


def inputs(
    rows: int = 3,
    length: int = 5,
    width: int = 8,
    vocabulary: int = 37,
    dtype: torch.dtype = torch.float32,
    distance: float = 0.5,
) -> tuple[Inputs, torch.Tensor]:
    """Features, projection and right-padded targets."""
    source = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=source, dtype=torch.float64)

    clean = normal(rows, length, width)
    found = {
        "clean": clean,
        "noised": clean + distance * normal(rows, length, width),
        "weight": normal(vocabulary, width) * 0.7,
    }
    targets = torch.randint(2, vocabulary, (rows, length), generator=source)
    for row in range(rows):
        targets[row, max(1, length - row) :] = PAD
    return {name: value.to(dtype).requires_grad_() for name, value in found.items()}, targets


def run(function: Any, given: Inputs, targets: torch.Tensor, scale: float = 1.0, **flags: Any):
    leaves = {name: given[name].detach().clone().requires_grad_() for name in NAMES}
    result = function(*leaves.values(), targets, ignore_index=PAD, **flags)
    (result.loss * scale).backward()
    return result, {name: leaf.grad for name, leaf in leaves.items()}


def compare(
    given: Inputs,
    targets: torch.Tensor,
    tolerance: float = 1e-5,
    scale: float = 1.0,
    chunk_size: Any = None,
    **flags: Any,
) -> None:
    """Ours against the equation; the tolerance is relative to each tensor's largest value."""
    ours = {"chunk_size": chunk_size, "count_correct": True, **flags}
    result, got = run(fused_linear_ce_kl, given, targets, scale, **ours)
    exact = {name: value.double() for name, value in given.items()}
    wanted_result, wanted = run(plain_linear_ce_kl, exact, targets, scale, **flags)
    for name in ("loss", "nll", "symm_kl", "correct"):
        value, wanted_value = getattr(result, name), getattr(wanted_result, name)
        assert float(value) == pytest.approx(float(wanted_value), rel=tolerance, abs=tolerance)
    for name, gradient in wanted.items():
        if gradient is None:
            assert got[name] is None or not got[name].any()
            continue
        assert got[name].dtype is given[name].dtype
        error = (got[name].double() - gradient).abs().max()
        assert error <= tolerance * gradient.abs().max().clamp_min(1e-6), name


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kl_weight", [0.0, 0.01, 3.0])
def test_equals_the_equation(label_smoothing: float, kl_weight: float) -> None:
    compare(*inputs(), label_smoothing=label_smoothing, kl_weight=kl_weight)


@pytest.mark.parametrize("ce_weights", [(0.5, 0.5), (0.0, 1.0), (0.0, 0.0), (1.0, 0.3)])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_cross_entropy_of_either_branch(
    ce_weights: tuple[float, float], label_smoothing: float
) -> None:
    flags = {"label_smoothing": label_smoothing, "ce_weights": ce_weights, "kl_weight": 0.35}
    compare(*inputs(), chunk_size=4, **flags)
    for dtype, tolerance in ((torch.bfloat16, 3e-2), (torch.float16, 4e-3)):
        compare(*inputs(dtype=dtype), tolerance, **flags)


def test_both_branches_pay_for_padding_that_is_kept_by_divergence_alone() -> None:
    given, targets = inputs()
    keep = torch.ones_like(targets, dtype=torch.bool)
    compare(given, targets, keep=keep, ce_weights=(0.5, 0.5), label_smoothing=0.1)


@pytest.mark.parametrize("ce_weights", [(1.0, 0.0), (0.0, 0.0)])
def test_another_projection_for_the_noised_branch(ce_weights: tuple[float, float]) -> None:
    given, targets = inputs()
    other = inputs(length=4)[0]["weight"].detach().flip(0)
    flags = {"noised_gradient": False, "ce_weights": ce_weights, "kl_weight": 0.7}
    leaves = {name: given[name].detach().clone().requires_grad_() for name in NAMES}
    result = fused_linear_ce_kl(
        *leaves.values(), targets, ignore_index=PAD, noised_weight=other, chunk_size=3, **flags
    )
    result.loss.backward()
    exact = {name: given[name].detach().double().requires_grad_() for name in NAMES}
    wanted = plain_linear_ce_kl(
        *exact.values(), targets, ignore_index=PAD, noised_weight=other.double(), **flags
    )
    wanted.loss.backward()
    assert float(result.loss) == pytest.approx(float(wanted.loss), rel=1e-5)
    assert float(result.symm_kl) == pytest.approx(float(wanted.symm_kl), rel=1e-5)
    assert leaves["noised"].grad is None or not leaves["noised"].grad.any()
    for name in ("clean", "weight"):
        torch.testing.assert_close(
            leaves[name].grad.double(), exact[name].grad, rtol=1e-5, atol=1e-6
        )


# Half precision: products and gradients are rounded to 8 and 11 bits.
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 3e-2), (torch.float16, 4e-3)],
)
def test_dtypes(dtype: torch.dtype, tolerance: float) -> None:
    compare(*inputs(dtype=dtype), tolerance, label_smoothing=0.1, kl_weight=0.5)


@pytest.mark.parametrize(
    ("rows", "length", "width", "vocabulary"),
    [(1, 1, 1, 3), (1, 7, 5, 11), (4, 9, 13, 101), (2, 3, 8, 1031)],
)
def test_odd_sizes(rows: int, length: int, width: int, vocabulary: int) -> None:
    compare(*inputs(rows, length, width, vocabulary), label_smoothing=0.1)


@pytest.mark.parametrize("chunk_size", [1, 2, 5, 12, 100])
def test_chunks_that_do_not_divide(chunk_size: int) -> None:
    compare(*inputs(), chunk_size=chunk_size, label_smoothing=0.1, kl_weight=0.3)


def test_blocks_within_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rxf.divergence.fused_linear.BLOCK_ELEMENTS", 3 * 37 + 1)
    compare(*inputs(), label_smoothing=0.1)


def test_chunks_are_even_and_small_enough() -> None:
    for count in (1, 165, 166, 167, 512, 4096):
        size = _chunk_size(count, 50265)
        assert 2 * size * 50265 <= 2**24
        assert -(-count // size) * size - count < size
        assert count <= 166 or size > 80
    assert _chunk_size(0, 50265) == 1
    assert _chunk_size(5, 2**30) == 1


def test_all_padding_rows_and_no_position_at_all() -> None:
    given, targets = inputs(rows=4)
    targets[1:3] = PAD
    compare(given, targets, label_smoothing=0.1)
    nothing = torch.full_like(targets, PAD)
    result, gradients = run(fused_linear_ce_kl, given, nothing, count_correct=True)
    assert [float(value) for value in result] == [0, 0, 0, 0]
    assert not any(gradient.any() for gradient in gradients.values())


def test_padding_gets_no_gradient_and_its_features_do_not_matter() -> None:
    given, targets = inputs()
    _, gradients = run(fused_linear_ce_kl, given, targets)
    assert not gradients["clean"][targets == PAD].any()
    changed = {name: value.detach().clone() for name, value in given.items()}
    changed["noised"][targets == PAD] = float("nan")
    _, again = run(fused_linear_ce_kl, changed, targets)
    assert all(torch.equal(again[name], gradients[name]) for name in NAMES)


def test_padding_that_is_kept_adds_divergence_alone() -> None:
    given, targets = inputs()
    compare(given, targets, keep=torch.ones_like(targets, dtype=torch.bool), label_smoothing=0.1)
    prefix = torch.ones_like(targets, dtype=torch.bool)
    prefix[:, :2] = False
    compare(given, targets, keep=prefix, label_smoothing=0.1)


def test_padding_is_never_a_correct_prediction() -> None:
    given, targets = inputs()
    with torch.no_grad():
        given["weight"].zero_()[PAD] = 1.0
        given["clean"].abs_()
    everything = torch.ones_like(targets, dtype=torch.bool)
    result, _ = run(fused_linear_ce_kl, given, targets, keep=everything, count_correct=True)
    assert (targets == PAD).any() and int(result.correct) == 0


def test_non_contiguous_features_and_weight() -> None:
    given, targets = inputs(rows=5, length=4)
    # As a decoder hands them out: T x B x d, transposed.
    swapped = {
        name: given[name].detach().transpose(0, 1).contiguous().transpose(0, 1)
        for name in NAMES[:2]
    }
    swapped["weight"] = given["weight"].detach().t().contiguous().t()
    assert not any(value.is_contiguous() for value in swapped.values())
    result = fused_linear_ce_kl(*swapped.values(), targets, ignore_index=PAD)
    wanted = plain_linear_ce_kl(*swapped.values(), targets, ignore_index=PAD)
    torch.testing.assert_close(result.loss, wanted.loss, rtol=1e-5, atol=1e-5)
    leaves = {name: value.requires_grad_() for name, value in swapped.items()}
    fused_linear_ce_kl(*leaves.values(), targets, ignore_index=PAD).loss.backward()
    _, gradients = run(fused_linear_ce_kl, given, targets)
    for name in NAMES:
        torch.testing.assert_close(leaves[name].grad, gradients[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_loss_scaled_afterwards(dtype: torch.dtype) -> None:
    compare(*inputs(dtype=dtype), 1e-5 if dtype is torch.float32 else 4e-3, scale=128.0)


def test_probabilities_too_small_for_fp16_keep_their_gradient() -> None:
    given, targets = inputs(width=1, vocabulary=401, dtype=torch.float16)
    values = {name: torch.ones_like(value) for name, value in given.items()}
    values["weight"].fill_(12.0)[200:] = 0.0
    targets.clamp_(max=150)
    _, got = run(fused_linear_ce_kl, values, targets, scale=1024.0)
    exact = {name: value.double() for name, value in values.items()}
    _, wanted = run(plain_linear_ce_kl, exact, targets, scale=1024.0)
    assert 1e-8 < wanted["weight"][300] / 1024 / targets.ne(PAD).sum() < 4e-8
    torch.testing.assert_close(
        got["weight"][200:].double(), wanted["weight"][200:], rtol=0.3, atol=0
    )


def test_a_whole_chunk_of_one_target_does_not_overflow_fp16() -> None:
    given, targets = inputs(rows=1, length=166, dtype=torch.float16)
    values = {name: torch.full_like(value, 10.0) for name, value in given.items()}
    values["weight"].zero_()
    compare(values, targets.fill_(3), tolerance=4e-3)


def test_tied_weight_collects_both_gradients() -> None:
    given, targets = inputs()
    weight = given["weight"].detach().clone().requires_grad_()
    words = torch.tensor([[2, 3, 4, 5, 6]] * 3)
    clean, noised = weight[words], weight[words] * 1.1
    fused_linear_ce_kl(clean, noised, weight, targets, ignore_index=PAD).loss.backward()
    plain = given["weight"].detach().clone().requires_grad_()
    clean, noised = plain[words], plain[words] * 1.1
    plain_linear_ce_kl(clean, noised, plain, targets, ignore_index=PAD).loss.backward()
    torch.testing.assert_close(weight.grad, plain.grad, rtol=1e-5, atol=1e-5)


def test_no_gradient_through_the_noised_branch() -> None:
    compare(*inputs(), noised_gradient=False, label_smoothing=0.1)


@pytest.mark.parametrize("frozen", NAMES)
def test_frozen_inputs_get_no_gradient(frozen: str) -> None:
    given, targets = inputs()
    leaves = {name: value.detach().clone() for name, value in given.items()}
    for name in set(NAMES) - {frozen}:
        leaves[name].requires_grad_()
    fused_linear_ce_kl(*leaves.values(), targets, ignore_index=PAD).loss.backward()
    _, wanted = run(fused_linear_ce_kl, given, targets)
    assert leaves[frozen].grad is None
    for name in set(NAMES) - {frozen}:
        torch.testing.assert_close(leaves[name].grad, wanted[name])


def test_value_without_gradient() -> None:
    given, targets = inputs()
    with torch.no_grad():
        result = fused_linear_ce_kl(*given.values(), targets, ignore_index=PAD)
    wanted = plain_linear_ce_kl(*given.values(), targets, ignore_index=PAD)
    torch.testing.assert_close(result.loss, wanted.loss.detach(), rtol=1e-5, atol=1e-5)
    assert result.correct is None  # not asked for


def test_a_second_backward_pass_is_an_error() -> None:
    given, targets = inputs()
    loss = fused_linear_ce_kl(*given.values(), targets, ignore_index=PAD).loss
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="once"):
        loss.backward()


def test_autocast_takes_products_in_its_dtype() -> None:
    given, targets = inputs()
    with torch.autocast("cpu", torch.bfloat16):
        result, got = run(fused_linear_ce_kl, given, targets, label_smoothing=0.1)
    half = {name: value.detach().bfloat16() for name, value in given.items()}
    wanted_result, wanted = run(fused_linear_ce_kl, half, targets, label_smoothing=0.1)
    assert torch.equal(result.loss, wanted_result.loss)
    for name in NAMES:
        assert got[name].dtype is torch.float32
        torch.testing.assert_close(got[name].bfloat16(), wanted[name])


def test_a_small_divergence_keeps_its_digits() -> None:
    given, targets = inputs(distance=1e-4)
    result, _ = run(fused_linear_ce_kl, given, targets)
    exact = {name: value.double() for name, value in given.items()}
    wanted, _ = run(plain_linear_ce_kl, exact, targets)
    assert 0 < float(wanted.symm_kl) < 1e-4
    assert float(result.symm_kl) == pytest.approx(float(wanted.symm_kl), rel=1e-2)


def test_logits_far_apart_stay_finite() -> None:
    given, targets = inputs()
    large = {name: value.detach() * 30 for name, value in given.items()}
    compare(large, targets, tolerance=1e-4, label_smoothing=0.1)


class Largest(TorchDispatchMode):
    """The largest tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else [result]:
            if torch.is_tensor(value):
                self.elements = max(self.elements, value.numel())
        return result


def test_no_tensor_holds_all_logits() -> None:
    given, targets = inputs(rows=4, length=64, width=2, vocabulary=501)
    with Largest() as largest:
        run(fused_linear_ce_kl, given, targets, chunk_size=8)
    assert largest.elements == 2 * 8 * 501
    assert largest.elements < targets.ne(PAD).sum() * 501 / 10


@pytest.mark.parametrize("onednn", [True, False])
def test_products_by_either_library(onednn: bool) -> None:
    a, b = torch.randn(7, 33), torch.randn(129, 33)
    wanted = (a.double() @ b.double().t()).float()
    with torch.backends.mkldnn.flags(enabled=onednn):
        torch.testing.assert_close(times_transposed(a, b), wanted, rtol=1e-5, atol=1e-5)
        transposed = times_transposed(a, b.t().contiguous().t())
        torch.testing.assert_close(transposed, wanted, rtol=1e-5, atol=1e-5)
        compare(*inputs(), label_smoothing=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noised": torch.zeros(3, 4, 8)}, "same positions"),
        ({"weight": torch.zeros(37, 9)}, r"\(V, 8\)"),
        ({"keep": torch.ones(3, 5)}, "keep must be bool"),
        ({"chunk_size": 0}, "chunk_size 0"),
        ({"noised_weight": torch.zeros(37, 8)}, "noised_gradient=False"),
        ({"noised_weight": torch.zeros(36, 8), "noised_gradient": False}, r"\(37, 8\) wanted"),
    ],
)
def test_what_does_not_belong_together(change: dict[str, Any], message: str) -> None:
    given, targets = inputs()
    with pytest.raises(ValueError, match=message):
        fused_linear_ce_kl(**{**given, "targets": targets, **change}, ignore_index=PAD)
