"""The criterion against fairseq's own (mended), against its equation, and at its edges."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fairseq.criterions.sentence_prediction import (
    SentencePredictionConfig,
    SentencePredictionCriterion,
)

from rxf.errors import UserError
from tests.released import FixedNoise, hand_embeddings_on, released_class
from tests.support import HEAD, build_from_flags, first_batch, train_flags, write_sentence_data

STILL = {"dropout": 0.0, "attention_dropout": 0.0}


def build(data: Path, **flags: Any) -> tuple[Any, Any, Any]:
    settings = {"criterion": "sentence_prediction_r3f", "eps": 0.1, **STILL, **flags}
    _, task, model, criterion = build_from_flags(train_flags(data, data / "none", **settings))
    return task, model.train(), criterion.train()


def noise_for(sample: dict[str, Any], seed: int = 3, scale: float = 0.2) -> torch.Tensor:
    shape = (*sample["net_input"]["src_tokens"].shape, 16)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_close(got: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert got.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("passes", ["packed", "separate", "recompute"])
@pytest.mark.parametrize("rows", [1, 7, 8])
def test_equals_the_released_criterion(sentence_data: Path, passes: str, rows: int) -> None:
    task, model, ours = build(sentence_data, r3f_passes=passes, r3f_lambda=0.7)
    sample = first_batch(task, size=rows)
    noise = FixedNoise(noise_for(sample))
    ours.branches.stream = noise
    loss, size, logged = ours(model, sample)
    got = gradients(model, loss)

    released = released_class("sentence_prediction_r3f", "SentencePredictionR3F")
    theirs = released(task, 0.1, 0.7, "uniform", HEAD, False)
    theirs.noise_sampler = noise
    hand_embeddings_on(model)
    wanted_loss, wanted_size, wanted_logged = theirs(model, sample)
    torch.testing.assert_close(loss, wanted_loss, rtol=1e-5, atol=1e-5)
    assert size == wanted_size == rows
    assert float(logged["symm_kl"]) == pytest.approx(wanted_logged["symm_kl"], rel=1e-4)
    assert logged["symm_kl"] > 1e-4
    assert_close(got, gradients(model, wanted_loss))


def test_equals_the_equation_on_bart(sentence_data: Path) -> None:
    """Equations (3) and (4) written out on BART, which takes the embeddings from the top."""
    sizes = {"arch": "bart_base", "decoder_layers": 1, "decoder_attention_heads": 2}
    sizes |= {"add_prev_output_tokens": True, "max_source_positions": 64}
    task, model, criterion = build(sentence_data, r3f_lambda=0.5, **sizes)
    sample = first_batch(task, size=5)
    noise = noise_for(sample)
    criterion.branches.stream = FixedNoise(noise)
    loss, _, _ = criterion(model, sample)
    got = gradients(model, loss)

    padding = sample["net_input"]["src_tokens"].eq(1).unsqueeze(-1)
    start = model.encoder.embed_tokens(sample["net_input"]["src_tokens"]).detach()
    call = {"features_only": True, "classification_head_name": HEAD, **sample["net_input"]}
    p, _ = model(**call)
    q, _ = model(**call, token_embeddings=start + noise.masked_fill(padding, 0))
    log_p, log_q = F.log_softmax(p, -1), F.log_softmax(q, -1)
    both = (log_p.exp() * (log_p - log_q)).sum() + (log_q.exp() * (log_q - log_p)).sum()
    wanted = F.cross_entropy(p, sample["target"].view(-1), reduction="sum") + 0.5 * both
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-5)
    assert_close(got, gradients(model, wanted))


def stock(task: Any, regression: bool = False) -> SentencePredictionCriterion:
    cfg = SentencePredictionConfig(classification_head_name=HEAD, regression_target=regression)
    return SentencePredictionCriterion(cfg, task).train()


@pytest.mark.parametrize("regression", [False, True])
def test_lambda_0_is_the_stock_criterion_bit_for_bit(tmp_path: Path, regression: bool) -> None:
    data = write_sentence_data(tmp_path, regression=regression)
    task, model, criterion = build(data, r3f_lambda=0.0, dropout=0.2)
    sample = first_batch(task)
    forwards = []
    model.register_forward_hook(lambda *_: forwards.append(1))
    torch.manual_seed(5)
    loss, size, logged = criterion(model, sample)
    got = gradients(model, loss)
    torch.manual_seed(5)
    wanted, wanted_size, wanted_logged = stock(task, regression)(model, sample)
    assert len(forwards) == 2  # one of ours, one of the stock criterion
    assert torch.equal(loss, wanted) and size == wanted_size
    expected = gradients(model, wanted)
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], expected[name]) for name in expected)
    assert logged["loss"] == wanted_logged["loss"]
    assert logged.get("ncorrect") == wanted_logged.get("ncorrect")


def test_eps_0_gives_no_divergence_and_noise_makes_it_grow(sentence_data: Path) -> None:
    measured = []
    for eps in (0.0, 1e-4, 1e-3, 1e-2):
        task, model, criterion = build(sentence_data, eps=eps)
        measured.append(float(criterion(model, first_batch(task))[2]["symm_kl"]))
    assert measured[0] == pytest.approx(0.0, abs=1e-9)
    assert measured[0] < measured[1] < measured[2] < measured[3]
    assert measured[2] / measured[1] == pytest.approx(100, rel=0.2)  # quadratic in eps


def test_validation_adds_nothing(sentence_data: Path) -> None:
    task, model, criterion = build(sentence_data)
    model.eval(), criterion.eval()
    loss, _, logged = criterion(model, first_batch(task))
    assert "symm_kl" not in logged
    assert torch.equal(loss, stock(task)(model, first_batch(task))[0])


def test_extra_padding_changes_nothing(sentence_data: Path) -> None:
    task, model, criterion = build(sentence_data)
    sample = first_batch(task)
    noise = noise_for(sample)
    criterion.branches.stream = FixedNoise(noise)
    loss, _, _ = criterion(model, sample)
    wanted = gradients(model, loss)
    tokens = sample["net_input"]["src_tokens"]
    sample["net_input"]["src_tokens"] = F.pad(tokens, (0, 5), value=1)
    criterion.branches.stream = FixedNoise(F.pad(noise, (0, 0, 0, 5), value=9.0))
    padded, _, _ = criterion(model, sample)
    torch.testing.assert_close(padded, loss, rtol=1e-6, atol=1e-6)
    assert_close(gradients(model, padded), wanted)


@pytest.mark.parametrize("regression", [False, True])
def test_one_batch_of_8_is_two_of_4(tmp_path: Path, regression: bool) -> None:
    """Losses are sums: what the trainer divides by the number of sentences adds up."""
    task, model, criterion = build(write_sentence_data(tmp_path, regression=regression))
    whole = first_batch(task)
    noise = noise_for(whole)
    criterion.branches.stream = FixedNoise(noise)
    loss, size, _ = criterion(model, whole)
    wanted = gradients(model, loss)

    losses, model_grads, sizes = [], [], []
    for half in (slice(0, 4), slice(4, 8)):
        part = {**whole, "target": whole["target"][half], "ntokens": 0}
        part["net_input"] = {k: v[half] for k, v in whole["net_input"].items()}
        criterion.branches.stream = FixedNoise(noise[half])
        part_loss, part_size, _ = criterion(model, part)
        losses.append(part_loss.detach())
        sizes.append(part_size)
        model_grads.append(gradients(model, part_loss))
    assert sum(sizes) == size
    torch.testing.assert_close(sum(losses), loss.detach(), rtol=1e-5, atol=1e-5)
    assert_close({n: model_grads[0][n] + model_grads[1][n] for n in wanted}, wanted)


@pytest.mark.parametrize("rows", [1, 6])
def test_regression_adds_the_squared_difference(tmp_path: Path, rows: int) -> None:
    task, model, criterion = build(write_sentence_data(tmp_path, regression=True), r3f_lambda=2.0)
    sample = first_batch(task, size=rows)
    noise = noise_for(sample)
    criterion.branches.stream = FixedNoise(noise)
    loss, _, logged = criterion(model, sample)
    got = gradients(model, loss)

    hand_embeddings_on(model)
    start = model.encoder.sentence_encoder.embed_tokens(sample["net_input"]["src_tokens"])
    padding = sample["net_input"]["src_tokens"].eq(1).unsqueeze(-1)
    call = {"features_only": True, "classification_head_name": HEAD, **sample["net_input"]}
    z, _ = model(**call)
    noised, _ = model(**call, token_embeddings=start.detach() + noise.masked_fill(padding, 0))
    target = sample["target"].view(-1, 1).float()
    wanted = (z - target).pow(2).sum() + 2.0 * (z - noised).pow(2).sum()
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-5)
    assert logged["squared_diff"] > 0
    assert_close(got, gradients(model, wanted))


def test_clean_gradient_only(sentence_data: Path) -> None:
    """`--r3f-grad clean`: the noised prediction is a constant."""
    task, model, criterion = build(sentence_data, r3f_grad="clean")
    sample = first_batch(task)
    criterion.branches.stream = FixedNoise(noise_for(sample))
    loss, _, _ = criterion(model, sample)
    got = gradients(model, loss)
    _, both_model, both = build(sentence_data)
    both.branches.stream = criterion.branches.stream
    both_loss, _, _ = both(both_model, sample)
    torch.testing.assert_close(loss, both_loss, rtol=1e-6, atol=1e-6)
    name = "encoder.sentence_encoder.layers.0.fc1.weight"
    assert not torch.allclose(got[name], gradients(both_model, both_loss)[name], rtol=1e-3)


def test_flags_that_need_two_passes_say_so(
    sentence_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "rxf")
    _, _, criterion = build(sentence_data, r3f_share_dropout=True)
    assert criterion.branches.plan.passes == "separate"
    build(sentence_data, r3f_grad="clean", r3f_passes="recompute")
    build(sentence_data, r3f_grad="clean", r3f_passes="separate")
    lines = [r.getMessage() for r in caplog.records if r.name.startswith("rxf.methods.r3f")]
    assert len(lines) == 2
    assert "--r3f-share-dropout needs two passes" in lines[0]
    assert "--r3f-grad clean needs two passes" in lines[1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_says_once_what_is_left_of_the_noise(
    sentence_data: Path, caplog: pytest.LogCaptureFixture, dtype: torch.dtype
) -> None:
    caplog.set_level("WARNING", "rxf")
    task, model, criterion = build(sentence_data, eps=1e-5, dropout=0.1)
    model.to(dtype)
    for _ in range(2):
        loss, _, logged = criterion(model, first_batch(task))
        loss.backward()
        assert loss.isfinite()
        assert 0 < logged["noise_share"] / 8 < 0.9
    lines = [r.getMessage() for r in caplog.records if r.name == "rxf.forward.rounding"]
    assert len(lines) == 1
    assert "--eps 1e-05" in lines[0] and "%" in lines[0]


@pytest.mark.parametrize("passes", ["packed", "separate", "recompute"])
def test_bf16_autocast_stays_finite(sentence_data: Path, passes: str) -> None:
    task, model, criterion = build(sentence_data, dropout=0.1, r3f_passes=passes)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _, logged = criterion(model, first_batch(task))
    assert all(g.isfinite().all() for g in gradients(model, loss).values())
    assert loss.isfinite() and logged["symm_kl"] > 0


BAD_FLAGS = [
    ({"eps": -1.0}, "--eps -1.0"),
    ({"eps": float("nan")}, "--eps nan"),
    ({"r3f_lambda": -0.5}, "--r3f-lambda -0.5"),
    ({"num_classes": 1}, "--num-classes is 1, but label/dict.txt holds 2"),
    ({"regression_target": True}, "--num-classes is 2: pass --num-classes 1"),
    ({"report_pearson_and_spearman": True}, "pass --regression-target too"),
    (
        {"regression_target": True, "num_classes": 1, "report_mcc": True},
        "--report-mcc and --report-acc-and-f1 count classes",
    ),
]


@pytest.mark.parametrize(("flags", "message"), BAD_FLAGS, ids=lambda value: str(value)[:40])
def test_bad_flags(sentence_data: Path, flags: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        build(sentence_data, **flags)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_noise_type_is_refused_by_name(
    sentence_data: Path, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        build(sentence_data, noise_type="laplace")
    assert "--noise-type: invalid choice: 'laplace'" in capsys.readouterr().err


def test_f1_without_a_label_1(tmp_path: Path) -> None:
    data = write_sentence_data(tmp_path, labels=["yes", "no"])
    with pytest.raises(UserError, match="does not hold .it has: yes, no."):
        build(data, report_acc_and_f1=True)


def test_a_label_outside_num_classes(sentence_data: Path) -> None:
    task, model, criterion = build(sentence_data)
    for bad in (2, -1):
        sample = first_batch(task)
        sample["target"][3] = bad
        with pytest.raises(UserError, match=f"a label has index {bad}, outside the 2 of --num"):
            criterion(model, sample)


def test_a_model_without_the_head(sentence_data: Path) -> None:
    task, model, criterion = build(sentence_data)
    del model.classification_heads[HEAD]
    with pytest.raises(UserError, match=f"--classification-head-name {HEAD}: RobertaModel"):
        criterion(model, first_batch(task))


def test_a_split_without_labels(sentence_data: Path) -> None:
    task, model, criterion = build(sentence_data)
    sample = first_batch(task)
    del sample["target"]
    with pytest.raises(UserError, match="this split has no labels"):
        criterion(model, sample)
