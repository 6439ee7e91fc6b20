"""Optimizers of ours without fairseq around them."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from rxf.methods.cwgnc.optimizer import CwgncAdam, CwgncAdamConfig
from rxf.methods.recadam.optimizer import RecAdam, RecAdamConfig
from rxf.optim.component_adam import ComponentAdam
from rxf.parameters.ledger import Ledger

KINDS: dict[str, Any] = {
    "recadam": (RecAdam, RecAdamConfig),
    "cwgnc_adam": (CwgncAdam, CwgncAdamConfig),
}


def make(
    kind: str, model: nn.Module, anchors: dict[str, Tensor], lr: float, **settings: Any
) -> ComponentAdam:
    """An optimizer of ``model`` whose anchors are given by name; what has none is new."""
    tensors = [parameter for parameter in model.parameters() if parameter.requires_grad]
    ledger = Ledger.match(tensors, model)
    training: Any = SimpleNamespace(
        ledger=ledger,
        model=model,
        model_cfg=None,
        max_lr=lr,
        log_interval=1,
        save_dir="",
        pretrained_files=[],
        all_reduce_max=lambda values: values,
        all_reduce_sum=lambda values: values,
    )
    optimizer_class, config = KINDS[kind]
    optimizer = optimizer_class(config(**settings), tensors, training)
    held = {
        number: anchors[entry.name]
        for number, entry in enumerate(ledger.entries)
        if entry.name in anchors
    }
    if held:
        optimizer.anchor = SimpleNamespace(tensors=held, reference={"path": "", "fingerprint": ""})
    optimizer._started = True
    return optimizer


def set_gradients(model: nn.Module, gradients: dict[str, Tensor]) -> None:
    """Those of ``model`` by name; what is not named has none."""
    for name, parameter in model.named_parameters():
        gradient = gradients.get(name)
        parameter.grad = None if gradient is None else gradient.clone().to(parameter.dtype)


def random_gradients(model: nn.Module, seed: int) -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(parameter.shape, generator=source, dtype=torch.float64)
        for name, parameter in model.named_parameters()
    }
