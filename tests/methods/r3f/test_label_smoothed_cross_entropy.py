"""The generation criterion against fairseq's own, against its equation, and at its edges."""

import logging
from argparse import Namespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fairseq.logging import metrics

from rxf.errors import UserError
from rxf.methods.r3f.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyR3FConfig,
    LabelSmoothedCrossEntropyR3FCriterion,
)
from tests.forward.models import Task, build
from tests.generation.batches import (
    PAD,
    TIED,
    assert_close,
    collated,
    gradients,
    lively,
    log_probabilities,
    noise_for,
    padded,
    rows_of,
    sample_of,
    stock,
)
from tests.released import FixedNoise, released_class

ARCHES = [
    ("bart_base", {}),
    ("mbart_base", {}),
    ("transformer", {}),
    ("transformer", TIED),
    ("transformer_align", {}),
]


def criterion(sentence_avg: bool = False, **flags: Any) -> LabelSmoothedCrossEntropyR3FCriterion:
    settings = {"eps": 0.1, "label_smoothing": 0.1, "r3f_lambda": 0.7, **flags}
    cfg = LabelSmoothedCrossEntropyR3FConfig(**settings)
    cfg.sentence_avg = sentence_avg
    return LabelSmoothedCrossEntropyR3FCriterion(cfg, Task()).train()


def run(ours: Any, model: Any, sample: Any, noise: Any = None) -> tuple[Any, Any, Any]:
    """Loss, gradients and what was logged, with given noise."""
    if noise is not None:
        ours.branches.stream = FixedNoise(noise)
    loss, _, logged = ours(model, sample)
    return loss, gradients(model, loss), logged


def released(sentence_avg: bool = False) -> Any:
    found = released_class(
        "label_smoothed_cross_entropy_r3f", "LabelSmoothedCrossEntropyR3FCriterion"
    )
    return found(Task(), sentence_avg, 0.1, 0.1, 0.7, "normal")


@pytest.mark.parametrize("passes", ["packed", "separate", "recompute"])
@pytest.mark.parametrize("sentence_avg", [False, True])
@pytest.mark.parametrize(("rows", "padding"), [(1, False), (4, True), (5, True)])
def test_released_is_the_released_criterion(
    passes: str, sentence_avg: bool, rows: int, padding: bool
) -> None:
    model, sample = lively("bart_base"), sample_of(rows, padding=padding)
    noise = noise_for(sample)
    ours = criterion(sentence_avg, r3f_reduction="released", r3f_passes=passes)
    loss, got, logged = run(ours, model, sample, noise)
    theirs = released(sentence_avg)
    # Its noise at padding does nothing, the encoder blanks it: a position less to explain.
    theirs.noise_sampler = FixedNoise(noise)
    wanted, size, wanted_logged = theirs(model, sample)
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-5)
    assert_close(got, gradients(model, wanted))
    assert logged["sample_size"] == size
    # Theirs loses digits: it takes the two directions apart.
    assert float(logged["symm_kl"]) == pytest.approx(wanted_logged["symm_kl"], rel=1e-3)
    assert float(logged["nll_loss"]) == pytest.approx(float(wanted_logged["nll_loss"]), rel=1e-5)
    assert logged["symm_kl"] > 1e-3


def test_sentence_is_released_where_there_is_no_padding_and_less_where_there_is() -> None:
    model = lively("bart_base")
    for padding in (False, True):
        sample = sample_of(padding=padding)
        noise = noise_for(sample)
        sentence, got, _ = run(criterion(), model, sample, noise)
        counted, wanted, _ = run(criterion(r3f_reduction="released"), model, sample, noise)
        if padding:
            assert sentence < counted - 1e-3
        else:
            torch.testing.assert_close(sentence, counted)
            assert_close(got, wanted)


@pytest.mark.parametrize("reduction", ["sentence", "token"])
def test_more_padding_changes_nothing(reduction: str) -> None:
    model, sample = lively("bart_base"), sample_of()
    noise = noise_for(sample)
    ours = criterion(r3f_reduction=reduction)
    loss, got, logged = run(ours, model, sample, noise)
    wider = F.pad(noise, (0, 0, 0, 3), value=9.0)
    again, wanted, logged_again = run(ours, model, padded(sample, 3, 5), wider)
    torch.testing.assert_close(loss, again, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logged["symm_kl"], logged_again["symm_kl"], rtol=1e-4, atol=1e-6)
    assert_close(got, wanted)


