"""Every measure against its definition, over batches, dtypes and degenerate inputs."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from rxf.representation import LayerComparison, LayerMeasures, weight_distance, weight_distances
from rxf.representation.measures import anisotropy, cka, covariance, effective_rank, hsic
from rxf.representation.moments import Cosines, CrossMoments, Directions
from tests.representation import plain


def normal(rows: int, width: int, seed: int = 1, offset: float = 0.0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=source, dtype=torch.float64)
    return torch.randn(rows, width, generator=source, dtype=torch.float64) @ mixing + offset


def related(rows: int, width: int, offset: float = 0.0) -> tuple[Tensor, Tensor]:
    one = normal(rows, width, 1, offset)
    return one, one @ normal(width, width, 2) * 0.3 + normal(rows, width, 3, offset)


def compared(one: Tensor, other: Tensor, sizes: list[int]) -> LayerMeasures:
    comparison = LayerComparison()
    for before, after in zip(one.split(sizes), other.split(sizes), strict=True):
        comparison.add(before, after)
    return comparison.measures()


def moments(one: Tensor, other: Tensor) -> CrossMoments:
    made = CrossMoments()
    made.add(one, other)
    return made


def kernel_alignment(one: Tensor, other: Tensor) -> float:
    return cka(moments(one, one), moments(other, other), moments(one, other))


def rank_of(x: Tensor) -> float:
    return effective_rank(covariance(moments(x, x)))


def directions(x: Tensor) -> Directions:
    made = Directions()
    made.add(x)
    return made


@pytest.mark.parametrize("offset", [0.0, 30.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("sizes", [[40], [1, 39], [7, 0, 11, 22], [1] * 40])
def test_all_four_are_their_definitions(
    sizes: list[int], dtype: torch.dtype, offset: float
) -> None:
    one, other = (x.to(dtype) for x in related(40, 6, offset))
    x, y = (z.double().numpy() for z in (one, other))
    found = compared(one, other, sizes)
    assert found.cka == pytest.approx(plain.unbiased_cka(x, y), abs=1e-8)
    assert found.cosine == pytest.approx(plain.mean_cosine(x, y), abs=1e-12)
    assert found.effective_rank == pytest.approx(plain.effective_rank(y), rel=1e-6)
    assert found.anisotropy == pytest.approx(plain.anisotropy(y), abs=1e-12)


def test_fewer_tokens_than_dimensions() -> None:
    one, other = related(9, 20)
    found = compared(one, other, [4, 5])
    x, y = one.numpy(), other.numpy()
    assert found.cka == pytest.approx(plain.unbiased_cka(x, y), abs=1e-10)
    assert found.effective_rank == pytest.approx(plain.effective_rank(y), rel=1e-5)
    assert found.effective_rank <= 8


def test_hsic_is_unbiased() -> None:
    """Of independent draws the mean is 0, however few tokens there are."""
    draws = []
    for seed in range(300):
        one, other = (torch.randn(8, 5, generator=torch.Generator().manual_seed(s), dtype=float)
                      for s in (seed, 10_000 + seed))  # fmt: skip
        draws.append(hsic(moments(one, other)))
    mean, error = np.mean(draws), np.std(draws) / math.sqrt(len(draws))
    assert abs(mean) < 3.5 * error
    assert abs(mean) < 0.1 * hsic(moments(one, one))


def test_it_is_the_biased_one_where_tokens_are_many() -> None:
    one, other = related(4000, 5)
    biased = plain.biased_cka(one.numpy(), other.numpy())
    assert kernel_alignment(one, other) == pytest.approx(biased, abs=2e-3)
    assert 0.05 < biased < 0.95


# ------------------------------------------------------------------- what holds of CKA


def test_cka_of_the_same_is_one() -> None:
    one, _ = related(30, 5, offset=100.0)
    assert kernel_alignment(one, one) == pytest.approx(1.0, abs=1e-12)


def test_cka_ignores_rotation_scale_and_offset_and_order() -> None:
    one, other = related(30, 5)
    rotation = torch.linalg.qr(normal(5, 5, 9))[0]
    order = torch.randperm(30, generator=torch.Generator().manual_seed(4))
    wanted = kernel_alignment(one, other)
    changed = (17.0 * other @ rotation + normal(1, 5, 8))[order]
    assert kernel_alignment(one[order], changed) == pytest.approx(wanted, abs=1e-10)
    assert kernel_alignment(other, one) == pytest.approx(wanted, abs=1e-10)


def test_cka_does_not_ignore_any_linear_map() -> None:
    one, _ = related(60, 5)
    stretched = one * torch.tensor([100.0, 1, 1, 1, 1])
    assert kernel_alignment(one, stretched) < 0.95


def test_cka_of_unrelated_is_about_zero_in_many_dimensions() -> None:
    one, other = (torch.randn(200, 100, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    assert abs(kernel_alignment(one, other)) < 0.05
    assert plain.biased_cka(one.numpy(), other.numpy()) > 0.25


def test_cka_of_what_does_not_vary_is_zero() -> None:
    one, other = related(20, 4)
    still = torch.full_like(other, 0.1)
    assert kernel_alignment(one, still) == 0.0
    assert kernel_alignment(still, still) == 0.0


@pytest.mark.parametrize("tokens", [1, 3])
def test_cka_of_too_few_tokens_is_no_number(tokens: int) -> None:
    one, other = related(tokens, 4)
    assert math.isnan(kernel_alignment(one, other))


# -------------------------------------------------------------- rank and anisotropy


@pytest.mark.parametrize("width", [1, 2, 7])
def test_effective_rank_of_identity_is_its_width(width: int) -> None:
    assert effective_rank(3.0 * torch.eye(width)) == pytest.approx(width, rel=1e-12)


def test_effective_rank_of_rank_one_is_one() -> None:
    line = normal(50, 1) * torch.arange(1.0, 7.0)
    assert rank_of(line) == pytest.approx(1.0, abs=1e-9)


def test_effective_rank_of_two_known_singular_values() -> None:
    shares = np.array([0.75, 0.25])
    wanted = math.exp(-(shares * np.log(shares)).sum())
    # Eigenvalues are squares of singular values.
    assert effective_rank(torch.diag(torch.tensor([9.0, 1.0, 0.0]))) == pytest.approx(wanted)


@pytest.mark.parametrize("tokens", [1, 20])
def test_effective_rank_of_what_does_not_vary_is_zero(tokens: int) -> None:
    assert rank_of(torch.full((tokens, 4), 0.1)) == 0.0


def test_effective_rank_ignores_rotation_scale_and_offset() -> None:
    one = normal(40, 5)
    rotation = torch.linalg.qr(normal(5, 5, 9))[0]
    changed = 0.01 * one @ rotation + 50
    assert rank_of(changed) == pytest.approx(rank_of(one), rel=1e-6)


def test_anisotropy_is_one_where_all_point_the_same_way() -> None:
    cone = normal(30, 1).abs() * torch.arange(1.0, 5.0)
    assert anisotropy(directions(cone)) == pytest.approx(1.0, abs=1e-12)


def test_anisotropy_of_a_balanced_cross() -> None:
    axes = torch.cat([torch.eye(3), -torch.eye(3)])
    # 3 of the 15 pairs are opposite, the others orthogonal.
    assert anisotropy(directions(axes)) == pytest.approx(-0.2)


def test_a_vector_of_length_zero_is_orthogonal_to_all() -> None:
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    assert anisotropy(directions(x)) == pytest.approx(1 / 3)
    cosines = Cosines()
    cosines.add(x, torch.ones(3, 2))
    assert cosines.mean() == pytest.approx(2 / 3 / math.sqrt(2))


def test_one_token_has_no_pair() -> None:
    assert math.isnan(anisotropy(directions(torch.ones(1, 3))))
    assert math.isnan(Cosines().mean())


# ------------------------------------------------------------------------- distance


def test_distances_are_norms_of_differences() -> None:
    before = {"a.w": normal(3, 4), "a.b": normal(1, 4), "c.w": normal(2, 2)}
    after = {name: value + normal(*value.shape, 5) for name, value in before.items()}
    wanted = np.concatenate([(after[n] - before[n]).numpy().ravel() for n in before])
    start = np.concatenate([before[n].numpy().ravel() for n in before])
    whole = weight_distance(before, after, before)
    assert whole.euclidean == pytest.approx(np.linalg.norm(wanted))
    assert whole.relative == pytest.approx(np.linalg.norm(wanted) / np.linalg.norm(start))
    parts = weight_distances(before, after, {"a.w": "a", "c.w": "c", "a.b": "a"})
    assert list(parts) == ["a", "c"]
    assert parts["a"].euclidean == pytest.approx(np.linalg.norm(wanted[:16]))
    assert math.hypot(*(p.euclidean for p in parts.values())) == pytest.approx(whole.euclidean)


def test_distance_of_halves_is_taken_in_float64() -> None:
    before = {"w": torch.full((1000,), 100.0, dtype=torch.float16)}
    after = {"w": torch.full((1000,), 100.0625, dtype=torch.float16)}
    assert weight_distance(before, after, ["w"]).euclidean == pytest.approx(0.0625 * 1000**0.5)


def test_distance_from_zero_has_no_relative_one() -> None:
    found = weight_distance({"w": torch.zeros(2)}, {"w": torch.tensor([3.0, 4.0])}, ["w"])
    assert found.euclidean == 5.0 and math.isnan(found.relative)
