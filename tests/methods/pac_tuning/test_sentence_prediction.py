"""The criterion against its equations, gradients by hand, and at its edges."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from rxf.errors import UserError
from rxf.methods.pac_tuning.bound import prior_grid
from rxf.methods.pac_tuning.posterior import head_rate
from tests.released import FixedNoise
from tests.support import HEAD, STILL, build_from_flags, first_batch, train_flags

GAMMA, EXAMPLES = 5.0, 64
BART = {"arch": "bart_base", "decoder_layers": 1, "decoder_attention_heads": 2}
BART |= {"add_prev_output_tokens": True, "max_source_positions": 64}
K_VALUES = torch.tensor([0.1, 0.2, 0.2, 0.5, 0.6, 0.9, 1.0, 1.4])


def build(data: Path, **flags: Any) -> tuple[Any, Any, Any]:
    """Task, model and criterion, as when training has just begun."""
    settings = {"criterion": "sentence_prediction_pac", "pac_gamma": GAMMA, **STILL, **flags}
    _, task, model, criterion = build_from_flags(train_flags(data, data / "none", **settings))
    criterion.build_for(model)
    criterion.start(model, EXAMPLES)
    return task, model.train(), criterion.train()


def under_way(data: Path, **flags: Any) -> tuple[Any, Any, Any]:
    """As :func:`build`, all of it moved away from the start, and noise beyond the limit."""
    task, model, criterion = build(data, **flags)
    source = torch.Generator().manual_seed(4)
    posterior = criterion.posterior
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn(parameter.shape, generator=source) * 0.03
    for buffer, centre in ((posterior.log_sigma, -3.5), (posterior.log_prior, -3.0)):
        buffer.copy_(centre + 0.4 * torch.randn(buffer.shape, generator=source))
    criterion.k_values.copy_(K_VALUES)
    tau = 2 * torch.randn(posterior.log_sigma.shape, generator=source)
    assert tau.abs().max() > 2
    criterion.stream = FixedNoise(tau)
    return task, model, criterion


def parts(criterion: Any, flat: torch.Tensor) -> dict[str, torch.Tensor]:
    """A flat vector cut by hand: name -> part in the parameter's shape."""
    layout, start, found = criterion.posterior.layout, 0, {}
    for name, shape in zip(layout.names, layout.shapes, strict=True):
        found[name] = flat[start : start + shape.numel()].reshape(shape)
        start += shape.numel()
    assert start == flat.numel()
    return found


def restated(criterion: Any, model: Any, sample: Any) -> tuple[torch.Tensor, dict, dict, Any]:
    """Loss and gradients of w, p and b, from a copy of the model whose weights are noised."""
    posterior = criterion.posterior
    p, w0 = parts(criterion, posterior.log_sigma), parts(criterion, posterior.centres)
    tau = parts(criterion, criterion.stream.noise.clamp(-2, 2))
    own = dict(model.named_parameters())
    noised = copy.deepcopy(model)
    with torch.no_grad():
        for name in p:
            noised.get_parameter(name).add_(p[name].exp() * tau[name])
    logits, _ = noised(**sample["net_input"], features_only=True, classification_head_name=HEAD)
    target = sample["target"].view(-1)
    task_loss = -sum(
        F.log_softmax(row.float(), -1)[label] for row, label in zip(logits, target, strict=True)
    )
    task_loss.backward()

    rows, kl, tensors = len(target), 0.0, len(p)
    of_weights, of_sigma, of_prior = {}, {}, []
    lam = math.exp(float(posterior.log_prior.mean()))
    k, slope = _k_by_hand(lam)
    weight = rows / (GAMMA * EXAMPLES)
    for name, b in zip(p, posterior.log_prior.tolist(), strict=True):
        diff, inverse = own[name].detach() - w0[name], math.exp(-2 * b)
        ratio = (2 * p[name] - 2 * b).exp()
        kl += 0.5 * float((ratio + inverse * diff**2 - 1 - 2 * p[name] + 2 * b).double().sum())
        gradient = noised.get_parameter(name).grad
        of_weights[name] = gradient + weight * inverse * diff
        of_sigma[name] = gradient * p[name].exp() * tau[name] + weight * (ratio - 1)
        prior = diff.numel() - ratio.sum() - inverse * diff.pow(2).sum()
        of_prior.append(float(weight * prior) + rows * 2 * GAMMA * k * slope * lam / tensors)
    bound = (kl + 10 + 3 * tensors) / (GAMMA * EXAMPLES) + GAMMA * k**2
    return task_loss.detach() + rows * bound, of_weights, of_sigma, torch.tensor(of_prior)


