"""The criterion: its feature, its weight, and when it is fairseq's own."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fairseq.criterions.sentence_prediction import (
    SentencePredictionConfig,
    SentencePredictionCriterion,
)
from fairseq.logging import metrics

from rxf.errors import UserError
from tests.methods.mmr.test_margin import plain
from tests.support import (
    HEAD,
    STILL,
    build_from_flags,
    first_batch,
    train_flags,
    write_sentence_data,
)

BART = {"arch": "bart_base", "decoder_layers": 1, "decoder_attention_heads": 2}
BART |= {"add_prev_output_tokens": True, "max_source_positions": 64}
MODELS = {"roberta": {}, "bart": BART}


@pytest.fixture(scope="module")
def three_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sentence_data(tmp_path_factory.mktemp("data"), classes=3)


def build(data: Path, **flags: Any) -> tuple[Any, Any, Any]:
    settings = {"criterion": "sentence_prediction_mmr", **STILL, **flags}
    _, task, model, criterion = build_from_flags(train_flags(data, data / "none", **settings))
    return task, model.train(), criterion.train()


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def features_of(model: Any, net_input: dict[str, torch.Tensor]) -> torch.Tensor:
    """The vector of <s>, or for BART of the last </s>, without any head."""
    features, _ = model(**net_input, features_only=True)
    if not hasattr(model, "decoder"):
        return features[:, 0]
    tokens = net_input["src_tokens"]
    ends = [int(row.eq(2).nonzero()[-1]) for row in tokens]
    return torch.stack([features[row, end] for row, end in enumerate(ends)])


def logits_of(model: Any, features: torch.Tensor) -> torch.Tensor:
    """The head written out; without dropout."""
    head = model.classification_heads[HEAD]
    return head.out_proj(torch.tanh(head.dense(features)))


@pytest.mark.parametrize("autocast", [False, True], ids=["fp32", "bf16 autocast"])
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("rows", [1, 8])
def test_equals_the_formula(three_classes: Path, kind: str, rows: int, autocast: bool) -> None:
    task, model, criterion = build(three_classes, mmr_alpha=0.7, **MODELS[kind])
    sample = first_batch(task, size=rows)
    targets = sample["target"].view(-1)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss, size, logged = criterion(model, sample)
        got = gradients(model, loss)
        features = features_of(model, sample["net_input"])
        logits = logits_of(model, features)
        penalty = plain(features, targets)
    cross_entropy = F.cross_entropy(logits.float(), targets, reduction="sum")
    wanted = cross_entropy + 0.7 * rows * penalty
    tolerance = 3e-2 if autocast else 1e-5
    torch.testing.assert_close(loss.double(), wanted, rtol=1e-5, atol=1e-5)
    assert size == rows and float(logged["mmr"]) == pytest.approx(rows * float(penalty), rel=1e-5)
    expected = gradients(model, wanted)
    assert got.keys() == expected.keys()
    # Of each parameter, by the size of all: some gradients are rounding and nothing else.
    size_of_all = torch.cat([gradient.flatten() for gradient in expected.values()]).norm()
    for name, gradient in expected.items():
        apart = (got[name] - gradient).norm() / size_of_all
        assert apart <= tolerance, (name, apart)
    assert (logged["mmr"] > 0) == (rows > 1)


def test_the_penalty_reaches_the_encoder_and_not_the_head(three_classes: Path) -> None:
    found = []
    for alpha in (0.0, 3.0):
        task, model, criterion = build(three_classes, mmr_alpha=alpha)
        found.append(gradients(model, criterion(model, first_batch(task))[0]))
    changed = {n for n, g in found[0].items() if not torch.allclose(found[1][n], g, rtol=1e-3)}
    assert "encoder.sentence_encoder.layers.0.fc1.weight" in changed
    assert not [name for name in changed if name.startswith("classification_heads.")]


def stock(task: Any) -> SentencePredictionCriterion:
    cfg = SentencePredictionConfig(classification_head_name=HEAD)
    return SentencePredictionCriterion(cfg, task).train()


def test_alpha_0_is_the_stock_criterion_bit_for_bit(three_classes: Path) -> None:
    task, model, criterion = build(three_classes, mmr_alpha=0.0, dropout=0.2)
    sample = first_batch(task)
    forwards = []
    model.register_forward_hook(lambda *_: forwards.append(1))
    torch.manual_seed(5)
    loss, _, logged = criterion(model, sample)
    got = gradients(model, loss)
    torch.manual_seed(5)
    wanted, _, _ = stock(task)(model, sample)
    assert len(forwards) == 2  # one of ours, one of the stock criterion
    expected = gradients(model, wanted)
    assert torch.equal(loss, wanted) and "mmr" not in logged
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_training_takes_one_forward_and_leaves_no_hook(three_classes: Path) -> None:
    task, model, criterion = build(three_classes)
    forwards = []
    model.register_forward_hook(lambda *_: forwards.append(1))
    criterion(model, first_batch(task))
    assert len(forwards) == 1
    assert not model.classification_heads[HEAD]._forward_pre_hooks


def test_validation_adds_nothing(three_classes: Path) -> None:
    task, model, criterion = build(three_classes)
    model.eval(), criterion.eval()
    loss, _, logged = criterion(model, first_batch(task))
    assert "mmr" not in logged
    assert torch.equal(loss, stock(task)(model, first_batch(task))[0])


def test_extra_padding_changes_nothing(three_classes: Path) -> None:
    task, model, criterion = build(three_classes)
    sample = first_batch(task)
    loss, _, _ = criterion(model, sample)
    wanted = gradients(model, loss)
    tokens = sample["net_input"]["src_tokens"]
    sample["net_input"]["src_tokens"] = F.pad(tokens, (0, 5), value=1)
    padded, _, _ = criterion(model, sample)
    torch.testing.assert_close(padded, loss, rtol=1e-6, atol=1e-6)
    for name, gradient in gradients(model, padded).items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-5, atol=1e-5, msg=name)


def test_the_log_is_an_average_over_sentences(three_classes: Path) -> None:
    task, model, criterion = build(three_classes)
    outputs = [criterion(model, first_batch(task, size=size))[2] for size in (2, 8)]
    with metrics.aggregate() as logged:
        type(criterion).reduce_metrics(outputs)
    wanted = float(outputs[0]["mmr"] + outputs[1]["mmr"]) / 10
    assert float(logged.get_smoothed_values()["mmr"]) == pytest.approx(wanted, rel=1e-3)


def test_bad_flags(three_classes: Path, tmp_path: Path) -> None:
    for alpha in (-1.0, float("nan")):
        with pytest.raises(UserError, match=f"^--mmr-alpha {alpha}: .* of 0 or more$"):
            build(three_classes, mmr_alpha=alpha)
    with pytest.raises(UserError, match="^--regression-target has no classes .*r3f$"):
        build(write_sentence_data(tmp_path, regression=True))
