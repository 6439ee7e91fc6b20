"""The perturbation reaches the logits of every family, in the units of the embedding table."""

from typing import Any

import pytest
import torch

from rxf.errors import UserError
from rxf.forward import perturbed_embeddings, require_two_branches, text_encoder
from tests.forward.models import batch, build, sentence_logits, token_logits

FAMILIES = [
    ("roberta", sentence_logits),
    ("bart_base", sentence_logits),
    ("mbart_base", token_logits),
    ("transformer", token_logits),
]


@pytest.mark.parametrize(("arch", "call"), FAMILIES)
def test_a_shift_of_the_embeddings_is_a_shift_of_the_table(arch: str, call: Any) -> None:
    """Adding delta to every embedding equals adding it to the encoder's table itself."""
    model, net_input = build(arch).eval(), batch(arch)
    delta = torch.randn(16, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        plain = call(model, net_input)
        with perturbed_embeddings(model, lambda e, padding: e + delta):
            shifted = call(model, net_input)
        encoder = text_encoder(model)
        # Decoders of BART share the table: give the encoder one of its own.
        encoder.embed_tokens = torch.nn.Embedding.from_pretrained(
            encoder.embed_tokens.weight + delta, padding_idx=1
        )
        wanted = call(model, net_input)
        after = call(build(arch).eval(), net_input)
    torch.testing.assert_close(shifted, wanted, rtol=1e-5, atol=1e-6)
    assert (shifted - plain).abs().max() > 1e-3
    torch.testing.assert_close(after, plain)


@pytest.mark.parametrize(("arch", "call"), FAMILIES)
def test_identity_changes_nothing_and_leaves_no_hook(arch: str, call: Any) -> None:
    model, net_input = build(arch).eval(), batch(arch)
    plain = call(model, net_input)
    with perturbed_embeddings(model, lambda e, padding: e):
        assert torch.equal(call(model, net_input), plain)
    assert not text_encoder(model)._forward_pre_hooks


def test_the_padding_mask_and_the_shape_that_a_perturbation_sees() -> None:
    model, net_input = build("roberta"), batch("roberta")
    seen = []
    with perturbed_embeddings(model, lambda e, padding: seen.append((e.shape, padding)) or e):
        sentence_logits(model, net_input)
    ((shape, padding),) = seen
    assert shape == (3, 7, 16)
    assert torch.equal(padding, net_input["src_tokens"].eq(1))


def test_the_hook_goes_when_the_model_fails() -> None:
    model = build("roberta")
    with pytest.raises(ZeroDivisionError), perturbed_embeddings(model, lambda e, padding: 1 / 0):
        sentence_logits(model, batch("roberta"))
    assert not text_encoder(model)._forward_pre_hooks


def test_an_encoder_without_token_embeddings_is_refused() -> None:
    lstm = build("lstm", encoder_hidden_size=16, criterion="none")
    with pytest.raises(UserError, match="--arch.*takes no token embeddings"):
        require_two_branches(lstm)


def test_quant_noise_needs_both_branches_in_one_pass() -> None:
    model = build("roberta", quant_noise_pq=0.1, quant_noise_pq_block_size=4)
    require_two_branches(model, one_pass=True)
    with pytest.raises(UserError, match="--quant-noise-pq.*--r3f-passes packed"):
        require_two_branches(model, one_pass=False)


def test_base_layers_are_refused() -> None:
    from fairseq.modules import BaseLayer

    model = build("roberta")
    model.base_layer = BaseLayer.__new__(BaseLayer)
    torch.nn.Module.__init__(model.base_layer)
    with pytest.raises(UserError, match="--base-layers"):
        require_two_branches(model)
