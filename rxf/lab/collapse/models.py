"""A checkpoint as a model, without its classification heads."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from fairseq import checkpoint_utils
from fairseq.data import Dictionary
from fairseq.tasks.masked_lm import MaskedLMConfig, MaskedLMTask
from torch import nn

from rxf.errors import UserError
from rxf.lab.generate.flags import without_hydras_warnings
from rxf.representation import encoder, named_below

__all__ = ["check_same_architecture", "load_model"]

HEADS = "classification_heads."


def load_model(path: Path, flag: str, dictionary: Dictionary, device: torch.device) -> nn.Module:
    """The model in float32 and in evaluation mode.

    Args:
        path: of a fairseq checkpoint of any task.
        flag: what names it, for errors.
        dictionary: of the text, with ``<mask>``.
        device: where it goes.

    Raises:
        UserError: the file cannot be read, is no model with an encoder of text, or its
            embeddings are not of this dictionary.
    """
    task = MaskedLMTask(dataclasses.replace(MaskedLMConfig(), data=""), dictionary)
    with without_hydras_warnings():
        state = checkpoint_utils.load_checkpoint_to_cpu(str(path))
        _drop_heads(state)
        try:
            models, *_ = checkpoint_utils.load_model_ensemble_and_task(
                [str(path)], task=task, state=state
            )
        except (AssertionError, KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{flag} {path}: does not fit its model, or a dictionary of {len(dictionary)} "
                f"types ({reason[:200]}): take a file as fairseq-train wrote it, and text "
                "prepared with its dict.txt"
            ) from error
    model: nn.Module = models[0].float().eval().to(device)
    encoder(model)
    return model


def _drop_heads(state: dict[str, Any]) -> None:
    for name in [name for name in state["model"] if name.startswith(HEADS)]:
        del state["model"][name]


def check_same_architecture(model: nn.Module, pretrained: nn.Module, flag: str) -> None:
    """Raise unless both encoders have the same parameters in the same shapes."""
    own, wanted = (
        {name: tuple(value.shape) for name, value in named_below(m, encoder(m)).items()}
        for m in (model, pretrained)
    )
    for name in sorted(own.keys() | wanted.keys()):
        if own.get(name) != wanted.get(name):
            raise UserError(
                f"{flag}: has {name} as {own.get(name)}, the pre-trained model as "
                f"{wanted.get(name)}: give the checkpoint that it was fine-tuned from as "
                "--pretrained"
            )
