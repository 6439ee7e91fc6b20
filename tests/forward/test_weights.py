"""Other weights stand in wherever a parameter is used, and nothing of them stays."""

from typing import Any

import pytest
import torch

from rxf.forward import evaluating, replaced_weights
from tests.forward.models import build
from tests.generation.batches import TIED, sample_of


@pytest.mark.parametrize(
    ("arch", "changes"), [("bart_base", {}), ("transformer", TIED), ("transformer", {})]
)
def test_all_uses_are_replaced_and_put_back(arch: str, changes: Any) -> None:
    """BART holds its embeddings twice, as one module; tied tables are one parameter."""
    model, other = build(arch, seed=1, **changes).eval(), build(arch, seed=2, **changes).eval()
    net_input = sample_of()["net_input"]
    before, wanted = model(**net_input)[0], other(**net_input)[0]
    held = dict(model.named_parameters(remove_duplicate=False))
    tensors = {name: p.detach() for name, p in other.named_parameters()}
    with replaced_weights(model, tensors):
        assert torch.equal(model(**net_input)[0], wanted)
    assert torch.equal(model(**net_input)[0], before)
    after = dict(model.named_parameters(remove_duplicate=False))
    assert held.keys() == after.keys()
    assert all(after[name] is parameter for name, parameter in held.items())


def test_they_are_put_back_after_an_error() -> None:
    model = build("roberta")
    before = dict(model.named_parameters())
    with pytest.raises(KeyError), replaced_weights(model, {n: p * 2 for n, p in before.items()}):
        raise KeyError
    assert all(before[name] is parameter for name, parameter in model.named_parameters())


def test_every_mode_is_put_back() -> None:
    model = build("roberta").train()
    model.encoder.sentence_encoder.layers[0].eval()
    modes = {name: module.training for name, module in model.named_modules()}
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert modes == {name: module.training for name, module in model.named_modules()}
