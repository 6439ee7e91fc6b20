"""fairseq's trainer with an optimizer of ours, fed with gradients that are the same everywhere.

The gradients, and the weights to start from, have few enough bits for half precision, so
that what differs between precisions is the optimizer alone.
"""

from pathlib import Path
from typing import Any, Optional

import torch
from fairseq import checkpoint_utils
from fairseq.optim import AMPOptimizer
from fairseq.trainer import Trainer
from torch import Tensor

import rxf  # noqa: F401
from tests.support import build_from_flags, load_checkpoint, train_flags

PRECISIONS: dict[str, list[str]] = {
    "fp32": [],
    "flattened": ["--fp16"],
    "no-flatten": ["--fp16", "--fp16-no-flatten-grads"],
    "memory-efficient": ["--fp16", "--memory-efficient-fp16"],
    "bf16": ["--bf16"],
    "amp": ["--amp"],
}


def round_to_half(checkpoint: Path, rounded: Path) -> Path:
    """A copy of a checkpoint whose weights fit half precision and bfloat16."""
    state = load_checkpoint(checkpoint)
    for name, tensor in state["model"].items():
        state["model"][name] = tensor.to(torch.bfloat16).float()
    torch.save(state, rounded)
    return rounded


def build_trainer(data: Path, pretrained: Path, precision: str, **settings: Any) -> Trainer:
    """A trainer that has loaded ``pretrained``; with a real scaler on the CPU for "amp"."""
    flags = train_flags(data, data, finetune_from_model=pretrained, **settings)
    flags += PRECISIONS[precision]
    cfg, task, model, criterion = build_from_flags(flags)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16).float()
    cfg.checkpoint.save_dir = "/nowhere"
    trainer = Trainer(cfg, task, model, criterion)
    checkpoint_utils.load_checkpoint(cfg.checkpoint, trainer)
    if isinstance(trainer.optimizer, AMPOptimizer):
        trainer.optimizer._grad_scaler = torch.amp.GradScaler("cpu", init_scale=128.0)
    return trainer


def update(
    trainer: Trainer, seed: int, without: Optional[str] = None, micro_batches: int = 1
) -> None:
    """One update, as fairseq's trainer makes it, with random gradients.

    Args:
        seed: of the gradients, which are multiples of 1/64.
        without: name of a parameter that gets none.
        micro_batches: how many equal parts they come in, a power of 2.
    """
    trainer.zero_grad()
    source = torch.Generator().manual_seed(seed)
    gradients = {
        name: torch.randint(-64, 65, parameter.shape, generator=source) / 64
        for name, parameter in trainer.get_model().named_parameters()
    }
    for _ in range(micro_batches):
        terms = [
            (parameter * gradients[name].to(parameter.dtype)).sum().float()
            for name, parameter in trainer.get_model().named_parameters()
            if name != without
        ]
        trainer.optimizer.backward(torch.stack(terms).sum() / micro_batches)
    trainer.optimizer.all_reduce_grads(trainer.model)
    trainer.optimizer.multiply_grads(1.0)
    trainer.clip_grad_norm(0.0)
    trainer.task.optimizer_step(trainer.optimizer, trainer.model, trainer.get_num_updates())


def exact_weights(trainer: Trainer) -> dict[str, Tensor]:
    """The weights that are optimised, fp32 copies where there are, by name."""
    inner = trainer.optimizer.optimizer
    entries = inner.training.ledger.entries
    return {
        entry.name: entry.view(inner.tensors[entry.tensor].detach()).float().clone()
        for entry in entries
    }
