"""A recipe's Hydra config and its script's command are the same configuration."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from fairseq import options
from fairseq.dataclass.initialize import add_defaults, hydra_init
from fairseq.dataclass.utils import convert_namespace_to_omegaconf, omegaconf_no_object_check
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf, open_dict
from omegaconf.errors import InterpolationKeyError

import rxf  # noqa: F401  (registers what the configs name)
from rxf.errors import UserError
from rxf.lab.recipes import hydra
from rxf.lab.recipes.glue import recipes
from rxf.lab.recipes.summarization import SUMMARIZATION, XNLI, Printed
from rxf.lab.sweep.groups import CHOSEN, TYPED
from tests.lab.recipes.commands import printed, training_of
from tests.support import REPO, fork_fairseq_train

PATHS = {
    "common.user_dir": "rxf",
    "task.data": "WORK/data",
    "checkpoint.finetune_from_model": "model.pt",
    "checkpoint.save_dir": "WORK/run/checkpoints",
}
GLUE = {f"{one.stem}/{one.name}": one for one in recipes()}
ABSENT = object()
# Every method, both kinds of batch; the rest is slow.
QUICK = ["rte/r3f", "mnli/r4f", "sts-b/plain", "cola/freelb", "wnli/recadam", "mrpc/cwgnc"]
QUICK_SUMMARIZATION = [("cnn_dm", "r3f"), ("scitldr", "plain")]


def composed(folder: Path, name: str, overrides: dict[str, str]) -> Any:
    """What ``fairseq-hydra-train --config-dir FOLDER --config-name NAME`` trains with.

    The steps are those of ``fairseq_cli.hydra_train``.
    """
    GlobalHydra.instance().clear()
    hydra_init(name)
    with initialize_config_dir(config_dir=str(folder), version_base="1.1"):
        cfg = compose(name, overrides=[f"{key}={value}" for key, value in overrides.items()])
    add_defaults(cfg)
    with omegaconf_no_object_check():
        cfg = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True, enum_to_str=True))
    OmegaConf.set_struct(cfg, True)
    return cfg


def read_by_arch(model: Any, arch: str) -> dict[str, Any]:
    """Every setting that the architecture has, once it has filled in what is left to it."""
    if OmegaConf.is_config(model):
        with open_dict(model):
            ARCH_CONFIG_REGISTRY[arch](model)
        return dict(OmegaConf.to_container(model))
    ARCH_CONFIG_REGISTRY[arch](model)
    return vars(model)


def model_defaults(arch: str) -> dict[str, Any]:
    """What the architecture reads, as it is where nobody says anything; ABSENT if nothing."""
    filled = Namespace()
    ARCH_CONFIG_REGISTRY[arch](filled)
    parser = options.argparse.ArgumentParser(add_help=False)
    ARCH_MODEL_REGISTRY[arch].add_args(parser)
    of_flags = vars(parser.parse_args([]))
    of_flags = {name: ABSENT if value is None else value for name, value in of_flags.items()}
    return {**of_flags, **vars(filled)}


def differences(words: list[str], folder: Path, name: str, overrides: dict[str, str]) -> list[str]:
    """Where the two part, as ``group.key: command's, config's``."""
    args = options.parse_args_and_arch(options.get_training_parser(), input_args=words[1:])
    command = convert_namespace_to_omegaconf(args)
    config = composed(folder, name, overrides)
    found = []
    for group in (*TYPED, *CHOSEN):
        pair = [OmegaConf.to_container(one[group]) for one in (command, config)]
        found += [f"{group}.{line}" for line in unequal(*pair)]
    arch = args.arch
    assert config.model["_name"] == command.model._name == arch
    pair = [read_by_arch(one.model, arch) for one in (command, config)]
    known = model_defaults(arch)
    # What is left out has its default, if there is one; null is not left out.
    own = [{key: one.get(key, known[key]) for key in known} for one in pair]
    return found + [f"model.{line}" for line in unequal(*own)]


def unequal(command: dict[str, Any], config: dict[str, Any]) -> list[str]:
    keys = sorted({*command, *config})
    pairs = [(key, command.get(key, ABSENT), config.get(key, ABSENT)) for key in keys]
    return [f"{key}: {one!r}, {other!r}" for key, one, other in pairs if one != other]


def check_glue(name: str) -> None:
    one = GLUE[name]
    words = training_of(printed(f"glue/{one.stem}", "RAW", "WORK", one.name))
    paths = {**PATHS, "checkpoint.save_dir": f"WORK/{one.name}/checkpoints"}
    # One process makes the whole batch, on the command line and in the config.
    folder = REPO / "examples/glue/config" / one.stem
    assert differences(words, folder, one.name, paths) == []


@pytest.mark.parametrize("name", QUICK)
def test_glue(name: str) -> None:
    check_glue(name)


def test_the_quick_ones_have_every_method() -> None:
    assert {GLUE[name].name for name in QUICK} == {one.name for one in recipes()}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in GLUE if name not in QUICK])
def test_the_rest_of_glue(name: str) -> None:
    check_glue(name)


def check_summarization(script: Printed) -> None:
    commands = printed(f"summarization/{script.script}", "RAW", "WORK", *script.arguments)
    words = training_of(commands)
    save_dir = words[words.index("--save-dir") + 1]
    start = words[words.index("--finetune-from-model") + 1]
    paths = {**PATHS, "checkpoint.save_dir": save_dir, "checkpoint.finetune_from_model": start}
    folder = REPO / "examples/summarization/config" / script.script
    assert differences(words, folder, script.method, paths) == []


@pytest.mark.parametrize("name", QUICK_SUMMARIZATION, ids="-".join)
def test_summarization(name: tuple[str, str]) -> None:
    (script,) = [one for one in SUMMARIZATION if (one.script, one.method) == name]
    check_summarization(script)


@pytest.mark.slow
@pytest.mark.parametrize("script", SUMMARIZATION, ids=lambda one: f"{one.script}-{one.method}")
def test_all_of_summarization(script: Printed) -> None:
    check_summarization(script)


@pytest.mark.parametrize("script", XNLI, ids=lambda one: one.method)
def test_xnli(script: Printed) -> None:
    words = training_of(printed("xnli/xnli", "RAW", "WORK", *script.arguments))
    paths = {**PATHS, "checkpoint.save_dir": f"WORK/{script.method}-1/checkpoints"}
    assert differences(words, REPO / "examples/xnli/config", script.method, paths) == []


def test_a_difference_would_be_seen() -> None:
    """In a typed group, in a chosen one, in the model."""
    words = training_of(printed("glue/rte", "RAW", "WORK", "r3f", "--seed", 3))
    words += ["--weight-decay", "0.2", "--dropout", "0.3"]
    folder = REPO / "examples/glue/config/rte"
    found = differences(words, folder, "r3f", {**PATHS, "common.seed": "1"})
    told = {line.partition(":")[0] for line in found}
    # The task follows common.seed.
    assert told == {
        *("common.seed", "task.seed", "optimizer.weight_decay", "model.dropout"),
        "checkpoint.save_dir",
    }


@pytest.mark.parametrize("left_out", PATHS)
def test_what_the_command_line_has_to_give(left_out: str) -> None:
    """Nothing is trained from random weights, or into a folder that nobody named."""
    given = {key: value for key, value in PATHS.items() if key != left_out}
    with pytest.raises(InterpolationKeyError, match="give_on_the_command_line") as error:
        composed(REPO / "examples/glue/config/rte", "r3f", given)
    assert left_out in str(error.value)


def test_an_override_reaches_what_follows_it() -> None:
    overrides = {
        **PATHS,
        "optimization.lr": "[0.5]",
        "common.seed": "9",
        "model.encoder_layers": "2",
    }
    config = composed(REPO / "examples/glue/config/rte", "r3f", overrides)
    assert config.optimizer.lr == config.lr_scheduler.lr == [0.5]
    assert config.task.seed == 9 and config.model.encoder_layers == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--no-such-flag", "1"], "--no-such-flag: no group"),
        (["--criterion", "no_such"], "no such criterion"),
        (["--arch", "no_such"], "--arch no_such"),
    ],
    ids=["flag", "criterion", "arch"],
)
def test_words_that_fairseq_does_not_know(words: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        hydra.config([*GLUE["rte/r3f"].words(), *words])


@pytest.mark.slow
def test_the_real_command_composes_the_same() -> None:
    folder = REPO / "examples/glue/config/rte"
    words = ["--config-dir", folder, "--config-name", "r3f", "--cfg", "job"]
    paths = [f"{key}={value}" for key, value in PATHS.items()]
    done = fork_fairseq_train(*words, *paths, command="fairseq-hydra-train")
    shown = OmegaConf.create(done.stdout)
    config = composed(folder, "r3f", PATHS)
    for group in (*TYPED, *CHOSEN, "model"):
        told = OmegaConf.to_container(shown[group])
        ours = OmegaConf.to_container(config[group])
        # Interpolations are shown as they are written.
        resolved = {k: v for k, v in told.items() if not str(v).startswith("${")}
        assert resolved == {key: ours[key] for key in resolved}
