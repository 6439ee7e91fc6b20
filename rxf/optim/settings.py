"""The flags that every optimizer here has."""

import ast
from dataclasses import dataclass, field, fields
from typing import Any

from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from omegaconf import II, OmegaConf

from rxf.errors import UserError, check_choice, check_number

__all__ = ["ComponentAdamConfig", "betas", "check_settings", "settings_of"]

CLIP_GROUPS = ("tensor", "module")


@dataclass
class ComponentAdamConfig(FairseqDataclass):
    """Adam, clipping by component, and the pulls towards the pre-trained weights."""

    adam_betas: Any = field(
        default=(0.9, 0.999), metadata={"help": "decay rates of the two moments"}
    )
    adam_eps: float = field(
        default=1e-8,
        metadata={"help": "added to the root of the second moment, before bias correction"},
    )
    weight_decay: float = field(default=0.0, metadata={"help": "decoupled weight decay"})
    component_clip_norm: float = field(
        default=0.0,
        metadata={"help": "clip the gradient of each component to this Euclidean norm; 0 is off"},
    )
    component_clip_group: ChoiceEnum(CLIP_GROUPS) = field(  # type: ignore[valid-type]
        default="tensor",
        metadata={
            "help": "a component is a tensor, as released, or a module of a layer: weight and "
            "bias of q, k, v, out, fc1 or fc2 together, its norms, the embeddings, the head"
        },
    )
    l2sp_weight: float = field(
        default=0.0,
        metadata={"help": "decoupled L2-SP: decay towards the pre-trained weights, at this rate"},
    )
    ewc_weight: float = field(
        default=0.0,
        metadata={"help": "decoupled diagonal EWC towards the pre-trained weights"},
    )
    ewc_batches: int = field(
        default=100,
        metadata={"help": "training batches of each process that the Fisher comes from"},
    )
    no_decay_norms_and_biases: bool = field(
        default=False, metadata={"help": "no weight decay on biases and normalisation layers"}
    )
    layer_lr_decay: float = field(
        default=1.0,
        metadata={"help": "a layer's learning rate is this times that of the layer above it"},
    )
    lr: list[float] = II("optimization.lr")


def betas(cfg: ComponentAdamConfig) -> tuple[float, float]:
    """Both rates as numbers, from a string of the command line or a list of a YAML file.

    Raises:
        UserError: they are not two numbers from 0 to below 1.
    """
    value = cfg.adam_betas
    try:
        pair = ast.literal_eval(value) if isinstance(value, str) else value
        first, second = (float(rate) for rate in pair)
        if 0 <= first < 1 and 0 <= second < 1:
            return first, second
    except (SyntaxError, TypeError, ValueError):
        pass
    raise UserError(f'--adam-betas {value}: must be two numbers from 0 to below 1, "(0.9, 0.999)"')


def check_settings(cfg: ComponentAdamConfig) -> None:
    """Refuse values that mean nothing.

    Raises:
        UserError: a flag is out of its range.
    """
    betas(cfg)
    check_number("--adam-eps", cfg.adam_eps, cfg.adam_eps > 0, "above 0")
    for name in ("weight_decay", "component_clip_norm", "l2sp_weight", "ewc_weight"):
        value = getattr(cfg, name)
        check_number(_flag(name), value, value >= 0, "of 0 or more")
    check_number("--ewc-batches", cfg.ewc_batches, cfg.ewc_batches > 0, "of 1 or more")
    decay = cfg.layer_lr_decay
    check_number("--layer-lr-decay", decay, 0 < decay <= 1, "above 0 and up to 1")
    check_choice("--component-clip-group", cfg.component_clip_group, CLIP_GROUPS)


def settings_of(cfg: ComponentAdamConfig) -> dict[str, Any]:
    """Flag -> value of all that shapes an update, but for the learning rate.

    A checkpoint keeps them, so that a resumed run can say what has changed.
    """
    # fairseq hands over an OmegaConf object made from the dataclass.
    known = list(cfg) if OmegaConf.is_config(cfg) else [entry.name for entry in fields(cfg)]
    values = {name: getattr(cfg, name) for name in known if name not in ("lr", "_name")}
    values["adam_betas"] = list(betas(cfg))
    return {_flag(name): _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    """A value that a checkpoint may hold: enums become their text."""
    return value if isinstance(value, (bool, int, float, list, type(None))) else str(value)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
