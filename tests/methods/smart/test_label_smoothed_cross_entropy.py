"""The generation criterion against algorithm 1, written out on whole logits."""

import copy
from typing import Any

import pytest
import torch

from rxf.errors import UserError
from rxf.methods.smart.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropySmartConfig,
    LabelSmoothedCrossEntropySmartCriterion,
)
from tests.forward.models import Task, build
from tests.generation.batches import (
    PAD,
    TIED,
    gradients,
    lively,
    log_probabilities,
    noise_for,
    padded,
    sample_of,
    stock,
)
from tests.released import FixedNoise

ADAPTIVE = {"adaptive_softmax_cutoff": "8,14", "adaptive_softmax_factor": 2}
LARGE = {"smart_eps": 0.3, "smart_sigma": 0.2, "smart_eta": 2.0}


def criterion(**flags: Any) -> Any:
    settings = {"label_smoothing": 0.1, "smart_lambda": 0.7, "smart_mu": 0.4, **LARGE, **flags}
    cfg = LabelSmoothedCrossEntropySmartConfig(**settings)
    cfg.sentence_avg = False
    return LabelSmoothedCrossEntropySmartCriterion(cfg, Task()).train()


def scores(model: Any, sample: Any, delta: Any = None) -> torch.Tensor:
    """Log-probabilities (B, T, V), by handing the encoder its embeddings."""
    net_input = sample["net_input"]
    tokens = net_input["src_tokens"]
    embeddings = model.encoder.embed_tokens(tokens)
    if delta is not None:
        embeddings = embeddings + delta * tokens.ne(PAD).unsqueeze(-1)
    encoded = model.encoder(tokens, net_input["src_lengths"], token_embeddings=embeddings)
    out = model.decoder(net_input["prev_output_tokens"], encoder_out=encoded)
    return log_probabilities(model, out)


def apart(log_p: torch.Tensor, log_q: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    both = log_p.exp() * (log_p - log_q) + log_q.exp() * (log_q - log_p)
    return (both.sum(-1) * kept).sum()


def algorithm_1(model: Any, teacher: Any, sample: Any, noise: torch.Tensor, cfg: Any) -> Any:
    kept = sample["target"].ne(PAD)
    delta = noise
    for _ in range(cfg.smart_steps):
        leaf = delta.clone().requires_grad_()
        value = apart(scores(model, sample).detach(), scores(model, sample, leaf), kept)
        (gradient,) = torch.autograd.grad(value, leaf)
        delta = (leaf + cfg.smart_eta * gradient).detach().clamp(-cfg.smart_eps, cfg.smart_eps)
    log_p = scores(model, sample)
    vocabulary, e = log_p.size(-1), cfg.label_smoothing
    wanted = torch.full_like(log_p, e / (vocabulary - 1))
    wanted.scatter_(-1, sample["target"].unsqueeze(-1), 1 - e)
    loss = -((wanted * log_p).sum(-1) * kept).sum()
    with torch.no_grad():
        taught = scores(teacher, sample)
    loss = loss + cfg.smart_lambda * apart(log_p, scores(model, sample, delta), kept)
    return loss + cfg.smart_mu * apart(log_p, taught, kept)


@pytest.mark.parametrize(
    ("arch", "changes"),
    [("bart_base", {}), ("transformer", {}), ("transformer", TIED), ("transformer", ADAPTIVE)],
)
@pytest.mark.parametrize("rows", [1, 4])
def test_equals_algorithm_1(arch: str, changes: Any, rows: int) -> None:
    # A fresh BART's predictions hardly hang on its input.
    make = lively if arch == "bart_base" else build
    model = make(arch, **changes).train()
    sample = sample_of(rows)
    adaptive = "adaptive_softmax_cutoff" in changes
    ours = criterion(smart_steps=2, label_smoothing=0.0 if adaptive else 0.1)
    ours.adversary.stream = FixedNoise(noise_for(sample))
    teacher = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.05)
    ours.teacher.start_at(teacher)
    loss, size, logged = ours(model, sample)
    got = gradients(model, loss)
    wanted = algorithm_1(model, teacher, sample, noise_for(sample), ours.smart)
    torch.testing.assert_close(loss, wanted, rtol=1e-4, atol=1e-5)
    assert size == sample["ntokens"]
    assert logged["symm_kl"] > 1e-3 and logged["teacher_kl"] > 1e-3
    expected = gradients(model, wanted)
    assert got.keys() == expected.keys()
    for name, gradient in expected.items():
        far = (got[name] - gradient).abs().max()
        assert far <= 2e-4 * gradient.abs().max().clamp_min(1.0), name


def test_the_copys_own_output_table_is_used() -> None:
    model, sample = build("transformer").train(), sample_of()
    ours = criterion(smart_lambda=0.0)
    teacher = copy.deepcopy(model)
    with torch.no_grad():
        teacher.decoder.output_projection.weight.mul_(1.5)
    ours.teacher.start_at(teacher)
    assert ours(model, sample)[2]["teacher_kl"] > 1e-3


def test_padding_is_out_of_the_loss() -> None:
    model, sample = build("transformer").train(), sample_of()
    ours = criterion()
    losses = []
    for batch in (sample, padded(sample, 0, 3)):
        ours.adversary.stream = FixedNoise(noise_for(batch))
        losses.append(ours(model, batch)[0])
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["weights 0", "validation"])
def test_weights_0_and_validation_are_the_stock_criterion_bit_for_bit(kind: str) -> None:
    model, sample = build("transformer", dropout=0.2).train(), sample_of()
    ours = criterion(**({"smart_lambda": 0, "smart_mu": 0} if kind == "weights 0" else {}))
    if kind == "validation":
        model.eval()
    torch.manual_seed(2)
    loss, size, logged = ours(model, sample)
    torch.manual_seed(2)
    wanted, wanted_size, wanted_logged = stock()(model, sample)
    assert torch.equal(loss, wanted) and size == wanted_size
    assert logged.keys() == wanted_logged.keys()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_near(dtype: torch.dtype) -> None:
    values = []
    for kind in (torch.float32, dtype):
        model, sample = build("transformer").train().to(kind), sample_of()
        ours = criterion()
        ours.adversary.stream = FixedNoise(noise_for(sample))
        loss, _, _ = ours(model, sample)
        gradients(model, loss)
        values.append(float(loss))
    assert values[1] == pytest.approx(values[0], rel=0.03)


def test_models_without_a_decoder_are_refused() -> None:
    with pytest.raises(UserError, match="--criterion label_smoothed_cross_entropy_smart needs"):
        criterion()(build("roberta", heads=False).train(), sample_of())
