"""The criterion against algorithm 1, written out, and at its edges."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from rxf.errors import UserError
from tests.released import FixedNoise
from tests.support import HEAD, build_from_flags, first_batch, train_flags, write_sentence_data

STILL = {"dropout": 0.0, "attention_dropout": 0.0}
# Large enough that the noise is seen beside rounding, and that both balls cut.
LARGE = {"smart_eps": 0.3, "smart_sigma": 0.2, "smart_eta": 2.0, "smart_steps": 2}
L2 = {"smart_norm": "l2", "smart_eps": 1.5}


def build(data: Path, **flags: Any) -> tuple[Any, Any, Any]:
    settings = {"criterion": "sentence_prediction_smart", **STILL, **LARGE, **flags}
    _, task, model, criterion = build_from_flags(train_flags(data, data / "none", **settings))
    with torch.no_grad():  # of a size at which predictions hang on the input
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "embed" not in name:
                parameter.mul_(4)
    return task, model.train(), criterion.train()


def noise_for(sample: Any, seed: int = 3) -> torch.Tensor:
    shape = (*sample["net_input"]["src_tokens"].shape, 16)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.2


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def logits(model: Any, tokens: torch.Tensor, delta: Any = None) -> torch.Tensor:
    """A forward pass written out down to the encoder, with ``delta`` on the embeddings."""
    encoder = model.encoder.sentence_encoder
    embeddings = encoder.embed_tokens(tokens)
    if delta is not None:
        embeddings = embeddings + delta
    out = encoder(tokens, token_embeddings=embeddings.to(encoder.embed_tokens.weight.dtype))
    return model.classification_heads[HEAD](out["encoder_out"][0].transpose(0, 1)).float()


def apart(z: torch.Tensor, other: torch.Tensor, regression: bool) -> torch.Tensor:
    if regression:
        return ((z - other) ** 2).sum()
    p, q = F.softmax(z, -1), F.softmax(other, -1)
    return (p * (p.log() - q.log())).sum() + (q * (q.log() - p.log())).sum()


def algorithm_1(
    model: Any, teacher: Any, sample: Any, start: torch.Tensor, cfg: Any, regression: bool
) -> torch.Tensor:
    """The loss of one batch, example by example in the ascent."""
    tokens = sample["net_input"]["src_tokens"]
    kept = tokens.ne(1).unsqueeze(-1)
    delta = start * kept
    for _ in range(cfg.smart_steps):
        stepped = []
        for row in range(len(tokens)):
            leaf = delta[row : row + 1].clone().requires_grad_()
            z = logits(model, tokens[row : row + 1]).detach()
            value = apart(logits(model, tokens[row : row + 1], leaf * kept[row]), z, regression)
            (gradient,) = torch.autograd.grad(value, leaf)
            moved = (leaf + cfg.smart_eta * gradient).detach()
            if cfg.smart_normalize:
                moved = moved / (moved.abs().amax(-1, keepdim=True) + cfg.smart_eps)
            elif cfg.smart_norm == "inf":
                moved = torch.minimum(moved, torch.tensor(cfg.smart_eps)).maximum(
                    torch.tensor(-cfg.smart_eps)
                )
            elif moved.norm() > cfg.smart_eps:
                moved = moved / moved.norm() * cfg.smart_eps
            stepped.append(moved)
        delta = torch.cat(stepped)
    clean = logits(model, tokens)
    targets = sample["target"].view(-1)
    if regression:
        loss = ((clean.view(-1) - targets) ** 2).sum()
    else:
        loss = F.cross_entropy(clean, targets, reduction="sum")
    loss = loss + cfg.smart_lambda * apart(clean, logits(model, tokens, delta * kept), regression)
    with torch.no_grad():
        taught = logits(teacher, tokens)
    return loss + cfg.smart_mu * apart(clean, taught, regression)


def other_model(model: Any) -> Any:
    """Another set of weights, for the slow copy."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.05)
    return other.eval()


@pytest.mark.parametrize("rows", [1, 6])
@pytest.mark.parametrize(
    ("flags", "regression"),
    [({}, False), (L2, False), ({"smart_normalize": True}, False), ({}, True), (L2, True)],
)
def test_equals_algorithm_1(tmp_path: Path, rows: int, flags: Any, regression: bool) -> None:
    data = write_sentence_data(tmp_path, regression=regression)
    weights = {"smart_lambda": 0.7, "smart_mu": 0.4}
    task, model, criterion = build(data, **weights, **flags)
    sample = first_batch(task, size=rows)
    criterion.adversary.stream = FixedNoise(noise_for(sample))
    torch.manual_seed(4)
    teacher = other_model(model)
    criterion.teacher.start_at(teacher)
    loss, size, logged = criterion(model, sample)
    got = gradients(model, loss)
    wanted = algorithm_1(model, teacher, sample, noise_for(sample), criterion.smart, regression)
    torch.testing.assert_close(loss, wanted, rtol=1e-4, atol=1e-5)
    assert size == rows
    names = ("squared_diff", "teacher_diff") if regression else ("symm_kl", "teacher_kl")
    assert all(logged[name] > 1e-3 for name in names)
    expected = gradients(model, wanted)
    assert got.keys() == expected.keys()
    for name, gradient in expected.items():
        far = (got[name] - gradient).abs().max()
        assert far <= 2e-4 * gradient.abs().max().clamp_min(1.0), name


