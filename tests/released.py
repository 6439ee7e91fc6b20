"""fairseq's own R3F criterion, as the independent reference.

It is imported from the installed fairseq under another name than its own (the plugin has
taken that), and its RoBERTa is mended by handing the embeddings on.
"""

import functools
import importlib
from typing import Any
from unittest import mock

import torch


@functools.cache
def released_class(module: str, name: str) -> Any:
    """A criterion class of ``fairseq/examples/rxf/rxf_src``, not registered."""
    with mock.patch("fairseq.criterions.register_criterion", lambda *a, **k: lambda cls: cls):
        importlib.import_module("fairseq.examples.rxf.rxf_src")
        return getattr(importlib.import_module(f"fairseq.examples.rxf.rxf_src.{module}"), name)


class FixedNoise:
    """Stands in for both kinds of noise source, and gives the same numbers to each."""

    def __init__(self, noise: torch.Tensor) -> None:
        self.noise = noise

    def sample(self, sample_shape: Any) -> torch.Tensor:
        assert tuple(sample_shape) == self.noise.shape
        return self.noise

    def draw(self, like: torch.Tensor, noise_type: str, eps: float) -> torch.Tensor:
        assert like.shape == self.noise.shape
        return self.noise


def hand_embeddings_on(roberta: Any) -> None:
    """Mend this RoBERTa's encoder, whose forward drops ``token_embeddings``."""
    encoder = roberta.encoder

    def forward(
        src_tokens: Any, features_only: bool, return_all_hiddens: bool, **kwargs: Any
    ) -> Any:
        return encoder.extract_features(src_tokens, return_all_hiddens, **kwargs)

    encoder.forward = forward
