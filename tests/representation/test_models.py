"""The loss against fairseq's own criterion, and what is read off models."""

import math
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from fairseq import utils
from fairseq.criterions.masked_lm import MaskedLmConfig, MaskedLmLoss
from torch import Tensor, nn

import rxf  # noqa: F401
from rxf.errors import UserError
from rxf.representation import (
    MaskedBits,
    encoder,
    encoder_components,
    forgotten,
    layer_states,
    masked_bits,
    masked_lm_head,
    measure,
    named_below,
)
from rxf.representation.text import Batch, fingerprint, make_batches, pick, wrapped
from tests.forward import models
from tests.forward.models import Task, build
from tests.representation import plain

PAD = 1


def dictionary() -> Any:
    words = Task().dictionary
    words.add_symbol("<mask>")
    return words


def rows(count: int = 12, seed: int = 3) -> list[Tensor]:
    source = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 20, (count,), generator=source).tolist()
    return [torch.randint(4, 24, (length,), generator=source) for length in lengths]


def batches(batch_tokens: int = 60, seed: int = 1, count: int = 12) -> list[Batch]:
    words = dictionary()
    return make_batches(wrapped(rows(count), words, 32), words, batch_tokens, seed)


class Masked(Task):
    """Of a model that knows <mask>."""

    def __init__(self) -> None:
        self.dictionary = dictionary()


def roberta(seed: int = 1, **changes: Any) -> nn.Module:
    with mock.patch.object(models, "Task", Masked):
        return build("roberta", seed, **changes).eval()


def references(model: nn.Module, text: list[Batch]) -> list[list[Tensor]]:
    return [layer_states(model, batch.tokens) for batch in text]


# ------------------------------------------------------------------------- the loss


@pytest.mark.parametrize("batch_tokens", [1, 60, 10_000])
def test_bits_are_those_of_fairseqs_criterion(batch_tokens: int) -> None:
    model, text = roberta(), batches(batch_tokens)
    found = measure(model, text, references(model, text), masked_lm_head(model)).masked_lm
    criterion = MaskedLmLoss(MaskedLmConfig(tpu=False), Masked())
    loss = size = 0.0
    for batch in text:
        sample = {
            "net_input": {"src_tokens": batch.masked},
            "target": batch.targets,
            "ntokens": 0,
            "nsentences": len(batch.tokens),
        }
        if batch.targets.ne(PAD).any():
            value, count, _ = criterion(model, sample)
            loss, size = loss + value.item(), size + int(count)
    assert found is not None and sum(found.masked) == size
    assert found.per_token == pytest.approx(loss / size / math.log(2), rel=1e-5)


