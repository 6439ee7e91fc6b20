"""The criterion against its equation, written out on two forward passes, and at its edges."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from rxf.errors import UserError
from tests.support import HEAD, build_from_flags, first_batch, train_flags, write_sentence_data

BART = {
    "arch": "bart_base",
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "add_prev_output_tokens": True,
    "max_source_positions": 64,
}


def build(data: Path, **flags: Any) -> tuple[Any, Any, Any]:
    settings = {"criterion": "sentence_prediction_rdrop", "dropout": 0.3, **flags}
    _, task, model, criterion = build_from_flags(train_flags(data, data / "none", **settings))
    return task, model.train(), criterion.train()


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def both_passes(model: Any, sample: Any, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a batch that holds every row twice."""
    torch.manual_seed(seed)
    doubled = {
        name: torch.cat([value, value]) if torch.is_tensor(value) else value
        for name, value in sample["net_input"].items()
    }
    logits, _ = model(**doubled, features_only=True, classification_head_name=HEAD)
    rows = logits.size(0) // 2
    return logits[:rows].float(), logits[rows:].float()


def by_the_equation(z: Any, other: Any, targets: Any, alpha: float) -> torch.Tensor:
    total = torch.zeros((), dtype=torch.float32)
    for row in range(len(targets)):
        p, q = F.softmax(z[row], 0), F.softmax(other[row], 0)
        total = total - (p[targets[row]].log() + q[targets[row]].log()) / 2
        for one, two in ((p, q), (q, p)):
            total = total + alpha / 2 * (one * (one.log() - two.log())).sum()
    return total


@pytest.mark.parametrize("arch", [{}, BART])
@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("half", [False, True])
def test_equals_the_equation(sentence_data: Path, arch: Any, rows: int, half: bool) -> None:
    task, model, criterion = build(sentence_data, rdrop_alpha=0.9, **arch)
    sample = first_batch(task, size=rows)
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=half)
    torch.manual_seed(11)
    with autocast:
        loss, size, logged = criterion(model, sample)
    got = gradients(model, loss)
    with autocast:
        z, other = both_passes(model, sample, seed=11)
    assert not torch.equal(z, other)
    wanted = by_the_equation(z, other, sample["target"].view(-1), 0.9)
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-5)
    assert size == rows
    expected = gradients(model, wanted)
    assert got.keys() == expected.keys()
    tolerance = 3e-2 if half else 1e-5
    for name, gradient in expected.items():
        apart = (got[name] - gradient).abs().max()
        assert apart <= tolerance * gradient.abs().max().clamp_min(0.1), name
    divergence = by_the_equation(z, other, sample["target"].view(-1), 2.0) - by_the_equation(
        z, other, sample["target"].view(-1), 0.0
    )
    assert float(logged["symm_kl"]) == pytest.approx(float(divergence), rel=1e-3, abs=1e-6)


def test_regression_takes_the_squared_difference(tmp_path: Path) -> None:
    task, model, criterion = build(write_sentence_data(tmp_path, regression=True), rdrop_alpha=0.5)
    sample = first_batch(task, size=5)
    torch.manual_seed(3)
    loss, _, logged = criterion(model, sample)
    z, other = both_passes(model, sample, seed=3)
    y = sample["target"].view(-1)
    error = ((z.view(-1) - y) ** 2 + (other.view(-1) - y) ** 2).sum() / 2
    apart = ((z - other) ** 2).sum()
    torch.testing.assert_close(loss, error + 0.5 * apart, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logged["squared_diff"], apart.detach(), rtol=1e-4, atol=1e-7)


def test_without_dropout_it_is_plain_but_for_rounding(sentence_data: Path) -> None:
    still = {"dropout": 0.0, "attention_dropout": 0.0}
    task, model, criterion = build(sentence_data, **still)
    sample = first_batch(task)
    loss, _, logged = criterion(model, sample)
    plain = build(sentence_data, rdrop_alpha=0.0, **still)[2]
    torch.testing.assert_close(loss, plain(model, sample)[0], rtol=1e-6, atol=1e-6)
    assert float(logged["symm_kl"]) == pytest.approx(0.0, abs=1e-8)


def test_extra_padding_changes_nothing(sentence_data: Path) -> None:
    """With head dropout alone, whose masks do not know the length."""
    flags = {"dropout": 0.0, "attention_dropout": 0.0, "pooler_dropout": 0.4}
    task, model, criterion = build(sentence_data, **flags)
    sample = first_batch(task)
    torch.manual_seed(1)
    loss, _, _ = criterion(model, sample)
    wanted = gradients(model, loss)
    tokens = sample["net_input"]["src_tokens"]
    sample["net_input"]["src_tokens"] = F.pad(tokens, (0, 5), value=1)
    torch.manual_seed(1)
    padded, _, _ = criterion(model, sample)
    torch.testing.assert_close(padded, loss, rtol=1e-6, atol=1e-6)
    for name, gradient in gradients(model, padded).items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("value", ["-1", "nan", "inf"])
def test_an_alpha_that_means_nothing_is_refused(sentence_data: Path, value: str) -> None:
    with pytest.raises(UserError, match="--rdrop-alpha"):
        build(sentence_data, rdrop_alpha=value)