def _k_by_hand(lam: float) -> tuple[float, float]:
    grid, values = prior_grid().tolist(), K_VALUES.tolist()
    piece = max(number for number in range(7) if grid[number] < lam)
    slope = (values[piece + 1] - values[piece]) / (grid[piece + 1] - grid[piece])
    return values[piece] + slope * (lam - grid[piece]), slope


CASES = [
    ({}, 7, False),
    ({}, 1, False),
    ({"pac_train_embeddings": True}, 5, False),
    (BART, 5, False),
    ({**BART, "pac_train_embeddings": True, "share_all_embeddings": True}, 3, False),
    ({}, 7, True),
]


@pytest.mark.parametrize(("flags", "rows", "half"), CASES)
def test_equals_the_equations(
    sentence_data: Path, flags: dict[str, Any], rows: int, half: bool
) -> None:
    task, model, criterion = under_way(sentence_data, **flags)
    sample = first_batch(task, size=rows)
    before = {name: (p, p.detach().clone()) for name, p in model.named_parameters()}
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        wanted, of_weights, of_sigma, of_prior = restated(criterion, model, sample)
        loss, size, _ = criterion(model, sample)
    loss.backward()
    assert size == rows
    rtol, atol = (3e-2, 1e-2) if half else (1e-4, 1e-5)
    torch.testing.assert_close(loss.detach(), wanted, rtol=1e-4, atol=1e-4)
    given = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert given.keys() == of_weights.keys()
    for name, gradient in of_weights.items():
        torch.testing.assert_close(given[name], gradient, rtol=rtol, atol=atol, msg=name)
    sigma_total, prior_total = criterion.gradients.totals
    for name, gradient in parts(criterion, sigma_total).items():
        torch.testing.assert_close(gradient, of_sigma[name], rtol=rtol, atol=atol, msg=name)
    torch.testing.assert_close(prior_total, of_prior, rtol=rtol, atol=1e-3)
    assert criterion.gradients.sentences == rows
    assert dict(model.named_parameters()).keys() == before.keys()
    for name, (parameter, value) in before.items():
        assert model.get_parameter(name) is parameter and torch.equal(parameter, value)


def test_stage_2_is_the_noise_alone(sentence_data: Path) -> None:
    task, model, criterion = under_way(sentence_data)
    criterion.stage = 2
    sample = first_batch(task)
    loss, _, logged = criterion(model, sample)
    loss.backward()
    noised = copy.deepcopy(model)
    noised.zero_grad()
    sigma = parts(criterion, criterion.posterior.log_sigma.exp())
    tau = parts(criterion, criterion.stream.noise.clamp(-2, 2))
    with torch.no_grad():
        for name in sigma:
            noised.get_parameter(name).add_(sigma[name] * tau[name])
    call = {**sample["net_input"], "features_only": True, "classification_head_name": HEAD}
    wanted = F.cross_entropy(noised(**call)[0], sample["target"].view(-1), reduction="sum")
    wanted.backward()
    torch.testing.assert_close(loss, wanted)
    for name in sigma:
        torch.testing.assert_close(
            model.get_parameter(name).grad, noised.get_parameter(name).grad, msg=name
        )
    assert criterion.gradients.totals is None
    assert logged["pac_stage"] == 2 * 8 and "pac_kl" not in logged


def test_validation_is_at_the_mean_weights(sentence_data: Path) -> None:
    task, model, criterion = under_way(sentence_data)
    model.eval(), criterion.eval()
    sample = first_batch(task)
    loss, _, logged = criterion(model, sample)
    call = {**sample["net_input"], "features_only": True, "classification_head_name": HEAD}
    wanted = F.cross_entropy(model(**call)[0], sample["target"].view(-1), reduction="sum")
    torch.testing.assert_close(loss, wanted)
    assert not [name for name in logged if name.startswith("pac")]


