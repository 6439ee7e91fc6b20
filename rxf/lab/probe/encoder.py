"""A checkpoint's encoder: read, checked, built, and kept for the next fine-tuning."""

import hashlib
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch
from fairseq import checkpoint_utils
from torch import Tensor, nn

import rxf  # noqa: F401  (before fairseq's model classes are used)
from rxf.errors import UserError
from rxf.lab.files import written
from rxf.lab.generate.flags import without_hydras_warnings

__all__ = ["Encoder", "build", "file_fingerprint", "keep_encoder", "read_encoder"]

HEADS = "classification_heads."
KEPT = "encoder.pt"
_BLOCK = 2**22


class Encoder(NamedTuple):
    """What a checkpoint holds, with or without its classification heads.

    Attributes:
        path: of the checkpoint.
        settings: of the model, as fairseq's architectures take them.
        weights: state dict as saved.
        vocabulary: rows of the embedding table.
        positions: tokens that a row may have.
        is_seq2seq: an encoder-decoder, as BART.
        data: the folder that it was trained on, as the command named it; None where the file
            does not say.
    """

    path: Path
    settings: Namespace
    weights: dict[str, Tensor]
    vocabulary: int
    positions: int
    is_seq2seq: bool
    data: Optional[Path] = None


def file_fingerprint(paths: Iterable[Path]) -> str:
    """16 hex digits that change with any byte of these files."""
    digest = hashlib.blake2b(digest_size=8)
    for path in paths:
        digest.update(str(path.stat().st_size).encode())
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def read_encoder(path: Path, flag: str, with_heads: bool = False) -> Encoder:
    """Read a checkpoint of RoBERTa, XLM-R or BART, pre-trained or fine-tuned.

    Args:
        path: of the checkpoint.
        flag: what names it, for errors.
        with_heads: keep the classification heads, and what was set for them.

    Raises:
        UserError: no checkpoint can be read there, or its model takes no sentence head.
    """
    if not path.is_file():
        raise UserError(f"{flag} {path}: there is no such file")
    with without_hydras_warnings():
        state = checkpoint_utils.load_checkpoint_to_cpu(str(path))
    settings = _settings(state, with_heads)
    weights = {k: v for k, v in state["model"].items() if with_heads or not k.startswith(HEADS)}
    tables = [v for k, v in weights.items() if k.endswith("coder.embed_tokens.weight")]
    arch = str(getattr(settings, "arch", None) or getattr(settings, "_name", "unknown"))
    if not tables or not _takes_heads(arch):
        raise UserError(
            f"{flag} {path}: architecture {arch} has no sentence head: give a checkpoint of "
            "RoBERTa, XLM-R or BART"
        )
    is_seq2seq = "decoder_layers" in vars(settings) and "roberta" not in arch
    positions = _positions(settings, weights)
    return Encoder(
        path, settings, weights, len(tables[0]), positions, is_seq2seq, _trained_on(state)
    )


def _settings(state: dict[str, Any], with_heads: bool) -> Namespace:
    saved = state["cfg"]["model"]
    values = dict(vars(saved) if isinstance(saved, Namespace) else saved)
    if not with_heads:
        # The probe's own head replaces whatever the checkpoint was trained with.
        values |= {"spectral_norm_classification_head": False, "freeze_encoder": False}
    return Namespace(**{**values, "load_checkpoint_heads": False})


def _trained_on(state: dict[str, Any]) -> Optional[Path]:
    data = getattr(state["cfg"].get("task"), "data", None)
    return Path(data) if isinstance(data, str) else None


def _takes_heads(arch: str) -> bool:
    from fairseq.models import ARCH_MODEL_REGISTRY

    return hasattr(ARCH_MODEL_REGISTRY.get(arch), "register_classification_head")


def _positions(settings: Namespace, weights: dict[str, Tensor]) -> int:
    # fairseq numbers positions from the padding index + 1, which is 2.
    learned = [len(v) - 2 for k, v in weights.items() if k.endswith("embed_positions.weight")]
    return learned[0] if learned else int(getattr(settings, "max_positions", 512))


def build(encoder: Encoder, task: Any) -> nn.Module:
    """The model in evaluation mode, with the head that ``task`` names.

    It is a new one that nothing has trained, unless ``encoder`` was read with heads.

    Args:
        encoder: of this task's vocabulary.
        task: fairseq's sentence-prediction task, with the encoder's number of positions.

    Raises:
        UserError: the weights are not those of the architecture that the file names.
    """
    settings = Namespace(**vars(encoder.settings))
    model = task.build_model(settings)
    try:
        model.load_state_dict(dict(encoder.weights), strict=True, model_cfg=settings)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        raise UserError(f"{encoder.path}: does not fit its own architecture: {first}") from None
    return model.float().eval().requires_grad_(False)


def keep_encoder(folder: Path) -> Path:
    """Turn a run's best checkpoint into ``encoder.pt``, which the next run starts from.

    Heads, optimizer and criterion are left out: fairseq would take over a head of the same
    name and size though it is another task's, and the file is a third of the size.

    Raises:
        UserError: the run's folder has lost its checkpoint.
    """
    kept, best = folder / KEPT, folder / "checkpoint_best.pt"
    if not kept.is_file():
        if not best.is_file():
            raise UserError(
                f"{folder}: has a record but neither {KEPT} nor {best.name}: delete the folder, "
                "and the same command runs it again"
            )
        _write_encoder(best, kept)
    best.unlink(missing_ok=True)
    return kept


def _write_encoder(source: Path, target: Path) -> None:
    with without_hydras_warnings():
        state = checkpoint_utils.load_checkpoint_to_cpu(str(source))
    kept = {
        "args": None,
        "cfg": state["cfg"],
        "model": {k: v for k, v in state["model"].items() if not k.startswith(HEADS)},
        "optimizer_history": state["optimizer_history"],
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
        "last_optimizer_state": None,
    }
    with written(target) as aside:
        torch.save(kept, aside)
