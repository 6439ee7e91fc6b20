"""What PAC-tuning asks of a model: its parameters, no dropout, weights with noise."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from fairseq.modules import FairseqDropout
from fairseq.modules.layer_drop import LayerDropModuleList
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from rxf.errors import UserError
from rxf.forward import evaluating

__all__ = ["freeze_embeddings", "perturbed", "prepare", "used_parameters"]

logger = logging.getLogger(__name__)

_RATES = (FairseqDropout, LayerDropModuleList, _DropoutNd)


def prepare(model: nn.Module) -> None:
    """Switch dropout of every kind off, with a warning where there was any.

    Raises:
        UserError: the model recomputes activations or has quantisation noise.
    """
    _refuse(model)
    there = [module for module in model.modules() if isinstance(module, _RATES) and module.p > 0]
    if there:
        rates = ", ".join(f"{rate:g}" for rate in sorted({float(module.p) for module in there}))
        logger.warning(
            f"PAC-tuning's noise takes the place of dropout: {len(there)} dropout and layer drop "
            f"modules with rates of {rates} are set to 0"
        )
    for module in there:
        module.p = 0.0


def _refuse(model: nn.Module) -> None:
    if any(hasattr(module, "precheckpoint_forward") for module in model.modules()):
        raise UserError(
            "--checkpoint-activations and --offload-activations run layers again in the backward "
            "pass, where the perturbed weights of sentence_prediction_pac are gone: leave them out"
        )
    args = getattr(model, "args", None)
    for name in ("quant_noise_pq", "quant_noise_scalar"):
        if getattr(args, name, 0):
            raise UserError(
                f"--{name.replace('_', '-')} changes the weights at random, as dropout does, "
                "which the bound of sentence_prediction_pac does not allow: leave it out"
            )


def freeze_embeddings(model: nn.Module) -> None:
    """Take the tables of tokens and positions out of training."""
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.weight.requires_grad_(False)


def used_parameters(model: nn.Module, net_input: dict[str, Any], head: str) -> dict[str, Tensor]:
    """The trainable parameters that the head's logits depend on, in the model's order.

    A model holds others: the output layer of its pre-training, or copies that nothing reads.
    Which ones is asked of autograd, on one small batch.

    Args:
        model: out of its wrappers; it is left as it was.
        net_input: the batch.
        head: name of the classification head.
    """
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}
    with torch.enable_grad(), evaluating(model):
        logits, _ = model(**net_input, features_only=True, classification_head_name=head)
    found = torch.autograd.grad(logits.float().sum(), list(named.values()), allow_unused=True)
    return {
        name: parameter
        for (name, parameter), gradient in zip(named.items(), found, strict=True)
        if gradient is not None
    }


def perturbed(weights: Sequence[Tensor], noise: Sequence[Tensor]) -> list[Tensor]:
    """``w + noise``, summed in float32 and returned in the dtype of w; the weights stay."""
    return [(w.float() + n).to(w.dtype) for w, n in zip(weights, noise, strict=True)]