def test_what_is_logged_is_per_sentence(sentence_data: Path) -> None:
    task, model, criterion = under_way(sentence_data)
    _, _, logged = criterion(model, first_batch(task, size=4))
    posterior = criterion.posterior
    wanted_k, _ = _k_by_hand(math.exp(float(posterior.log_prior.mean())))
    assert float(logged["pac_k"]) / 4 == pytest.approx(wanted_k, rel=1e-4)
    wanted = float(posterior.log_sigma.exp().mean())
    assert float(logged["pac_sigma"]) / 4 == pytest.approx(wanted, rel=1e-5)
    bits = logged["loss"] - logged["nll_loss"]
    assert float(logged["pac_penalty"]) == pytest.approx(float(bits), rel=1e-4)


def test_the_start(sentence_data: Path) -> None:
    """One value for the encoder's weights, one for the head's, tensor by tensor in the prior."""
    _, model, criterion = build(sentence_data)
    own = {n: p for n, p in model.named_parameters() if n in criterion.posterior.layout.names}
    encoder = torch.cat([p.flatten() for n, p in own.items() if "classification" not in n])
    head = torch.cat([p.flatten() for n, p in own.items() if "classification" in n])
    sizes = {False: 2 * encoder.abs().mean().log(), True: head.abs().mean().log()}
    found = parts(criterion, criterion.posterior.log_sigma)
    for (name, p), b in zip(found.items(), criterion.posterior.log_prior, strict=True):
        wanted = sizes["classification" in name]
        torch.testing.assert_close(p, wanted.expand(p.shape))
        torch.testing.assert_close(b, wanted)
    for name, centre in parts(criterion, criterion.posterior.centres).items():
        assert torch.equal(centre, own[name])


def test_parameters_that_nothing_reads_have_no_part(sentence_data: Path) -> None:
    """Neither pre-training's output layer nor the tables, which are frozen by default."""
    for flags, tables in (({}, 0), ({"pac_train_embeddings": True}, 2)):
        _, model, criterion = build(sentence_data, **flags)
        names = set(criterion.posterior.layout.names)
        others = {name for name, _ in model.named_parameters()} - names
        assert "encoder.lm_head.dense.weight" in others
        assert len([name for name in names if "embed" in name and "norm" not in name]) == tables
        frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
        # The output layer shares the table of tokens.
        assert len(frozen) == 2 - tables
        assert not names & set(frozen)


def test_dropout_is_switched_off_and_says_so(
    sentence_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "rxf")
    rates = {"dropout": 0.1, "attention_dropout": 0.2, "pooler_dropout": 0.3}
    task, model, criterion = build(sentence_data, encoder_layerdrop=0.4, **rates)
    lines = [r.getMessage() for r in caplog.records if "pac_tuning" in r.name]
    assert len(lines) == 1 and "rates of 0.1, 0.2, 0.3, 0.4 are set to 0" in lines[0]
    sample = first_batch(task)
    first, second = (criterion.logits(model, sample["net_input"]) for _ in range(2))
    assert torch.equal(first, second)
    caplog.clear()
    build(sentence_data)
    assert not [r for r in caplog.records if "pac_tuning" in r.name]


def test_each_micro_batch_has_noise_of_its_own_and_it_comes_again(sentence_data: Path) -> None:
    task, model, criterion = build(sentence_data)
    sample = first_batch(task)

    def losses(update: int) -> list[float]:
        torch.manual_seed(update)
        return [float(criterion(model, sample)[0]) for _ in range(2)]

    first, other = losses(1), losses(2)
    assert len({*first, *other}) == 4
    assert losses(1) == first


def test_gradients_of_micro_batches_add_up_and_a_skipped_update_drops_them(
    sentence_data: Path,
) -> None:
    task, model, criterion = under_way(sentence_data)
    sample = first_batch(task)

    def backward(times: int, scale: float = 1.0) -> list[torch.Tensor]:
        model.zero_grad()
        for _ in range(times):
            (criterion(model, sample)[0] * scale).backward()
        return [total.clone() for total in criterion.gradients.totals]

    once, thrice = backward(1), backward(3)
    assert criterion.gradients.sentences == 24
    for one, three in zip(once, thrice, strict=True):
        torch.testing.assert_close(three, 3 * one)
    # An overflow: model.grad is gone before the next micro-batch, and nothing else is said.
    for got, one in zip(backward(1, scale=1024.0), once, strict=True):
        assert torch.equal(got, one)
    assert criterion.gradients.sentences == 8


