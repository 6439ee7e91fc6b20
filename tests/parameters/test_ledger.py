"""Which slice of which tensor is which parameter."""

from pathlib import Path

import pytest
import torch
from fairseq.optim import FP16Optimizer
from torch import nn

import rxf  # noqa: F401  (lets fairseq flatten on a CPU)
from rxf.errors import UserError
from rxf.parameters.ledger import Ledger
from tests.support import build_from_flags, train_flags


class Scaled(nn.Module):
    """A criterion with a parameter, and one that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(3))
        self.frozen = nn.Parameter(torch.randn(2), requires_grad=False)


@pytest.fixture(scope="module")
def model(sentence_data: Path) -> nn.Module:
    made: nn.Module = build_from_flags(train_flags(sentence_data, sentence_data))[2]
    made.encoder.lm_head.dense.weight.requires_grad_(False)
    return made


def _trainable(*modules: nn.Module) -> list[nn.Parameter]:
    return [p for module in modules for p in module.parameters() if p.requires_grad]


def test_tensors_that_are_the_parameters(model: nn.Module) -> None:
    criterion = Scaled()
    tensors = _trainable(model, criterion)
    ledger = Ledger.match(tensors, model, criterion)
    named = {("model", n): p for n, p in model.named_parameters() if p.requires_grad}
    named["criterion", "scale"] = criterion.scale
    assert [(e.owner, e.name) for e in ledger.entries] == list(named)
    for entry, tensor in zip(ledger.entries, tensors, strict=True):
        assert entry.parameter is tensor is named[entry.owner, entry.name]
        assert entry.view(tensor) is tensor
        assert any(p is tensor for p in entry.module.parameters(recurse=False))
    assert [len(entries) for entries in ledger.by_tensor] == [1] * len(tensors)


@pytest.mark.parametrize("flatten", [True, False])
def test_copies_as_fairseq_makes_them(model: nn.Module, flatten: bool) -> None:
    criterion = Scaled()
    parameters = _trainable(model, criterion)
    copies = FP16Optimizer.build_fp32_params(None, parameters, flatten=flatten)
    tensors = list(copies.values()) if flatten else copies
    ledger = Ledger.match(tensors, model, criterion)
    assert len(ledger.by_tensor) == len(tensors)
    for entry, parameter in zip(ledger.entries, parameters, strict=True):
        view = entry.view(tensors[entry.tensor].detach())
        assert torch.equal(view, parameter.detach()) and view.shape == parameter.shape
    # A view, not a copy: what is written there is what fairseq reads.
    last = ledger.entries[-1]
    last.view(tensors[last.tensor].detach()).fill_(7.0)
    assert tensors[-1].detach().flatten()[-3:].tolist() == [7.0] * 3


def test_a_model_of_one_parameter() -> None:
    model = nn.Linear(3, 1, bias=False)
    flat = torch.arange(3.0)
    (entry,) = Ledger.match([flat], model).entries
    assert entry.view(flat).shape == (1, 3) and entry.module is model


def test_shared_parameters_come_once() -> None:
    model = nn.ModuleDict({"one": nn.Linear(2, 2), "two": nn.Linear(2, 2)})
    model["two"].weight = model["one"].weight
    ledger = Ledger.match(list(model.parameters()), model)
    assert [entry.name for entry in ledger.entries] == ["one.weight", "one.bias", "two.bias"]


@pytest.mark.parametrize("tensors", [[], [torch.zeros(5)], [torch.zeros(2, 3), torch.zeros(3)]])
def test_what_does_not_match_is_refused(tensors: list[torch.Tensor]) -> None:
    with pytest.raises(UserError, match="--optimizer"):
        Ledger.match(tensors, nn.Linear(3, 2))