def by_the_equation(
    model: Any, sample: Any, noise: torch.Tensor, scale: float, prefix: int = 0
) -> torch.Tensor:
    """The loss written out, the encoder called by hand on noised embeddings."""
    net_input = sample["net_input"]
    sources, previous = net_input["src_tokens"], net_input["prev_output_tokens"]
    lengths = net_input["src_lengths"]
    table = model.encoder.embed_tokens(sources)
    noised = table + noise.masked_fill(sources.eq(PAD).unsqueeze(-1), 0.0)
    branches = []
    for embeddings in (table, noised):
        memory = model.encoder(sources, src_lengths=lengths, token_embeddings=embeddings)
        outputs = model.decoder(previous, encoder_out=memory)
        branches.append(log_probabilities(model, outputs))
    log_p, log_q = branches
    targets = sample["target"].clone()
    targets[:, :prefix] = PAD
    kept = targets.ne(PAD)
    vocabulary = log_p.size(-1)
    smooth = torch.full_like(log_p, 0.1 / (vocabulary - 1))
    smooth.scatter_(-1, targets.unsqueeze(-1), 0.9)
    cross_entropy = -(smooth * log_p).sum(-1)[kept].sum()
    both = log_p.exp() * (log_p - log_q) + log_q.exp() * (log_q - log_p)
    return cross_entropy + scale * both.sum(-1)[kept].sum()


@pytest.mark.parametrize(("arch", "changes"), ARCHES)
@pytest.mark.parametrize("passes", ["packed", "recompute"])
def test_every_family_equals_the_equation(arch: str, changes: Any, passes: str) -> None:
    """mBART and transformers scale embeddings: the noise is that of the table's units."""
    model, sample = build(arch, **changes).train(), sample_of()
    assert model.encoder.embed_scale == (1.0 if arch == "bart_base" else 4.0)
    noise = noise_for(sample, scale=0.1)
    loss, got, logged = run(criterion(r3f_passes=passes), model, sample, noise)
    sentences, tokens = sample["target"].size(0), sample["ntokens"]
    wanted = by_the_equation(model, sample, noise, 0.7 * tokens / sentences)
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-5)
    assert_close(got, gradients(model, wanted))
    assert torch.equal(logged["loss"], loss.detach())


@pytest.mark.parametrize("sentence_avg", [False, True])
def test_token_weighs_positions_as_the_cross_entropy_does(sentence_avg: bool) -> None:
    model, sample = lively("bart_base"), sample_of()
    noise = noise_for(sample)
    loss, got, logged = run(criterion(sentence_avg, r3f_reduction="token"), model, sample, noise)
    wanted = by_the_equation(model, sample, noise, 0.7)
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-5)
    assert_close(got, gradients(model, wanted))


@pytest.mark.parametrize(
    ("reduction", "sentence_avg", "invariant"),
    [
        ("token", False, True),
        ("token", True, True),
        ("sentence", True, True),
        ("sentence", False, False),
        ("released", True, False),  # its padding depends on the batch
    ],
)
def test_what_an_update_of_several_batches_changes(
    reduction: str, sentence_avg: bool, invariant: bool
) -> None:
    model, whole = lively("bart_base"), sample_of(rows=6)
    noise = noise_for(whole)
    ours = criterion(sentence_avg, r3f_reduction=reduction)
    loss, got, _ = run(ours, model, whole, noise)
    parts = []
    for rows in (slice(0, 2), slice(2, 6)):
        part = rows_of(whole, rows)
        if reduction == "released":
            # What a collater would not have added.
            longest = int(part["target"].ne(PAD).sum(1).max())
            sources = part["net_input"]["src_tokens"]
            part = collated(sources, part["target"][:, :longest])
        parts.append(run(ours, model, part, noise[rows]))
    total = parts[0][0] + parts[1][0]
    assert torch.isclose(loss, total, rtol=1e-5) == invariant
    if invariant:
        assert_close(got, {name: parts[0][1][name] + parts[1][1][name] for name in got})


