"""Which parameters are anchored, and to what file."""

from pathlib import Path

import pytest
import torch
from torch import nn

from rxf.errors import UserError
from rxf.optim.anchor import Anchor, first_anchor
from rxf.parameters.ledger import Ledger
from rxf.parameters.pretrained import PretrainedWeights


def test_a_criterions_parameter_of_the_same_name_is_new() -> None:
    model, criterion = nn.Linear(2, 3), nn.Linear(2, 3)
    tensors = [*model.parameters(), *criterion.parameters()]
    held = {"weight": torch.ones(3, 2)}
    anchor = Anchor(PretrainedWeights("f.pt", held, "0"), Ledger.match(tensors, model, criterion))
    assert list(anchor.tensors) == [0]
    # A copy, and the path for good.
    held["weight"].zero_()
    assert torch.equal(anchor.tensors[0], torch.ones(3, 2))
    assert anchor.reference["path"] == str(Path("f.pt").absolute())


def test_the_first_file_is_taken() -> None:
    ledger = Ledger.match([], nn.Identity())
    sources = [("--recadam-pretrained", "missing.pt"), ("--finetune-from-model", __file__)]
    with pytest.raises(UserError, match="--recadam-pretrained missing.pt does not exist"):
        first_anchor(sources, "recadam", ledger, None)