def test_autocast_is_near(sentence_data: Path) -> None:
    task, model, criterion = build(sentence_data)
    sample = first_batch(task)
    losses = []
    for half in (False, True):
        criterion.adversary.stream = FixedNoise(noise_for(sample))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            loss, _, _ = criterion(model, sample)
        gradients(model, loss)
        losses.append(float(loss))
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_says_what_is_left_of_the_noise(
    sentence_data: Path, dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    task, model, criterion = build(sentence_data, smart_eps=1e-5, smart_sigma=1e-5)
    model.to(dtype)
    loss, _, logged = criterion(model, first_batch(task))
    loss.backward()
    assert torch.isfinite(loss)
    assert 0 <= float(logged["noise_share"]) / 8 < 0.9
    said = [r.message for r in caplog.records if r.name == "rxf.forward.rounding"]
    assert len(said) == 1 and "--smart-eps 1e-05" in said[0]


def spying(divergence: Any, seen: list[torch.Tensor]) -> Any:
    def spy(one: torch.Tensor, other: torch.Tensor) -> Any:
        value, name = divergence(one, other)
        seen.append(value.detach())
        return value, name

    return spy


def test_fp16_ascends_where_its_gradients_would_vanish(sentence_data: Path) -> None:
    """At this noise the divergence's gradient is below what fp16 holds."""
    moved = []
    for dtype in (torch.float32, torch.float16):
        flags = {"smart_sigma": 2e-3, "smart_eps": 1.0, "smart_eta": 0.01, "smart_steps": 1}
        task, model, criterion = build(sentence_data, smart_mu=0.0, **flags)
        model.to(dtype)
        sample = first_batch(task)
        start = noise_for(sample) * 1e-2
        criterion.adversary.stream = FixedNoise(start)
        seen: list[torch.Tensor] = []
        criterion.divergence = spying(criterion.divergence, seen)
        criterion(model, sample)
        moved.append(float(seen[-1] / seen[0]))
    # The ascent makes the divergence larger, as much in both.
    assert moved[0] > 2 and moved[1] == pytest.approx(moved[0], rel=0.05)


def test_dropout_is_shared_only_where_asked(sentence_data: Path) -> None:
    measured = {}
    for share in (False, True):
        flags = {"dropout": 0.3, "smart_share_dropout": share, "smart_mu": 0.0}
        tiny = {"smart_sigma": 1e-6, "smart_eps": 1e-6}
        task, model, criterion = build(sentence_data, **flags, **tiny)
        torch.manual_seed(2)
        measured[share] = float(criterion(model, first_batch(task))[2]["symm_kl"])
    assert measured[True] < 1e-6 < 1e-3 < measured[False]


@pytest.mark.parametrize("regression", [False, True])
def test_one_batch_of_8_is_two_of_4(tmp_path: Path, regression: bool) -> None:
    task, model, criterion = build(write_sentence_data(tmp_path, regression=regression))
    sample = first_batch(task)
    noise = noise_for(sample)
    criterion.adversary.stream = FixedNoise(noise)
    whole, _, _ = criterion(model, sample)
    wanted = gradients(model, whole)
    model.zero_grad()
    total = 0.0
    for rows in (slice(0, 4), slice(4, 8)):
        part = {
            "net_input": {
                name: value[rows] if torch.is_tensor(value) else value
                for name, value in sample["net_input"].items()
            },
            "target": sample["target"][rows],
            "ntokens": 1,
        }
        criterion.adversary.stream = FixedNoise(noise[rows])
        loss, _, _ = criterion(model, part)
        loss.backward()
        total += float(loss)
    assert total == pytest.approx(float(whole), rel=1e-5)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            far = (parameter.grad - wanted[name]).abs().max()
            assert far <= 1e-4 * wanted[name].abs().max().clamp_min(1.0), name


def test_extra_padding_changes_nothing(sentence_data: Path) -> None:
    task, model, criterion = build(sentence_data, **L2)
    sample = first_batch(task)
    noise = noise_for(sample)
    criterion.adversary.stream = FixedNoise(noise)
    loss, _, _ = criterion(model, sample)
    sample["net_input"]["src_tokens"] = F.pad(sample["net_input"]["src_tokens"], (0, 5), value=1)
    criterion.adversary.stream = FixedNoise(F.pad(noise, (0, 0, 0, 5), value=9.0))
    padded, _, _ = criterion(model, sample)
    torch.testing.assert_close(padded, loss, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("flags", "forwards"),
    [
        ({"smart_lambda": 0.0, "smart_mu": 0.0}, 1),
        ({"smart_lambda": 0.0}, 2),
        ({"smart_mu": 0.0, "smart_steps": 3}, 5),
        ({"smart_steps": 1}, 4),
    ],
)
def test_forwards_are_as_many_as_said(sentence_data: Path, flags: Any, forwards: int) -> None:
    task, model, criterion = build(sentence_data, **flags)
    counted: list[int] = []
    model.encoder.register_forward_hook(lambda *_: counted.append(1))
    criterion(model, first_batch(task))
    assert len(counted) == forwards


def test_the_model_is_left_as_it_was(sentence_data: Path) -> None:
    task, model, criterion = build(sentence_data, dropout=0.2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = {name: module.training for name, module in model.named_modules()}
    criterion(model, first_batch(task))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert modes == {name: module.training for name, module in model.named_modules()}
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("smart_lambda", "-1"),
        ("smart_mu", "nan"),
        ("smart_eps", "0"),
        ("smart_sigma", "-1"),
        ("smart_eta", "inf"),
        ("smart_steps", "0"),
        ("smart_beta", "1.5"),
        ("smart_late_beta", "-0.1"),
        ("smart_early_share", "2"),
    ],
)
def test_settings_that_mean_nothing_are_refused(sentence_data: Path, flag: str, value: str) -> None:
    with pytest.raises(UserError, match="--" + flag.replace("_", "-")):
        build(sentence_data, **{flag: value})