def test_a_padded_batch_of_released_still_splits_with_sentence_avg() -> None:
    """As the docs say: invariant with --sentence-avg, where the padding is the same."""
    model, whole = lively("bart_base"), sample_of(rows=6)
    noise = noise_for(whole)
    ours = criterion(True, r3f_reduction="released")
    loss, _, _ = run(ours, model, whole, noise)
    halves = [slice(0, 2), slice(2, 6)]
    total = sum(run(ours, model, rows_of(whole, rows), noise[rows])[0] for rows in halves)
    torch.testing.assert_close(loss, total, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("passes", ["packed", "separate"])
def test_the_prefix_is_left_out_of_both(passes: str) -> None:
    model, sample = lively("bart_base"), sample_of()
    noise = noise_for(sample)
    flags = {"ignore_prefix_size": 2, "r3f_reduction": "token", "r3f_passes": passes}
    loss, got, logged = run(criterion(**flags), model, sample, noise)
    wanted = by_the_equation(model, sample, noise, 0.7, prefix=2)
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-5)
    assert_close(got, gradients(model, wanted))
    _, size, stock_logged = stock(ignore_prefix_size=2)(model, sample)
    assert logged["sample_size"] == size
    torch.testing.assert_close(logged["nll_loss"], stock_logged["nll_loss"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize("arch_flags", [{}, {"adaptive_softmax_cutoff": "10"}])
def test_accuracy_is_counted_as_in_the_stock_criterion(prefix: int, arch_flags: Any) -> None:
    arch = "transformer" if arch_flags else "bart_base"
    model, sample = build(arch, **arch_flags).train(), sample_of(rows=8)
    flags = {"report_accuracy": True, "ignore_prefix_size": prefix}
    _, _, logged = criterion(**flags)(model, sample)
    _, _, wanted = stock(**flags)(model, sample)
    assert int(logged["n_correct"]) == wanted["n_correct"]
    assert int(logged["total"]) == wanted["total"] > 0


@pytest.mark.parametrize("kind", ["lambda 0", "validation"])
def test_lambda_0_and_validation_are_the_stock_criterion_bit_for_bit(kind: str) -> None:
    model, sample = build("bart_base", dropout=0.2), sample_of()
    ours = criterion(r3f_lambda=0.0 if kind == "lambda 0" else 0.7)
    model.train(kind == "lambda 0")
    torch.manual_seed(8)
    loss, got, logged = run(ours, model, sample)
    torch.manual_seed(8)
    wanted, _, wanted_logged = stock()(model, sample)
    assert torch.equal(loss, wanted)
    expected = gradients(model, wanted)
    assert all(torch.equal(got[name], expected[name]) for name in expected)
    assert logged.keys() == wanted_logged.keys()


def test_eps_0_gives_no_divergence_and_noise_makes_it_grow() -> None:
    model, sample = build("transformer").train(), sample_of()
    measured = [
        float(criterion(eps=eps)(model, sample)[2]["symm_kl"]) for eps in (0.0, 1e-4, 1e-3, 1e-2)
    ]
    assert measured[0] == pytest.approx(0.0, abs=1e-9)
    assert measured[0] < measured[1] < measured[2] < measured[3]
    assert measured[2] / measured[1] == pytest.approx(100, rel=0.3)


def test_normal_noise_by_default_and_embeddings_keep_their_gradient() -> None:
    cfg = LabelSmoothedCrossEntropyR3FConfig()
    assert (cfg.noise_type, cfg.r3f_reduction, cfg.label_smoothing) == ("normal", "sentence", 0.0)
    assert (cfg.eps, cfg.r3f_lambda) == (1e-5, 1.0)


def test_no_gradient_through_the_noised_branch() -> None:
    """`--r3f-grad clean`: the noised distribution is a fixed target."""
    model, sample = lively("bart_base"), sample_of()
    noise = noise_for(sample)
    loss, got, _ = run(criterion(r3f_grad="clean", r3f_reduction="token"), model, sample, noise)
    full, both, _ = run(criterion(r3f_reduction="token"), model, sample, noise)
    torch.testing.assert_close(loss, full)
    constant = by_the_equation_with_constant_target(model, sample, noise)
    assert_close(got, gradients(model, constant))
    assert not torch.allclose(
        got["encoder.layers.0.fc1.weight"], both["encoder.layers.0.fc1.weight"]
    )


def by_the_equation_with_constant_target(model: Any, sample: Any, noise: Any) -> torch.Tensor:
    with torch.no_grad():
        sources = sample["net_input"]["src_tokens"]
        embeddings = model.encoder.embed_tokens(sources)
        embeddings = embeddings + noise.masked_fill(sources.eq(PAD).unsqueeze(-1), 0.0)
        log_q = F.log_softmax(model(**sample["net_input"], token_embeddings=embeddings)[0], -1)
    log_p = F.log_softmax(model(**sample["net_input"])[0], -1)
    kept = sample["target"].ne(PAD)
    both = log_p.exp() * (log_p - log_q) + log_q.exp() * (log_q - log_p)
    return stock()(model, sample)[0] + 0.7 * both.sum(-1)[kept].sum()


SLOW_OUTPUTS = [
    {"adaptive_softmax_cutoff": "10,15"},
    {"adaptive_softmax_cutoff": "10", "adaptive_softmax_dropout": 0.0, "decoder_layers": 1},
]


@pytest.mark.parametrize("changes", SLOW_OUTPUTS)
@pytest.mark.parametrize("passes", ["packed", "recompute"])
def test_adaptive_softmax_falls_back_to_the_equation(
    changes: Any, passes: str, caplog: pytest.LogCaptureFixture
) -> None:
    model, sample = build("transformer", **changes).train(), sample_of()
    noise = noise_for(sample, scale=0.1)
    ours = criterion(r3f_reduction="token", r3f_passes=passes)
    with caplog.at_level(logging.INFO):
        loss, got, _ = run(ours, model, sample, noise)
        ours(model, sample)
    wanted = by_the_equation(model, sample, noise, 0.7)
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-5)
    assert_close(got, gradients(model, wanted))
    assert [r for r in caplog.messages if "plain projection" in r] == [
        "the output layer of TransformerModel is more than a plain projection: the loss takes "
        "whole log-probabilities of both branches, with more memory and time"
    ]


KINDS = ["hook before", "hook behind", "bias", "subclass", "parametrised", "own output_layer"]


@pytest.mark.parametrize("kind", KINDS)
def test_output_layers_that_are_more_than_a_projection_are_noticed(kind: str) -> None:
    model, sample = build("transformer").train(), sample_of()
    decoder = model.decoder
    layer = decoder.output_projection
    if kind == "hook before":
        layer.register_forward_pre_hook(lambda module, given: (given[0] * 2,))
    elif kind == "hook behind":
        layer.register_forward_hook(lambda module, given, logits: logits * 2)
    elif kind == "bias":
        layer.bias = torch.nn.Parameter(torch.randn(layer.out_features))
    elif kind == "parametrised":
        torch.nn.utils.parametrizations.weight_norm(layer)
    elif kind == "subclass":
        layer.__class__ = type("Scaled", (torch.nn.Linear,), {"forward": _scaled_forward})
    else:
        decoder.__class__ = type("Own", (type(decoder),), {"output_layer": _own_output_layer})
    noise = noise_for(sample, scale=0.1)
    loss, got, _ = run(criterion(r3f_reduction="token"), model, sample, noise)
    wanted = by_the_equation(model, sample, noise, 0.7)
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-5)
    assert_close(got, gradients(model, wanted))


