"""Tiny models of each family, and batches for them."""

from typing import Any

import torch
from fairseq.data import Dictionary
from torch import nn

from tests.support import HEAD

ENCODER = {
    "encoder_layers": 2,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 32,
    "encoder_attention_heads": 2,
    "max_positions": 32,
    "max_source_positions": 32,
    "dropout": 0.0,
    "attention_dropout": 0.0,
}
DECODER = {
    "decoder_layers": 2,
    "decoder_embed_dim": 16,
    "decoder_ffn_embed_dim": 32,
    "decoder_attention_heads": 2,
    "max_target_positions": 32,
}


class Task:
    """As much of a task as building a model takes."""

    def __init__(self) -> None:
        self.dictionary = Dictionary()
        for number in range(20):
            self.dictionary.add_symbol(f"w{number}")

    source_dictionary = target_dictionary = property(lambda self: self.dictionary)

    def max_positions(self) -> int:
        return 32


def build(arch: str, seed: int = 1, heads: bool = True, **changes: Any) -> nn.Module:
    """A model of architecture ``arch`` in the small sizes above, with a head of 3 classes."""
    from argparse import Namespace

    from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

    import rxf  # noqa: F401

    torch.manual_seed(seed)
    sizes = ENCODER if arch.startswith("roberta") else {**ENCODER, **DECODER}
    args = Namespace(**{**sizes, "task": "none", **changes})
    ARCH_CONFIG_REGISTRY[arch](args)
    model = ARCH_MODEL_REGISTRY[arch].build_model(args, Task())
    if heads and hasattr(model, "register_classification_head"):
        model.register_classification_head(HEAD, num_classes=3)
    return model


def batch(arch: str, rows: int = 3, length: int = 7, seed: int = 2) -> dict[str, Any]:
    """``net_input`` of sentences of different lengths, padded on the right, ending in eos."""
    source = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, 20, (rows, length), generator=source)
    for row in range(rows):
        end = max(2, length - row)
        tokens[row, end - 1] = 2
        tokens[row, end:] = 1
    net_input = {"src_tokens": tokens, "src_lengths": tokens.ne(1).sum(1)}
    if not arch.startswith("roberta"):
        net_input["prev_output_tokens"] = tokens.roll(1, dims=1)
    return net_input


def sentence_logits(model: nn.Module, net_input: dict[str, Any]) -> torch.Tensor:
    return model(**net_input, features_only=True, classification_head_name=HEAD)[0]


def token_logits(model: nn.Module, net_input: dict[str, Any]) -> torch.Tensor:
    return model(**net_input)[0]