def test_bits_of_a_row_by_their_definition() -> None:
    source = torch.Generator().manual_seed(1)
    features = torch.randn(3, 4, 5, generator=source)
    table = torch.randn(9, 5, generator=source)
    targets = torch.tensor([[PAD, 3, PAD, 7], [PAD] * 4, [0, PAD, PAD, PAD]])
    found = masked_bits(lambda x: x @ table.T, features, targets, PAD)
    logits = (features @ table.T).double().numpy()
    wanted = [
        plain.bits(logits[0, 1], 3) + plain.bits(logits[0, 3], 7),
        0.0,
        plain.bits(logits[2, 0], 0),
    ]
    assert found.bits == pytest.approx(wanted, rel=1e-5)
    assert found.masked == [2, 0, 1]
    assert found.per_token == pytest.approx(sum(wanted) / 3, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_bits_of_halves_are_taken_in_float32(dtype: torch.dtype) -> None:
    features = torch.full((1, 1, 1), 1.0, dtype=dtype)
    logits = torch.arange(64.0)[:, None].to(dtype)
    found = masked_bits(lambda x: x @ logits.T, features, torch.tensor([[5]]), PAD)
    assert found.bits[0] == pytest.approx(plain.bits(np.arange(64.0), 5), rel=1e-5)


def test_nothing_masked_is_no_number() -> None:
    assert math.isnan(MaskedBits([0.0], [0]).per_token)
    assert math.isnan(forgotten(MaskedBits([0.0], [0]), MaskedBits([0.0], [0])).bits)


def test_forgotten_is_paired_and_its_error_is_the_spread_of_draws() -> None:
    """Rows drawn anew many times scatter as much as the error of one draw says."""
    source = np.random.RandomState(0)

    def draw() -> tuple[MaskedBits, MaskedBits]:
        counts = source.randint(1, 8, 60)
        hard = source.normal(5 * counts, counts)
        more = 0.3 * counts + source.normal(0, np.sqrt(counts))
        return MaskedBits(list(hard), list(counts)), MaskedBits(list(hard + more), list(counts))

    found = [forgotten(*draw()) for _ in range(400)]
    values, errors = np.array(found).T
    assert values.mean() == pytest.approx(0.3, abs=0.02)
    assert errors.mean() == pytest.approx(values.std(), rel=0.15)


def test_forgotten_wants_the_same_masks() -> None:
    with pytest.raises(ValueError, match="same masks"):
        forgotten(MaskedBits([1.0], [1]), MaskedBits([1.0], [2]))


def test_one_row_has_no_error() -> None:
    found = forgotten(MaskedBits([4.0], [2]), MaskedBits([5.0], [2]))
    assert found.bits == 0.5 and math.isnan(found.error)


# ------------------------------------------------------------------------- the text


def test_masks_depend_on_the_row_and_the_seed_alone() -> None:
    def masked(text: list[Batch]) -> dict[tuple, tuple]:
        return {
            tuple(t[t.ne(PAD)].tolist()): tuple(m[t.ne(PAD)].tolist())
            for batch in text
            for t, m in zip(batch.tokens, batch.masked, strict=True)
        }

    one = masked(batches(30))
    assert one == masked(batches(10_000)) and one == masked(batches(30))
    assert one != masked(batches(30, seed=2))
    assert any(tokens != hidden for tokens, hidden in one.items())


def test_batches_are_whole_rows_padded_on_the_right() -> None:
    words = dictionary()
    given = wrapped(rows(), words, 32)
    held = [row[row.ne(PAD)].tolist() for batch in batches(30) for row in batch.tokens]
    assert sorted(held) == sorted(row.tolist() for row in given)
    for batch in batches(30):
        assert batch.tokens.numel() <= 30 or len(batch.tokens) == 1
        assert batch.tokens[:, 0].eq(words.bos()).all()
        hidden = batch.targets.ne(PAD)
        assert torch.equal(batch.targets[hidden], batch.tokens[hidden])
        assert torch.equal(batch.masked[~hidden], batch.tokens[~hidden])


def test_long_rows_are_parted_and_empty_ones_left_out() -> None:
    words = dictionary()
    row = torch.arange(4, 24)
    parts = wrapped([row, torch.tensor([], dtype=torch.long)], words, 8)
    assert all(len(part) <= 8 and part[0] == words.bos() for part in parts)
    assert torch.equal(torch.cat([part[1:-1] for part in parts]), row)


def test_more_tokens_take_in_fewer() -> None:
    given = rows(40)
    few, many = pick(given, 30, seed=1), pick(given, 200, seed=1)
    assert [r.tolist() for r in many[: len(few)]] == [r.tolist() for r in few]
    assert sum(map(len, few)) >= 30 > sum(map(len, few[:-1]))
    assert len(pick(given, 10**9, seed=1)) == 40
    assert fingerprint(few) != fingerprint(pick(given, 30, seed=2))


# ----------------------------------------------------------------------- the models


@pytest.mark.parametrize("batch_tokens", [1, 60, 10_000])
@pytest.mark.parametrize("arch", ["roberta", "bart_base"])
def test_layers_are_the_same_however_they_are_batched(arch: str, batch_tokens: int) -> None:
    """Rows padded to the longest, and rows alone, which have no padding."""
    before, after = build(arch, 1), build(arch, 2)
    words = dictionary()
    # Without the mask, which these models do not know.
    text = make_batches(wrapped(rows(), words, 30), words, batch_tokens, 1)
    found = measure(after, text, references(before, text), None)
    assert found.masked_lm is None and len(found.layers) == 3
    one = [layer_states(before, row[None]) for row in wrapped(rows(), words, 30)]
    other = [layer_states(after, row[None]) for row in wrapped(rows(), words, 30)]
    for number, layer in enumerate(found.layers):
        x, y = (torch.cat([states[number] for states in s]).double().numpy() for s in (one, other))
        assert layer.cka == pytest.approx(plain.unbiased_cka(x, y), abs=1e-4)
        assert layer.cosine == pytest.approx(plain.mean_cosine(x, y), abs=1e-5)
        assert layer.effective_rank == pytest.approx(plain.effective_rank(y), rel=1e-4)
        assert layer.anisotropy == pytest.approx(plain.anisotropy(y), abs=1e-5)


def test_a_model_beside_itself() -> None:
    model, text = roberta(), batches()
    for layer in measure(model, text, references(model, text), None).layers:
        assert layer.cka == pytest.approx(1.0, abs=1e-9)
        assert layer.cosine == pytest.approx(1.0, abs=1e-9)


def test_the_last_layer_is_what_the_head_reads() -> None:
    for changes in ({}, {"encoder_normalize_before": True}):
        model = roberta(**changes)
        tokens = batches(10_000)[0].tokens
        kept = tokens.ne(PAD)
        wanted = model(tokens, features_only=True)[0][kept]
        torch.testing.assert_close(layer_states(model, tokens)[-1], wanted)


def test_measuring_leaves_no_trace() -> None:
    model = build("roberta", dropout=0.1).train()
    model.encoder.sentence_encoder.layers[0].eval()
    modes = [module.training for module in model.modules()]
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    np.random.seed(5)
    wanted = torch.rand(3), np.random.rand(3)
    torch.manual_seed(5)
    np.random.seed(5)
    text = batches()
    # Without masks: the model has no <mask>.
    states = [layer_states(model, batch.tokens) for batch in text]
    measure(model, text, states, None)
    assert torch.equal(torch.rand(3), wanted[0]) and (np.random.rand(3) == wanted[1]).all()
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, weights[n]) for n, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_components_of_the_encoder() -> None:
    for arch in ("roberta", "bart_base"):
        model = build(arch)
        names = encoder_components(model)
        assert names.keys() == named_below(model, encoder(model)).keys()
        assert "embeddings" in names.values()
        assert any(value.endswith("layers.0.norms") for value in names.values())
        assert not any("classification_heads" in name or "lm_head" in name for name in names)
        assert not any("decoder" in name for name in names)
        count = sum(p.numel() for p in encoder(model).parameters())
        assert sum(p.numel() for p in named_below(model, encoder(model)).values()) == count


def test_bart_has_no_masked_lm_head() -> None:
    assert masked_lm_head(build("bart_base")) is None
    head = masked_lm_head(roberta())
    assert head is not None and utils.has_parameters(head)


def test_a_model_without_text_encoder_is_refused() -> None:
    with pytest.raises(UserError, match="no text encoder"):
        encoder(nn.Linear(2, 2))