def _scaled_forward(self: Any, features: torch.Tensor) -> torch.Tensor:
    return 3 * F.linear(features, self.weight)


def _own_output_layer(self: Any, features: torch.Tensor) -> torch.Tensor:
    return self.output_projection(features).tanh()


def test_grad_clean_with_adaptive_softmax_keeps_the_noised_branch_out() -> None:
    model = build("transformer", adaptive_softmax_cutoff="10").train()
    sample = sample_of()
    noise = noise_for(sample, scale=0.1)
    ours = criterion(r3f_grad="clean", r3f_reduction="token")
    _, got, _ = run(ours, model, sample, noise)
    _, both, _ = run(criterion(r3f_reduction="token"), model, sample, noise)
    name = "decoder.adaptive_softmax.head.weight"
    assert not torch.allclose(got[name], both[name])


def test_metrics_are_in_the_units_that_enter_the_loss() -> None:
    model, sample = lively("bart_base"), sample_of()
    for reduction, sentence_avg in (("sentence", False), ("token", False), ("released", True)):
        ours = criterion(sentence_avg, r3f_reduction=reduction, report_accuracy=True)
        outputs = [ours(model, sample)[2], ours(model, rows_of(sample, slice(0, 2)))[2]]
        with metrics.aggregate() as logged:
            ours.reduce_metrics(outputs)
        values = logged.get_smoothed_values()
        size = sum(output["sample_size"] for output in outputs)
        plain = sum(float(o["loss"] - 0.7 * o["symm_kl"]) for o in outputs) / size
        nats = values["loss"] * 0.6931471805599453
        assert nats == pytest.approx(plain + 0.7 * float(values["symm_kl"]), abs=1e-3)
        assert 0 < values["accuracy"] <= 100 or values["accuracy"] == 0


