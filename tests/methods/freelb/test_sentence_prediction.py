"""The criterion against the algorithm written out, and at its edges."""

import contextlib
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rxf.errors import UserError
from rxf.methods.freelb.sentence_prediction import SentencePredictionFreeLBConfig
from tests.methods.freelb.restated import freelb, start_of
from tests.released import FixedNoise, hand_embeddings_on
from tests.support import STILL, build_from_flags, first_batch, train_flags, write_sentence_data

# Large enough for the ball to matter: embeddings of a sentence have a norm of about 0.3 here.
CLIMB = {"freelb_adv_lr": 0.5, "freelb_init_mag": 0.4, "freelb_max_norm": 0.6}
BART = {"arch": "bart_base", "decoder_layers": 1, "decoder_attention_heads": 2}
BART |= {"add_prev_output_tokens": True, "max_source_positions": 64}


def build(data: Path, **flags: Any) -> tuple[Any, Any, Any]:
    settings = {"criterion": "sentence_prediction_freelb", **STILL, **CLIMB, **flags}
    _, task, model, criterion = build_from_flags(train_flags(data, data / "none", **settings))
    return task, model.train(), criterion.train()


def numbers_for(sample: dict[str, Any], seed: int = 3) -> Tensor:
    shape = (*sample["net_input"]["src_tokens"].shape, 16)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


class Optimizer:
    """As much of one as a training step takes."""

    def backward(self, loss: Tensor) -> None:
        loss.backward()


def step(criterion: Any, model: Any, sample: Any, ignore_grad: bool = False) -> tuple[Any, ...]:
    """Loss, sample size, logging output, and every parameter's gradient."""
    model.zero_grad()
    result = criterion.train_step(sample, model, Optimizer(), 0, ignore_grad)
    return (*result, gradients_of(model))


def gradients_of(model: Any) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def plain_gradients(criterion: Any, model: Any, sample: Any) -> dict[str, Tensor]:
    """Of one pass as the base class makes it."""
    model.zero_grad()
    super(type(criterion), criterion).forward(model, sample)[0].backward()
    return gradients_of(model)


def assert_close(
    got: dict[str, Tensor], wanted: dict[str, Tensor], rtol: float = 1e-5, atol: float = 1e-5
) -> None:
    assert got.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(got[name], gradient, rtol=rtol, atol=atol, msg=name)


@contextlib.contextmanager
def precision(name: str) -> Any:
    """fp32, or bf16 by autocast; another precision than the default ends with the context."""
    with torch.autocast("cpu", torch.bfloat16, enabled=name == "bf16"):
        yield


def both(
    data: Path, rows: int, kind: str = "fp32", still: bool = True, **flags: Any
) -> tuple[Any, ...]:
    """What the criterion makes of a batch, and what the algorithm says."""
    task, model, criterion = build(data, **flags)
    sample = first_batch(task, size=rows)
    numbers = numbers_for(sample)
    criterion.stream = FixedNoise(numbers)
    torch.manual_seed(11)
    state = torch.get_rng_state()
    with precision(kind):
        got = step(criterion, model, sample)
    after = torch.get_rng_state()

    if "arch" not in flags:
        hand_embeddings_on(model)
    cfg = criterion.cfg
    norm = str(cfg.freelb_norm)
    start = start_of(sample, numbers, cfg.freelb_init_mag, norm)
    settings = (cfg.freelb_steps, cfg.freelb_adv_lr, cfg.freelb_max_norm, norm)
    with precision(kind):
        wanted = freelb(model, sample, start, *settings, None if still else state)
    if not still:
        assert torch.equal(after, torch.get_rng_state())  # as far on as after one pass
    return got, wanted


def assert_same(got: Any, wanted: Any, rows: int, kind: str = "fp32", norm: str = "l2") -> None:
    loss, size, logged, gradients = got
    losses, wanted_gradients, delta = wanted
    # In bf16 the last bit of a perturbation decides which way an embedding is rounded.
    tolerance = 2e-5 if kind == "fp32" else 2e-2
    mean = torch.stack(losses).mean()
    assert size == rows
    for value in (loss, logged["loss"], logged["nll_loss"]):
        torch.testing.assert_close(value, mean, rtol=tolerance, atol=1e-5)
    sizes = delta.flatten(1).norm(float("inf") if norm == "linf" else 2, dim=1)
    torch.testing.assert_close(logged["delta_norm"], sizes.sum(), rtol=tolerance, atol=1e-5)
    assert gradients.keys() == wanted_gradients.keys()
    for name, gradient in wanted_gradients.items():
        assert (gradients[name] - gradient).norm() <= tolerance * gradient.norm() + 1e-5, name


@pytest.mark.parametrize("kind", ["fp32", "bf16"])
@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("rows", [1, 7, 8])
def test_equals_the_algorithm(sentence_data: Path, kind: str, steps: int, rows: int) -> None:
    got, wanted = both(sentence_data, rows, kind, freelb_steps=steps)
    assert_same(got, wanted, rows, kind)
    losses, _, delta = wanted
    if steps == 4:
        assert losses[-1] > losses[0] * 1.01  # it does climb, and the ball does hold it
        torch.testing.assert_close(delta.flatten(1).norm(dim=1), torch.full((rows,), 0.6))


