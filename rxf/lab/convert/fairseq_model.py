"""A fairseq model on its own: built as fairseq builds it, without a task and its data."""

from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from fairseq.models.bart import BARTModel
from fairseq.models.roberta import RobertaModel
from torch import Tensor, nn

import rxf  # noqa: F401  (heads of R4F are built, and old files read, by what it registers)
from rxf.errors import UserError
from rxf.fairseq_fixes.checkpoint_allow_list import CheckpointRefused, load
from rxf.fairseq_fixes.stale_copies import NAMES as COPIES
from rxf.methods.r4f.spectral_norm import SpectralNormLinear

__all__ = ["Saved", "build", "complete", "family_of", "plain_state", "read"]

MODELS = {"roberta": RobertaModel, "bart": BARTModel}


class Saved(NamedTuple):
    """A checkpoint that was read.

    Attributes:
        path: of it.
        family: ``roberta`` or ``bart``.
        settings: of the model, complete.
        weights: as they stand in the file.
        data: the folder that it was trained on, if the file names one.
    """

    path: Path
    family: str
    settings: Namespace
    weights: dict[str, Any]
    data: str

    @property
    def rows(self) -> int:
        """Of the embeddings."""
        for name, tensor in self.weights.items():
            if name.endswith("embed_tokens.weight"):
                return len(tensor)
        raise UserError(f"CHECKPOINT {self.path}: has no embed_tokens.weight: take another file")


def read(path: Path) -> Saved:
    """Read a checkpoint of RoBERTa, XLM-R or BART, as pre-trained or as fine-tuned.

    Raises:
        UserError: no such file, not a fairseq checkpoint, or of another architecture.
    """
    if not path.is_file():
        raise UserError(f"CHECKPOINT {path}: there is no such file")
    try:
        state = load(str(path), map_location="cpu")
    except CheckpointRefused as error:
        raise UserError(f"CHECKPOINT {path}: {error}") from None
    if not isinstance(state, dict) or not isinstance(state.get("model"), dict):
        raise UserError(f"CHECKPOINT {path}: holds no model: give model.pt or checkpoint_*.pt")
    settings, data = _settings(state)
    arch = str(getattr(settings, "arch", None) or getattr(settings, "_name", None))
    family = family_of(arch)
    if family is None:
        raise UserError(
            f"CHECKPOINT {path}: architecture {arch} is none of RoBERTa, XLM-R and BART"
        )
    settings.arch = arch
    complete(settings)
    return Saved(path, family, settings, state["model"], data)


def family_of(arch: str) -> "str | None":
    """The family of one of fairseq's architectures; None for any other than these."""
    model = ARCH_MODEL_REGISTRY.get(arch)
    found = [name for name, kind in MODELS.items() if model and issubclass(model, kind)]
    return found[0] if found else None


def complete(settings: Namespace) -> None:
    """Fill in what the architecture's name decides."""
    ARCH_CONFIG_REGISTRY[settings.arch](settings)
    if family_of(settings.arch) == "roberta" and not hasattr(settings, "max_positions"):
        # Files older than the flag.
        settings.max_positions = getattr(settings, "tokens_per_sample", 512)


def _settings(state: dict[str, Any]) -> tuple[Namespace, str]:
    """Of the model, and the data folder; older files hold ``args``, newer ones ``cfg``."""
    args = state.get("args")
    if args is not None:
        return Namespace(**vars(args)), str(getattr(args, "data", "") or "")
    cfg = state.get("cfg") or {}
    model = cfg.get("model") or {}
    values = vars(model) if isinstance(model, Namespace) else dict(model)
    task = cfg.get("task") or {}
    data = getattr(task, "data", "") if isinstance(task, Namespace) else task.get("data", "")
    return Namespace(**values), str(data or "")


def build(settings: Namespace, dictionary: Dictionary, named: str) -> Any:
    """The model with its first weights, on the CPU; those of the caller's generator stay.

    Args:
        settings: of the model; what is missing is filled in.
        dictionary: with as many types as it has embeddings.
        named: what the settings are from, for messages.

    Raises:
        UserError: its sizes make no model.
    """
    task = SimpleNamespace(
        source_dictionary=dictionary, target_dictionary=dictionary, dictionary=dictionary
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        try:
            return ARCH_MODEL_REGISTRY[settings.arch].build_model(settings, task)
        except AssertionError as error:
            raise UserError(f"{named}: its sizes make no model ({error})") from None


def plain_state(saved: Saved, dictionary: Dictionary) -> dict[str, Tensor]:
    """The weights as fairseq 0.12.2 names them, without what no forward pass reads.

    Old names are brought up to date by fairseq's own loading.  A head that R4F has normalised
    becomes a plain one with the weights that it computed with.

    Raises:
        UserError: the weights do not fit the settings in the file.
    """
    settings = Namespace(**vars(saved.settings))
    # Heads come with their sizes from the file.
    settings.load_checkpoint_heads = True
    settings.task = getattr(settings, "task", None)
    model = build(settings, dictionary, f"CHECKPOINT {saved.path}")
    dtype = _dtype(saved)
    try:
        model.load_state_dict(dict(saved.weights), strict=True, model_cfg=settings)
    except (KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"CHECKPOINT {saved.path}: its weights do not fit its settings ({reason})"
        ) from None
    model.eval()
    _make_plain(model)
    state = {name: tensor.to(dtype) for name, tensor in model.state_dict().items()}
    return {name: tensor for name, tensor in state.items() if not _unused(name)}


def _dtype(saved: Saved) -> torch.dtype:
    """That of the file: fp16 weights are exact in fp32, and go back unchanged."""
    floats = {t.dtype for name, t in saved.weights.items() if name.endswith("embed_tokens.weight")}
    return floats.pop() if len(floats) == 1 else torch.float32


def _make_plain(model: nn.Module) -> None:
    """Put plain layers in place of R4F's."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, SpectralNormLinear):
                setattr(parent, name, _plain(child))


def _plain(layer: SpectralNormLinear) -> nn.Linear:
    plain = nn.utils.skip_init(nn.Linear, layer.in_features, layer.out_features)
    with torch.no_grad():
        plain.weight.copy_(layer.normalized_weight())
        plain.bias.copy_(layer.bias)
    return plain


def _unused(name: str) -> bool:
    """Marks of a version, and the copies that stock fairseq keeps of encoder layers' weights."""
    return name.rpartition(".")[2] in ("version", "_float_tensor", *COPIES)