def test_rows_without_any_target_do_no_harm() -> None:
    model, sample = lively("bart_base"), sample_of(rows=3)
    sample["target"][1] = PAD
    sample["ntokens"] = int(sample["target"].ne(PAD).sum())
    loss, got, _ = run(criterion(), model, sample)
    assert loss.isfinite() and all(gradient.isfinite().all() for gradient in got.values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near_and_says_what_is_left_of_the_noise(dtype: torch.dtype) -> None:
    model, sample = lively("bart_base"), sample_of()
    noise = noise_for(sample)
    loss, got, logged = run(criterion(), model, sample, noise)
    half = lively("bart_base").to(dtype)
    half_loss, half_got, half_logged = run(criterion(), half, sample, noise)
    torch.testing.assert_close(half_loss, loss, rtol=2e-2, atol=0)
    assert all(gradient.isfinite().all() for gradient in half_got.values())
    name = "decoder.layers.0.fc1.weight"
    cosine = F.cosine_similarity(got[name].flatten(), half_got[name].float().flatten(), dim=0)
    assert cosine > 0.99
    assert "noise_share" in half_logged and "noise_share" not in logged


def test_autocast_is_near() -> None:
    model, sample = lively("bart_base"), sample_of()
    noise = noise_for(sample)
    loss, got, _ = run(criterion(), model, sample, noise)
    with torch.autocast("cpu", torch.bfloat16):
        half_loss, half_got, _ = run(criterion(), model, sample, noise)
    torch.testing.assert_close(half_loss, loss, rtol=2e-2, atol=0)
    name = "encoder.embed_tokens.weight"
    assert F.cosine_similarity(got[name].flatten(), half_got[name].flatten(), dim=0) > 0.99


def test_r4f_has_no_head_here() -> None:
    model = build("bart_base", heads=False, spectral_norm_classification_head=True).train()
    with pytest.raises(UserError, match="--spectral-norm-classification-head.*leave it out"):
        criterion()(model, sample_of())


@pytest.mark.parametrize(
    ("arch", "message"),
    [("roberta", "RobertaModel is not"), ("nonautoregressive_transformer", "wants tgt_tokens")],
)
def test_models_that_do_not_write_word_by_word_are_refused(arch: str, message: str) -> None:
    changes = {"apply_bert_init": False, "src_embedding_copy": False} if "non" in arch else {}
    model = build(arch, heads=False, **changes).train()
    with pytest.raises(UserError, match=f"--criterion label_smoothed.*{message}"):
        criterion()(model, sample_of())


def test_sharded_weights_are_refused() -> None:
    class FullyShardedDataParallel(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = build("bart_base")

    with pytest.raises(UserError, match="--ddp-backend fully_sharded"):
        criterion()(FullyShardedDataParallel().train(), sample_of())


@pytest.mark.parametrize(
    ("flag", "value"),
    [("label_smoothing", 1.0), ("label_smoothing", -0.1), ("r3f_reduction", "mean")],
)
def test_settings_that_mean_nothing_are_refused(flag: str, value: Any) -> None:
    with pytest.raises(UserError, match="--" + flag.replace("_", "-")):
        criterion(**{flag: value})


def test_namespace_models_without_args_are_fine() -> None:
    model = build("transformer").train()
    model.args = Namespace()
    assert criterion()(model, sample_of())[0].isfinite()
