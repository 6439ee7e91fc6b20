"""fairseq's config groups in full, and which group a flag belongs to.

Hydra composes a config before fairseq imports any plugin, so that a criterion's own keys
must stand in the YAML; and a key that does not stand there cannot be overridden.  So every
group is written out from the dataclass that fairseq has for it.
"""

import argparse
from argparse import Namespace
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, Optional

import yaml
from fairseq.dataclass.configs import FairseqConfig
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from fairseq.registry import REGISTRIES
from fairseq.tasks import TASK_DATACLASS_REGISTRY
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

import rxf  # noqa: F401  (registers what fairseq is asked for here)
from rxf.errors import UserError

__all__ = ["TYPED", "Group", "check", "complete", "model_defaults", "names", "pairs", "typed"]

Group = dict[str, Any]

# The groups of a training that fairseq has one dataclass for.
TYPED = ("common", "distributed_training", "dataset", "optimization", "checkpoint", "ema")
# Those whose dataclass is chosen by their _name.
CHOSEN = ("task", "criterion", "optimizer", "lr_scheduler")


def typed(group: str) -> Group:
    """All of a group of :data:`TYPED`, at its defaults."""
    return _plain(FairseqConfig.__dataclass_fields__[group].default)


def complete(group: str, values: Mapping[str, Any]) -> Group:
    """All of a group of :data:`CHOSEN`: ``values``, and the defaults of what they leave out.

    Values that the dataclass does not know are left out too: they belong to another choice.

    Raises:
        UserError: fairseq has no dataclass of that name.
    """
    known = _plain(_dataclass(group, values.get("_name")))
    own = {name: value for name, value in values.items() if name in known}
    return {**known, **own}


def names(group: str, name: str) -> set[str]:
    """What the dataclass of ``name`` in a group of :data:`CHOSEN` knows.

    Raises:
        UserError: fairseq has no dataclass of that name.
    """
    return {field.name for field in fields(_dataclass(group, name))} - {"_name"}


def model_defaults(sizes: Mapping[str, Any]) -> Group:
    """Everything that a RoBERTa's flags may say.

    Args:
        sizes: of :func:`rxf.lab.model_flags.flags_from_checkpoint`.
    """
    arch = sizes["arch"]
    given = {name: value for name, value in sizes.items() if name != "arch"}
    # As fairseq's own parser does it: a flag that is not given is left to the architecture.
    model = Namespace(**{**_flags(arch, argparse.SUPPRESS), **given})
    ARCH_CONFIG_REGISTRY[arch](model)
    return {**_flags(arch, None), **vars(model), "_name": arch}


def _flags(arch: str, default: Optional[str]) -> Group:
    parser = argparse.ArgumentParser(add_help=False, argument_default=default)
    ARCH_MODEL_REGISTRY[arch].add_args(parser)
    return vars(parser.parse_args([]))


def pairs(flags: Iterable[str]) -> Group:
    """``["--num-classes", "2", "--report-mcc"]`` as ``{"num_classes": 2, "report_mcc": True}``."""
    found: Group = {}
    name = ""
    for word in flags:
        if word.startswith("--"):
            name = word[2:].replace("-", "_")
            found[name] = True
        else:
            found[name] = yaml.safe_load(word)
    return found


def check(config: Mapping[str, Group], origin: str) -> None:
    """Names and types of a config; an interpolation passes as it is.

    Args:
        config: group -> settings.
        origin: what to blame in the message.

    Raises:
        UserError: fairseq knows no such group or setting, or a value is of another type.
    """
    for group, values in config.items():
        if group == "model":
            continue
        if not isinstance(values, Mapping):
            raise UserError(f"{origin}: {group} must hold settings, not the value {values!r}")
        try:
            OmegaConf.merge(OmegaConf.structured(_dataclass_of(group, values)), values)
        except OmegaConfBaseException as error:
            first = str(error).splitlines()[0]
            key = getattr(error, "full_key", None)
            raise UserError(f"{origin}: {group}{f'.{key}' if key else ''}: {first}") from None


def _dataclass_of(group: str, values: Mapping[str, Any]) -> Any:
    if group in CHOSEN:
        return _dataclass(group, values.get("_name"))
    if group not in TYPED:
        known = ", ".join([*TYPED, *CHOSEN, "model"])
        raise UserError(f"{group}: is no group of a training; choose among {known}")
    return FairseqConfig.__dataclass_fields__[group].default


def _dataclass(group: str, name: Any) -> Any:
    known = TASK_DATACLASS_REGISTRY if group == "task" else REGISTRIES[group]["dataclass_registry"]
    if name not in known:
        raise UserError(f"{group}._name {name}: fairseq can be told no such {group} by YAML")
    return known[name]


def _plain(dataclass: Any) -> Group:
    structured = OmegaConf.structured(dataclass)
    return dict(OmegaConf.to_container(structured, resolve=False, enum_to_str=True))  # type: ignore[arg-type]