@pytest.mark.parametrize("kind", ["fp32", "bf16"])
def test_equals_the_algorithm_in_linf(sentence_data: Path, kind: str) -> None:
    sizes = {"freelb_adv_lr": 0.05, "freelb_init_mag": 0.02, "freelb_max_norm": 0.07}
    got, wanted = both(sentence_data, 7, kind, freelb_norm="linf", **sizes)
    assert_same(got, wanted, 7, kind, "linf")
    assert float(wanted[2].abs().max()) == pytest.approx(0.07)


@pytest.mark.parametrize("kind", ["fp32", "bf16"])
@pytest.mark.parametrize("rows", [1, 6])
def test_equals_the_algorithm_in_regression(tmp_path: Path, kind: str, rows: int) -> None:
    got, wanted = both(write_sentence_data(tmp_path, regression=True), rows, kind)
    assert_same(got, wanted, rows, kind)


def test_equals_the_algorithm_on_bart(sentence_data: Path) -> None:
    got, wanted = both(sentence_data, 5, **BART)
    assert_same(got, wanted, 5)


@pytest.mark.parametrize(
    "drop", [{"dropout": 0.3, "attention_dropout": 0.2}, {"encoder_layerdrop": 0.5}], ids=str
)
def test_the_passes_share_their_dropout(sentence_data: Path, drop: dict[str, float]) -> None:
    got, wanted = both(sentence_data, 8, still=False, **drop)
    assert_same(got, wanted, 8)


def test_without_perturbation_the_passes_are_one(sentence_data: Path) -> None:
    none = {"freelb_adv_lr": 0.0, "freelb_init_mag": 0.0}
    task, model, criterion = build(sentence_data, dropout=0.3, freelb_steps=2, **none)
    sample = first_batch(task)
    torch.manual_seed(5)
    got = step(criterion, model, sample)[-1]
    torch.manual_seed(5)
    assert_close(got, plain_gradients(criterion, model, sample), rtol=1e-6, atol=1e-7)


def test_one_clean_pass_is_the_plain_step_bit_for_bit(sentence_data: Path) -> None:
    task, model, criterion = build(sentence_data, dropout=0.3, freelb_steps=1, freelb_init_mag=0.0)
    sample = first_batch(task)
    torch.manual_seed(5)
    loss, _, logged, got = step(criterion, model, sample)
    torch.manual_seed(5)
    wanted = plain_gradients(criterion, model, sample)
    assert all(torch.equal(got[name], wanted[name]) for name in wanted)
    assert loss == logged["loss"] == logged["nll_loss"] and "delta_norm" not in logged
    assert criterion(model, sample)[0].requires_grad  # and needs no training step


def test_no_ball(sentence_data: Path) -> None:
    got, _ = both(sentence_data, 4, freelb_max_norm=0.0)
    assert got[2]["delta_norm"] / 4 > 0.7


@pytest.mark.parametrize("regression", [False, True])
def test_one_batch_of_8_is_two_of_4(tmp_path: Path, regression: bool) -> None:
    task, model, criterion = build(write_sentence_data(tmp_path, regression=regression))
    whole = first_batch(task)
    numbers = numbers_for(whole)
    criterion.stream = FixedNoise(numbers)
    loss, _, logged, wanted = step(criterion, model, whole)

    parts = []
    for half in (slice(0, 4), slice(4, 8)):
        part = {**whole, "target": whole["target"][half], "ntokens": 0}
        part["net_input"] = {k: v[half] for k, v in whole["net_input"].items()}
        criterion.stream = FixedNoise(numbers[half])
        parts.append(step(criterion, model, part))
    torch.testing.assert_close(parts[0][0] + parts[1][0], loss, rtol=1e-5, atol=1e-5)
    norms = parts[0][2]["delta_norm"] + parts[1][2]["delta_norm"]
    torch.testing.assert_close(norms, logged["delta_norm"], rtol=1e-5, atol=1e-5)
    added = {name: parts[0][3][name] + parts[1][3][name] for name in wanted}
    assert_close(added, wanted, rtol=1e-4, atol=1e-4)


def test_extra_padding_changes_nothing(sentence_data: Path) -> None:
    task, model, criterion = build(sentence_data)
    sample = first_batch(task)
    numbers = numbers_for(sample)
    criterion.stream = FixedNoise(numbers)
    loss, _, _, wanted = step(criterion, model, sample)
    tokens = sample["net_input"]["src_tokens"]
    sample["net_input"]["src_tokens"] = F.pad(tokens, (0, 5), value=1)
    criterion.stream = FixedNoise(F.pad(numbers, (0, 0, 0, 5), value=9.0))
    padded, _, _, got = step(criterion, model, sample)
    torch.testing.assert_close(padded, loss, rtol=1e-6, atol=1e-6)
    assert_close(got, wanted)


