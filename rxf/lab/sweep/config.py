"""The sweep as Hydra sees it: a primary config, and a config group each of tasks and methods.

sweep.yaml            fairseq-hydra-train's groups, what all runs share
sweep/method/M.yaml   what method M puts over that: criterion, optimizer, model
sweep/task/T.yaml     what task T does: data, classes, metric

``sweep/task=T sweep/method=M common.seed=N`` is then one run, and Hydra's multirun over lists
of these is the sweep.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rxf.errors import UserError
from rxf.lab.prepared import Prepared
from rxf.lab.sweep import groups, resolvers
from rxf.lab.sweep.grid import Choice
from rxf.lab.sweep.groups import Group

__all__ = [
    "DEFAULTS",
    "OWNED",
    "Config",
    "flat",
    "resolved",
    "shared_config",
    "write",
]

DEFAULTS = Path(__file__).with_name("fine_tune.yaml")
# What the sweep says itself, and nobody else may.
OWNED = (
    *("common.user_dir", "common.seed", "common.log_format", "common.reset_logging"),
    *("common.log_file", "task.data", "task._name", "criterion._name", "optimizer._name"),
    *("model._name", "checkpoint.save_dir", "checkpoint.finetune_from_model"),
    *("checkpoint.restore_file",),
)

Config = dict[str, Group]
resolvers.install()


def shared_config(file: Optional[Path], lr: float) -> Config:
    """The settings of :data:`DEFAULTS` with those of ``file`` over them, as they are written.

    Args:
        file: a fairseq-hydra-train config, or None.
        lr: the learning rate if the file does not say.

    Raises:
        UserError: the file cannot be read or is no such config.
    """
    shared: Config = yaml.safe_load(DEFAULTS.read_text(encoding="utf-8"))
    shared["optimization"]["lr"] = [lr]
    for group, values in (_read(file) if file else {}).items():
        replaced = values.get("_name") not in (None, shared.get(group, {}).get("_name"))
        shared[group] = values if replaced else {**shared.get(group, {}), **values}
    if shared["task"]["_name"] != "sentence_prediction":
        raise UserError(f"--config {file}: task._name must be sentence_prediction")
    told = {group: values for group, values in shared.items() if group not in ("model", "sweep")}
    groups.check(told, f"--config {file}")
    return shared


def _read(file: Path) -> Config:
    """What a config file says; what it leaves to be filled in (``???``) it does not say."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"--config {file}: cannot be read ({first})") from None
    if not isinstance(content, dict):
        raise UserError(f"--config {file}: must hold fairseq's config groups")
    known = (*groups.TYPED, *groups.CHOSEN, "model", "sweep")
    found: Config = {}
    for group, values in content.items():
        if group not in known or not isinstance(values, dict):
            raise UserError(
                f"--config {file}: {group} is no group of settings that a sweep takes; "
                f"it takes {', '.join(known)}"
            )
        found[group] = {name: value for name, value in values.items() if value != "???"}
    for key in OWNED:
        group, name = key.split(".")
        if name != "_name" or group == "model":
            found.get(group, {}).pop(name, None)
    if not set(found.get("sweep", {})) <= {"epochs"}:
        raise UserError(f"--config {file}: of sweep only epochs may be set")
    return found


def write(
    folder: Path,
    out: Path,
    shared: Config,
    model: Group,
    pretrained: Path,
    tasks: Sequence[Prepared],
    choices: Sequence[Choice],
    threads: int,
) -> None:
    """Write what the module's text lists to ``folder``, for a sweep in ``out``."""
    parts: dict[str, Any] = {"sweep": _primary(out, shared, model, pretrained, threads)}
    parts |= {f"sweep/method/{c.method.name}": _of_method(c, shared) for c in choices}
    parts |= {f"sweep/task/{task.name}": _of_task(task) for task in tasks}
    for name, content in parts.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        header = "" if name == "sweep" else "# @package _global_\n"
        path.write_text(header + yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _primary(
    out: Path, shared: Config, model: Group, pretrained: Path, threads: int
) -> dict[str, Any]:
    config: Config = {group: _over(groups.typed(group), shared, group) for group in groups.TYPED}
    config["common"]["user_dir"] = str(Path(groups.rxf.__file__).resolve().parent)
    config["checkpoint"] |= {
        "save_dir": "${sweep.out}/${sweep.task}/${sweep.method}/seed-${common.seed}",
        "finetune_from_model": str(pretrained),
    }
    config["lr_scheduler"] = groups.complete("lr_scheduler", shared["lr_scheduler"])
    config["task"] = groups.complete("task", shared["task"])
    unknown = sorted(set(shared["model"]) - set(model))
    if unknown:
        raise UserError(f"--config: model.{unknown[0]}: {model['_name']} has no such setting")
    config["model"] = {**model, **shared["model"]}
    sweep = {**shared["sweep"], "out": str(out), "threads": threads}
    return {
        "defaults": [
            "_self_",
            {"sweep/method": "???"},
            {"sweep/task": "???"},
            {"override hydra/job_logging": "none"},
        ],
        **config,
        "sweep": sweep,
        "hydra": {
            "job": {"name": "rxf-sweep", "chdir": False},
            "sweep": {"dir": str(out), "subdir": _SUBDIR},
        },
    }


_SUBDIR = "${sweep.task}/${sweep.method}/seed-${common.seed}"


def _over(values: Group, shared: Config, group: str) -> Group:
    return {**values, **shared.get(group, {})}


def _of_method(choice: Choice, shared: Config) -> dict[str, Any]:
    """Criterion and optimizer in full, with what all share where the method does not say."""
    parts: dict[str, Any] = {"sweep": {"method": choice.method.name, "method_flags": choice.flags}}
    for group in ("criterion", "optimizer"):
        told = {**shared.get(group, {}), **choice.groups.get(group, {})}
        parts[group] = groups.complete(group, told)
    if "model" in choice.groups:
        parts["model"] = choice.groups["model"]
    return parts


# Where a prepared task's flags belong; fairseq's task copies the criterion's.
_HOMES = (
    ("criterion", lambda: groups.names("criterion", "sentence_prediction_r3f")),
    ("checkpoint", lambda: set(groups.typed("checkpoint"))),
    ("task", lambda: groups.names("task", "sentence_prediction")),
)


def _of_task(task: Prepared) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "task": {"data": str(task.folder)},
        "sweep": {
            "task": task.name,
            "task_folder": str(task.folder),
            "metric": task.metric,
            "baseline": task.baseline,
            "train_rows": task.train_rows,
        },
    }
    flags = groups.pairs(task.flags)
    flags.pop("task", None)
    for group, known in _HOMES:
        own = {name: flags.pop(name) for name in list(flags) if name in known()}
        parts[group] = {**parts.get(group, {}), **own}
    if flags:
        raise UserError(f"{task.folder}: prepare.json names flags unknown here: {', '.join(flags)}")
    return parts


def resolved(config: Any) -> dict[str, Any]:
    """A composed config as plain values.

    Raises:
        UserError: an interpolation leads nowhere, or not to a number where one is wanted.
    """
    try:
        values = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        raise UserError(f"the settings do not fit together: {str(error).splitlines()[0]}") from None
    assert isinstance(values, dict)
    return {str(name): value for name, value in values.items()}


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
