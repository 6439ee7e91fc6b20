"""Architecture flags: those of the tiny model, and those of a checkpoint's own settings."""

from argparse import Namespace
from pathlib import Path
from typing import Any, Union

from rxf.errors import UserError
from rxf.fairseq_fixes.checkpoint_allow_list import CheckpointRefused, load

__all__ = ["TINY", "flags_from_checkpoint", "model_flags", "suggested_lr"]

TINY = {
    "arch": "roberta",
    "encoder_layers": 2,
    "encoder_embed_dim": 64,
    "encoder_ffn_embed_dim": 256,
    "encoder_attention_heads": 4,
    "max_positions": 128,
}

Settings = dict[str, Any]


def model_flags(settings: Settings) -> list[str]:
    """``--encoder-layers 2 ...`` from names as fairseq's settings have them."""
    flags = {"--" + name.replace("_", "-"): str(value) for name, value in settings.items()}
    return [part for pair in flags.items() for part in pair]


def flags_from_checkpoint(path: Path, flag: str = "--checkpoint") -> Settings:
    """The settings in :data:`TINY` as the checkpoint was trained with.

    Args:
        path: of the file.
        flag: that names it, for messages.

    Raises:
        UserError: no such file, not a fairseq checkpoint, or not RoBERTa's architecture.
    """
    if not path.is_file():
        raise UserError(f"{flag} {path}: there is no such file")
    try:
        state = load(str(path), map_location="cpu")
    except CheckpointRefused as error:
        raise UserError(f"{flag} {path}: {error}") from None
    except (RuntimeError, EOFError, OSError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{flag} {path}: this file cannot be read ({first})") from None
    saved = _saved_settings(state)
    arch = str(saved.get("arch") or saved.get("_name") or "unknown")
    missing = [name for name in TINY if name != "arch" and saved.get(name) is None]
    if missing or not arch.startswith(("roberta", "xlm")):
        raise UserError(
            f"{flag} {path}: architecture {arch} is not RoBERTa as fairseq saves it: "
            "give a model.pt or checkpoint_*.pt of a RoBERTa"
        )
    return {"arch": arch, **{name: int(saved[name]) for name in TINY if name != "arch"}}


def _saved_settings(state: Any) -> Settings:
    """Older files hold ``args``, newer ones ``cfg``, whose ``model`` may be either kind."""
    if not isinstance(state, dict):
        return {}
    args: Union[Namespace, Settings, None] = state.get("args")
    if args is None:
        args = (state.get("cfg") or {}).get("model")
    if isinstance(args, Namespace):
        return vars(args)
    return dict(args or {})


def suggested_lr(settings: Settings) -> float:
    """The larger the model, the smaller the step: 1e-5 is the paper's for RoBERTa-large."""
    width = settings["encoder_embed_dim"]
    if width >= 1024:
        return 1e-5
    if width >= 512:
        return 2e-5
    return 3e-4 if width >= 128 else 1e-3
