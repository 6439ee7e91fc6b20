"""An update of lists of tensors, against the equations."""

import pytest
import torch

from rxf.optim.adam_step import adam
from tests.optim.plain import Plain


@pytest.mark.parametrize("lr", [0.0, 1e-30, 0.01])
@pytest.mark.parametrize("decay", [0.0, 0.003])
def test_decay_is_a_share_of_the_weights_at_any_lr(lr: float, decay: float) -> None:
    weight = torch.linspace(-2, 2, 7, dtype=torch.float64)
    moments = [torch.zeros_like(weight), torch.zeros_like(weight)]
    plain = Plain(weight.clone(), None, lr=lr, eps=1e-3)
    for step in (1, 2, 3):
        gradient = torch.full_like(weight, 0.1 * step)
        settings = {"lr": lr, "betas": plain.betas, "eps": plain.eps, "decay": decay}
        adam([weight], [gradient], moments[:1], moments[1:], step=step, **settings)
        plain.weight = plain.weight * (1 - decay)
        plain.update(gradient)
    torch.testing.assert_close(weight, plain.weight, rtol=0, atol=1e-14)
