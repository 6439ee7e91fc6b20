"""The heads: where they start, and that their mean computes the mean of what they compute."""

import pytest
import torch
from torch import nn

from rxf.methods.mhloss.heads import copy_mean, new_heads


def test_they_start_as_nn_linear_does() -> None:
    like = nn.Linear(64, 50)
    for head in new_heads(3, like, seed=1):
        for ours, theirs in zip(head.parameters(), like.parameters(), strict=True):
            assert ours.shape == theirs.shape and ours.requires_grad
            assert ours.abs().max() <= 1 / 8
        # A uniform distribution on (-1/8, 1/8), by its spread and its middle.
        assert float(head.weight.std()) == pytest.approx(1 / 8 / 3**0.5, rel=0.05)
        assert float(head.weight.mean()) == pytest.approx(0, abs=5e-3)
        assert head.bias.abs().max() > 0.05


def test_each_start_is_its_own_and_can_be_repeated() -> None:
    like = nn.Linear(4, 2)
    before = torch.get_rng_state()
    five = new_heads(5, like, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    weights = [head.weight for head in five]
    assert not any(torch.equal(a, b) for i, a in enumerate(weights) for b in weights[:i])
    torch.manual_seed(99)
    for again, head in zip(new_heads(2, like, seed=1), five, strict=False):
        assert torch.equal(again.weight, head.weight) and torch.equal(again.bias, head.bias)
    assert not torch.equal(new_heads(1, like, seed=2)[0].weight, weights[0])


def test_dtype_and_bias_are_those_of_the_layer() -> None:
    (head,) = new_heads(1, nn.Linear(4, 2, bias=False).to(torch.bfloat16), seed=1)
    assert head.bias is None and head.weight.dtype is torch.bfloat16


def test_logits_of_the_mean_are_the_mean_of_the_logits() -> None:
    into = nn.Linear(6, 3)
    heads = new_heads(4, into, seed=5)
    features = torch.randn(7, 6)
    copy_mean(heads, into)
    wanted = sum(head(features) for head in heads) / 4
    torch.testing.assert_close(into(features), wanted, rtol=1e-5, atol=1e-6)


def test_the_mean_of_halves_is_taken_in_fp32() -> None:
    into = nn.Linear(3, 2).to(torch.bfloat16)
    heads = new_heads(5, into, seed=3)
    copy_mean(heads, into)
    exact = sum(head.weight.double() for head in heads) / 5
    assert torch.equal(into.weight, exact.to(torch.bfloat16))