def test_the_start_is_drawn_apart_from_dropout(sentence_data: Path) -> None:
    """Each micro-batch another, each seed another, and again the same."""
    task, model, criterion = build(sentence_data, freelb_steps=1)
    sample = first_batch(task)
    losses = []
    for seed in (5, 6, 5):
        torch.manual_seed(seed)
        losses.append([float(step(criterion, model, sample)[0]) for _ in range(2)])
    assert losses[0] == losses[2]
    assert len({*losses[0], *losses[1]}) == 4


def test_validation_is_plain(sentence_data: Path) -> None:
    task, model, criterion = build(sentence_data)
    model.eval(), criterion.eval()
    sample = first_batch(task)
    loss, _, logged = criterion(model, sample)
    assert torch.equal(loss, super(type(criterion), criterion).forward(model, sample)[0])
    assert "delta_norm" not in logged


def test_a_dummy_batch_moves_nothing(sentence_data: Path) -> None:
    task, model, criterion = build(sentence_data)
    loss, _, logged, got = step(criterion, model, first_batch(task), ignore_grad=True)
    assert loss == 0 and logged["delta_norm"].isfinite()
    assert got and all(not gradient.any() for gradient in got.values())


class Shard(nn.Module):
    """Stands in for DDP: notes which passes exchange their gradients."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.local = False
        self.passes: list[bool] = []

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.passes.append(self.local)
        return self.module(*args, **kwargs)

    @contextlib.contextmanager
    def no_sync(self) -> Any:
        self.local = True
        yield
        self.local = False


def test_the_last_pass_alone_exchanges_gradients(sentence_data: Path) -> None:
    task, model, criterion = build(sentence_data)
    shard, local_backward = Shard(model), []
    optimizer = Optimizer()
    optimizer.backward = lambda loss: (loss.backward(), local_backward.append(shard.local))  # type: ignore[method-assign]
    criterion.train_step(first_batch(task), shard, optimizer, 0, False)
    assert shard.passes == local_backward == [True, True, False]


class Saved:
    """A tensor kept for the backward pass."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def peak_of_saved_tensors(data: Path, **flags: Any) -> int:
    """The most bytes that were kept for a backward pass at one time."""
    task, model, criterion = build(data, **flags)
    sample = first_batch(task)
    alive, peak = 0, 0

    def forget(size: int) -> None:
        nonlocal alive
        alive -= size

    def keep(tensor: Tensor) -> Saved:
        nonlocal alive, peak
        saved, size = Saved(tensor), tensor.numel() * tensor.element_size()
        weakref.finalize(saved, forget, size)
        alive += size
        peak = max(peak, alive)
        return saved

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved.tensor):
        step(criterion, model, sample)
    assert alive == 0
    return peak


def test_the_memory_is_that_of_one_pass(sentence_data: Path) -> None:
    one = peak_of_saved_tensors(sentence_data, freelb_steps=1, freelb_init_mag=0.0)
    four = peak_of_saved_tensors(sentence_data, freelb_steps=4)
    assert one > 0
    assert four < one * 1.05


# ------------------------------------------------------------------------- bad input


def test_training_without_the_training_step(sentence_data: Path) -> None:
    task, model, criterion = build(sentence_data)
    with pytest.raises(UserError, match="training step: use --task sentence_prediction"):
        criterion(model, first_batch(task))


@pytest.mark.parametrize("steps", [1, 2])
def test_quantisation_noise(sentence_data: Path, steps: int) -> None:
    noise = {"quant_noise_pq": 0.1, "quant_noise_pq_block_size": 4}
    task, model, criterion = build(sentence_data, freelb_steps=steps, **noise)
    refused: Any = contextlib.nullcontext()
    if steps > 1:
        refused = pytest.raises(UserError, match="--quant-noise-pq.*--freelb-steps 1")
    with refused:
        step(criterion, model, first_batch(task))


BAD = [
    ({"freelb_steps": 0}, "--freelb-steps 0: must be a finite number of 1 or more"),
    ({"freelb_adv_lr": -0.1}, "--freelb-adv-lr -0.1: must be a finite number of 0 or more"),
    ({"freelb_init_mag": "nan"}, "--freelb-init-mag nan"),
    ({"freelb_max_norm": "inf"}, "--freelb-max-norm inf"),
]


@pytest.mark.parametrize(("flags", "message"), BAD, ids=lambda value: str(value)[:30])
def test_bad_settings(sentence_data: Path, flags: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(sentence_data, **flags)


def test_a_norm_that_is_none(sentence_data: Path) -> None:
    """As YAML hands it over; the command line has choices."""
    task, _, criterion = build(sentence_data)
    cfg = SentencePredictionFreeLBConfig(freelb_norm="l1")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="--freelb-norm l1: unknown; choose l2 or linf"):
        type(criterion)(cfg, task)
