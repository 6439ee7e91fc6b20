"""FreeLB written out: K losses, the gradients of each taken one by one, and averaged."""

from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support import HEAD


def task_loss(logits: Tensor, target: Tensor) -> Tensor:
    if logits.size(1) == 1:
        return (logits.view(-1).float() - target.view(-1).float()).pow(2).sum()
    return F.cross_entropy(logits.float(), target.view(-1), reduction="sum")


def embedding_of(model: Any) -> Any:
    return getattr(model.encoder, "sentence_encoder", model.encoder).embed_tokens


def freelb(
    model: Any,
    sample: dict[str, Any],
    start: Tensor,
    steps: int,
    step: float,
    radius: float,
    norm: str = "l2",
    random_state: Optional[Tensor] = None,
) -> tuple[list[Tensor], dict[str, Tensor], Tensor]:
    """The K losses, the gradient of their mean by each parameter, and the last perturbation.

    Args:
        model: one that takes ``token_embeddings`` from the top, in training.
        start: the first perturbation, B x T x d, 0 at padding.
        random_state: torch's, before each pass.
    """
    names, parameters = zip(*model.named_parameters(), strict=True)
    tokens = sample["net_input"]["src_tokens"]
    call = {"features_only": True, "classification_head_name": HEAD, **sample["net_input"]}
    mask = tokens.ne(1).unsqueeze(-1)
    delta, losses = start, []
    total: dict[str, Tensor] = {}
    for number in range(steps):
        if random_state is not None:
            torch.set_rng_state(random_state)
        delta = delta.detach().requires_grad_()
        embeddings = embedding_of(model)(tokens) + delta * mask
        loss = task_loss(model(**call, token_embeddings=embeddings)[0], sample["target"])
        losses.append(loss.detach())
        by_delta, *rest = torch.autograd.grad(loss, [delta, *parameters], allow_unused=True)
        for name, gradient in zip(names, rest, strict=True):
            if gradient is not None:
                total[name] = total.get(name, 0) + gradient / steps
        if number < steps - 1:
            rows = zip(delta.detach(), by_delta, strict=True)
            delta = torch.stack([_moved(*row, step, radius, norm) for row in rows])
    return losses, total, delta.detach()


def _moved(delta: Tensor, gradient: Tensor, step: float, radius: float, norm: str) -> Tensor:
    size = gradient.abs().max() if norm == "linf" else gradient.pow(2).sum().sqrt()
    delta = delta + step * gradient / size
    if norm == "linf":
        return delta.clamp(-radius, radius)
    return delta * min(1.0, radius / float(delta.pow(2).sum().sqrt()))


def start_of(sample: dict[str, Any], numbers: Tensor, magnitude: float, norm: str) -> Tensor:
    """The perturbation of the first pass, from U(-1, 1) numbers."""
    start = torch.zeros_like(numbers)
    for row, tokens in enumerate(sample["net_input"]["src_tokens"]):
        length = int(tokens.ne(1).sum())
        scale = magnitude if norm == "linf" else magnitude / (length * numbers.size(-1)) ** 0.5
        start[row, :length] = numbers[row, :length] * scale
    return start