def test_a_batch_that_is_not_to_count_does_not(sentence_data: Path) -> None:
    """fairseq multiplies the loss of a rank's dummy batch by 0."""
    task, model, criterion = under_way(sentence_data)
    loss, _, _ = criterion(model, first_batch(task))
    loss *= 0
    loss.backward()
    assert criterion.gradients.sentences == 0
    assert all(total.eq(0).all() for total in criterion.gradients.totals)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_the_weights_and_the_state(
    sentence_data: Path, dtype: torch.dtype
) -> None:
    """With noise a thousand times the weights, adding and subtracting would leave nothing."""
    task, model, criterion = build(sentence_data)
    model.to(dtype)
    criterion.posterior.log_sigma.fill_(math.log(3.0))
    before = copy.deepcopy(model.state_dict())
    loss, _, _ = criterion(model, first_batch(task))
    (loss * 128).backward()
    assert loss.isfinite() and loss.dtype == torch.float32
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    for total in criterion.gradients.totals:
        assert total.dtype == torch.float32 and total.isfinite().all() and total.any()
    assert all(p.grad.dtype == dtype for p in model.parameters() if p.grad is not None)


def test_the_variances_are_stepped_by_adam(sentence_data: Path) -> None:
    _, _, criterion = build(sentence_data)
    posterior = criterion.posterior
    layout = posterior.layout
    start = [posterior.log_sigma.clone(), posterior.log_prior.clone()]
    split = [layout.encoder_weights, layout.encoder_tensors]
    plain = [
        torch.nn.Parameter(t[part].clone())
        for t, at in zip(start, split, strict=True)
        for part in (slice(0, at), slice(at, None))
    ]
    groups = [{"params": plain[0::2], "lr": 0.1}, {"params": plain[1::2], "lr": 0.5}]
    adam = torch.optim.Adam(groups)
    source = torch.Generator().manual_seed(1)
    for _ in range(3):
        gradients = [torch.randn(t.shape, generator=source) * 1e-7 for t in start]
        posterior.step(*gradients, 0.1, 0.5)
        for gradient, at, pair in zip(gradients, split, (plain[:2], plain[2:]), strict=True):
            pair[0].grad, pair[1].grad = gradient[:at].clone(), gradient[at:].clone()
        adam.step()
    assert layout.encoder_weights < posterior.log_sigma.numel()
    assert posterior.updates == 3
    torch.testing.assert_close(posterior.log_sigma, torch.cat(plain[:2]).detach())
    torch.testing.assert_close(posterior.log_prior, torch.cat(plain[2:]).detach())


def test_the_rate_of_the_head() -> None:
    assert [head_rate(0.5, n) for n in (0, 9, 10, 25)] == pytest.approx([0.5, 0.5, 0.45, 0.405])
    assert head_rate(0.5, 1000) == 0.01
    assert head_rate(0.004, 1000) == 0.004


BAD_FLAGS = [
    ({"pac_gamma": 0}, "--pac-gamma 0.0"),
    ({"pac_gamma": "nan"}, "--pac-gamma nan"),
    ({"pac_stage1_epochs": -1}, "--pac-stage1-epochs -1"),
    ({"pac_variance_lr": -0.1}, "--pac-variance-lr -0.1"),
    ({"pac_head_variance_lr": -0.1}, "--pac-head-variance-lr -0.1"),
    ({"pac_k_models": 0}, "--pac-k-models 0"),
    ({"pac_k_batches": -1}, "--pac-k-batches -1"),
    ({"regression_target": True, "num_classes": 1}, "--regression-target"),
    ({**BART, "checkpoint_activations": True}, "--checkpoint-activations"),
    ({"quant_noise_pq": 0.1}, "--quant-noise-pq"),
]


@pytest.mark.parametrize(("flags", "message"), BAD_FLAGS, ids=lambda value: str(value)[:30])
def test_bad_flags(sentence_data: Path, flags: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        build(sentence_data, **flags)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_without_a_posterior_it_says_so(sentence_data: Path) -> None:
    flags = train_flags(sentence_data, sentence_data, criterion="sentence_prediction_pac")
    _, task, model, criterion = build_from_flags(flags)
    with pytest.raises(RuntimeError, match="call build_for"):
        criterion(model.train(), first_batch(task))
