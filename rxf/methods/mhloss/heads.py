"""Several linear heads of one shape, and their mean."""

import hashlib
import math

import torch
from torch import Tensor, nn

__all__ = ["copy_mean", "new_heads"]


def new_heads(count: int, like: nn.Linear, seed: int) -> nn.ModuleList:
    """Linear layers in the shape, dtype and place of ``like``, each with a start of its own.

    They start as ``nn.Linear`` does, weight and bias from U(-1/sqrt(d), 1/sqrt(d)), but from a
    random stream of their own, so that no other number of the run changes.

    Args:
        count: H.
        like: d features to C outputs.
        seed: the same one gives the same heads; the first few are the same for every count.

    Returns:
        H layers whose ``weight`` is (C, d) and ``bias`` (C,), trainable.
    """
    digest = hashlib.blake2b(f"mhloss {seed}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
    bound = 1 / math.sqrt(like.in_features)
    heads = []
    for _ in range(count):
        head = nn.utils.skip_init(
            nn.Linear, like.in_features, like.out_features, bias=like.bias is not None
        )
        for parameter in head.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
        heads.append(head)
    return nn.ModuleList(heads).to(like.weight)


@torch.no_grad()
def copy_mean(heads: nn.ModuleList, into: nn.Linear) -> None:
    """Overwrite ``into`` with the mean of the heads, taken in float32.

    Its logits are then the mean of theirs.
    """
    for name, parameter in into.named_parameters():
        each: list[Tensor] = [head.get_parameter(name).float() for head in heads]
        parameter.copy_(torch.stack(each).mean(0))
