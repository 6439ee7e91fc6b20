"""The generation criterion against its equation, written out position by position."""

from typing import Any

import pytest
import torch

from rxf.errors import UserError
from rxf.methods.rdrop.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyRDropConfig,
    LabelSmoothedCrossEntropyRDropCriterion,
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
    padded,
    sample_of,
    stock,
)

ADAPTIVE = {"adaptive_softmax_cutoff": "8,14", "adaptive_softmax_factor": 2}


def criterion(sentence_avg: bool = False, **flags: Any) -> Any:
    settings = {"label_smoothing": 0.1, "rdrop_alpha": 0.7, **flags}
    cfg = LabelSmoothedCrossEntropyRDropConfig(**settings)
    cfg.sentence_avg = sentence_avg
    return LabelSmoothedCrossEntropyRDropCriterion(cfg, Task()).train()


def by_the_equation(model: Any, sample: Any, smoothing: float, alpha: float) -> torch.Tensor:
    doubled = {name: torch.cat([v, v]) for name, v in sample["net_input"].items()}
    log_p, log_q = log_probabilities(model, model(**doubled)).chunk(2)
    vocabulary = log_p.size(-1)
    total = torch.zeros(())
    for row, column in sample["target"].ne(PAD).nonzero().tolist():
        one, two = log_p[row, column], log_q[row, column]
        wanted = torch.full((vocabulary,), smoothing / (vocabulary - 1))
        wanted[sample["target"][row, column]] = 1 - smoothing
        total = total - (wanted * one).sum() / 2 - (wanted * two).sum() / 2
        total = total + alpha / 2 * (one.exp() * (one - two)).sum()
        total = total + alpha / 2 * (two.exp() * (two - one)).sum()
    return total


@pytest.mark.parametrize(
    ("arch", "changes"),
    [("bart_base", {}), ("transformer", {}), ("transformer", TIED), ("transformer", ADAPTIVE)],
)
@pytest.mark.parametrize("rows", [1, 4])
def test_equals_the_equation(arch: str, changes: Any, rows: int) -> None:
    model = build(arch, dropout=0.3, **changes).train()
    sample = sample_of(rows)
    ours = criterion(label_smoothing=0.0 if "adaptive_softmax_cutoff" in changes else 0.1)
    torch.manual_seed(9)
    loss, size, logged = ours(model, sample)
    got = gradients(model, loss)
    torch.manual_seed(9)
    wanted = by_the_equation(model, sample, ours.eps, 0.7)
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-5)
    assert size == sample["ntokens"] and logged["symm_kl"] > 1e-3
    assert_close(got, gradients(model, wanted))


def test_padding_is_out_of_the_loss() -> None:
    model, sample = lively("transformer"), sample_of()
    ours = criterion()
    loss, _, logged = ours(model, sample)
    more, _, logged_more = ours(model, padded(sample, 2, 3))
    torch.testing.assert_close(more, loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logged_more["symm_kl"], logged["symm_kl"], rtol=1e-4, atol=1e-6)


def test_sentence_avg_divides_by_sentences() -> None:
    model, sample = lively("transformer"), sample_of()
    tokens, sentences = criterion()(model, sample), criterion(sentence_avg=True)(model, sample)
    torch.testing.assert_close(tokens[0], sentences[0])
    assert (tokens[1], sentences[1]) == (sample["ntokens"], 4)


@pytest.mark.parametrize("kind", ["alpha 0", "validation"])
def test_alpha_0_and_validation_are_the_stock_criterion_bit_for_bit(kind: str) -> None:
    model, sample = lively("transformer", dropout=0.2), sample_of()
    ours = criterion(rdrop_alpha=0.0 if kind == "alpha 0" else 0.7)
    if kind == "validation":
        model.eval()
    forwards: list[int] = []
    model.register_forward_hook(lambda *_: forwards.append(1))
    torch.manual_seed(2)
    loss, size, logged = ours(model, sample)
    torch.manual_seed(2)
    wanted, wanted_size, wanted_logged = stock()(model, sample)
    assert len(forwards) == 2  # one of ours, one of the stock criterion
    assert torch.equal(loss, wanted) and size == wanted_size
    assert logged.keys() == wanted_logged.keys()


def test_rows_without_any_target_do_no_harm() -> None:
    sample = sample_of()
    targets = sample["target"].clone()
    targets[-1] = PAD
    loss, _, _ = criterion()(
        lively("transformer"), collated(sample["net_input"]["src_tokens"], targets)
    )
    assert torch.isfinite(loss)


def test_models_without_a_decoder_are_refused() -> None:
    with pytest.raises(UserError, match="--criterion label_smoothed_cross_entropy_rdrop needs"):
        criterion()(build("roberta", heads=False).train(), sample_of())


def test_an_alpha_below_0_is_refused() -> None:
    with pytest.raises(UserError, match="--rdrop-alpha -0.1"):
        criterion(rdrop_alpha=-0.1)
