"""Where the noise comes from: seeds, ranks, resumes; and how it is added."""

import pytest
import torch

from rxf.forward import NoiseStream, add_noise, share_changed

LIKE = torch.zeros(50, 40, 30)


def test_distributions() -> None:
    torch.manual_seed(1)
    stream = NoiseStream()
    normal, uniform = stream.draw(LIKE, "normal", 0.5), stream.draw(LIKE, "uniform", 0.5)
    assert normal.dtype == uniform.dtype == torch.float32
    assert normal.std() == pytest.approx(0.5, rel=0.02)
    assert normal.mean() == pytest.approx(0.0, abs=0.01)
    assert uniform.abs().max() <= 0.5
    assert uniform.std() == pytest.approx(0.5 / 3**0.5, rel=0.02)


def test_the_same_after_a_resume() -> None:
    """Only the trainer's seed (here: update 7) counts, not what was drawn before."""
    first, resumed = NoiseStream(), NoiseStream()
    torch.manual_seed(6)
    first.draw(LIKE, "normal", 1.0)
    first.draw(LIKE, "normal", 1.0)
    torch.manual_seed(7)
    wanted = [first.draw(LIKE, "normal", 1.0) for _ in range(2)]
    torch.manual_seed(7)
    torch.rand(5)  # dropout may have taken any number of values by then
    for noise in wanted:
        assert torch.equal(resumed.draw(LIKE, "normal", 1.0), noise)
    assert not torch.equal(*wanted)  # micro-batches of one update differ


def test_noise_and_dropout_leave_each_other_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(4)
    torch.manual_seed(1)
    NoiseStream().draw(LIKE, "uniform", 1.0)
    assert torch.equal(torch.rand(4), expected)


def test_seed_and_rank_change_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    from rxf.forward import noise

    def draw(seed: int, rank: int) -> torch.Tensor:
        torch.manual_seed(1)
        monkeypatch.setattr(noise, "_data_parallel_rank", lambda: rank)
        return NoiseStream(seed).draw(LIKE, "normal", 1.0)

    assert torch.equal(draw(0, 0), draw(0, 0))
    assert not torch.equal(draw(0, 0), draw(1, 0))
    assert not torch.equal(draw(0, 0), draw(0, 1))


def test_padding_gets_none_and_the_sum_is_in_float32() -> None:
    clean = torch.full((1, 2, 3), 1.0, dtype=torch.bfloat16)
    noise = torch.full((1, 2, 3), 0.005)
    padding = torch.tensor([[False, True]])
    noised = add_noise(clean, noise, padding)
    assert noised.dtype == torch.bfloat16
    assert torch.equal(noised[0, 0], torch.full((3,), 1.005).bfloat16())
    assert torch.equal(noised[0, 1], clean[0, 1])


def test_share_changed_counts_outside_padding_only() -> None:
    clean, padding = torch.zeros(1, 3, 4), torch.tensor([[False, False, True]])
    noised = clean.clone()
    noised[0, 0, :2] = 1.0
    noised[0, 2] = 1.0
    assert share_changed(clean, noised, padding).item() == pytest.approx(2 / 8)


def test_half_precision_rounds_the_papers_noise_away() -> None:
    """The reference's figures: 12 % of coordinates change in fp16, 1.6 % in bf16."""
    torch.manual_seed(1)
    clean, padding = torch.randn(20, 50, 200) * 0.1, torch.zeros(20, 50, dtype=torch.bool)
    noise = NoiseStream().draw(clean, "uniform", 1e-5)
    for dtype, share in ((torch.float16, 0.12), (torch.bfloat16, 0.016)):
        half = clean.to(dtype)
        measured = share_changed(half, add_noise(half, noise, padding), padding).item()
        assert measured == pytest.approx(share, rel=0.1)
