"""`rxf sweep`: what is refused before any run, what is skipped, recorded and tried again."""

import fcntl
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from omegaconf import OmegaConf

from rxf.errors import UserError
from rxf.lab.model_flags import TINY, model_flags
from rxf.lab.prepared import read_prepared
from rxf.lab.sweep import command, launch
from rxf.methods import registry

Sweep = Callable[..., int]
# Flags that turn a method on need nothing else.
METHODS = [m for m in (registry.PLAIN, *registry.methods()) if m.sentences is not None]


def folder(tmp_path: Path, seed: int = 1, method: str = "plain") -> Path:
    return tmp_path / "out" / "polarity" / method / f"seed-{seed}"


def record(tmp_path: Path, seed: int = 1) -> Any:
    return json.loads((folder(tmp_path, seed) / "run.json").read_text())


@pytest.mark.slow
def test_the_yaml_says_what_the_flags_say(
    words: list[str], family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each method's config against fairseq's own reading of the flags that turn it on."""
    asked = composed(words, monkeypatch, ["--methods", ",".join(m.name for m in METHODS)])
    task = read_prepared(family / "polarity")
    for method, run in zip(METHODS, asked, strict=True):
        config = yaml.safe_load(run.config)
        settings = registry.flags(method, "sentences")
        flags = ["data", *task.flags, *model_flags(TINY), "--batch-size", "16"]
        flags += ["--lr-scheduler", "polynomial_decay", "--total-num-update", "2"]
        flags += ["--warmup-updates", "1", "--pooler-dropout", "0.1", "--max-update", "2"]
        flags += ["--lr", "1e-3", "--weight-decay", "0.01", "--adam-eps", "1e-6"]
        flags += ["--adam-betas", "(0.9, 0.98)"]
        flags += [] if "optimizer" in settings else ["--optimizer", "adam"]
        for name, value in settings.items():
            flags += ["--" + name.replace("_", "-"), *([] if value is True else [str(value)])]
        parsed = options.parse_args_and_arch(options.get_training_parser(), flags)
        stock = convert_namespace_to_omegaconf(parsed)
        for group in ("criterion", "optimizer", "lr_scheduler"):
            assert config[group] == plain(stock[group]), (method.name, group)
        assert {**plain(stock["task"]), "data": str(task.folder)} == config["task"]
        of_model = {name: getattr(parsed, name, value) for name, value in config["model"].items()}
        assert config["model"] == {**of_model, "_name": "roberta"}


def plain(group: Any) -> dict[str, Any]:
    return OmegaConf.to_container(group, resolve=True, enum_to_str=True)  # type: ignore[return-value]


def composed(words: list[str], monkeypatch: pytest.MonkeyPatch, more: list[str]) -> list[Any]:
    """The runs that the command comes to."""
    seen: list[Any] = []
    monkeypatch.setattr(command, "_plan", lambda runs, retry: seen.extend(runs) or "")
    from rxf import cli

    cli.main([*words, *more, "--dry-run"])
    return seen


def test_overrides_settings_and_a_config_file(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file over the defaults, overrides over the file; another optimizer leaves Adam's out."""
    file = tmp_path / "mine.yaml"
    content = {
        "optimization": {"max_update": 50, "lr": [0.002], "clip_norm": 2.0},
        "optimizer": {"_name": "nag", "momentum": 0.5},
        "checkpoint": {"restore_file": "???", "save_dir": "elsewhere"},
        "model": {"_name": "roberta", "dropout": 0.3},
    }
    file.write_text(yaml.safe_dump(content))
    more = ["--config", str(file), "--methods", "plain,cwgnc", "--set"]
    more += ["cwgnc.component_clip_norm=0.2", "dataset.batch_size=4"]
    more += ["--tasks", words[-1], str(Path(words[-1]).with_name("topic"))]
    one, two, *others = composed(words, monkeypatch, more)
    assert [run.run.settings["task"] for run in others] == ["topic", "topic"]
    config = yaml.safe_load(one.config)
    # The words of the fixture hold the override.
    assert config["optimization"]["max_update"] == 2
    assert config["optimization"]["lr"] == [0.002] and config["optimization"]["clip_norm"] == 2.0
    assert config["optimizer"] == {
        "_name": "nag",
        "momentum": 0.5,
        "weight_decay": 0.0,
        "lr": [0.002],
    }
    assert config["model"]["dropout"] == 0.3 and config["dataset"]["batch_size"] == 4
    assert config["checkpoint"]["save_dir"] == str(folder(tmp_path))
    assert config["checkpoint"]["best_checkpoint_metric"] == "accuracy"
    assert yaml.safe_load(two.config)["optimizer"]["component_clip_norm"] == 0.2
    assert two.run.command != one.run.command
    assert two.run.settings["method_flags"][-2:] == ["--component-clip-norm", "0.2"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["optimization.max_updat=3"], "max_updat"),
        (["+optimization.max_updat=3"], "max_updat"),
        (["optimization.max_update=many"], "optimization.max_update: .*many"),
        (["optimization.max_update=0"], "max_update 0: must be at least 1"),
        (["optimization.max_update=5,6"], "one value for all runs"),
        (["common.seed=5"], "the sweep sets common.seed itself"),
        (["checkpoint.save_dir=/x"], "the sweep sets checkpoint.save_dir itself"),
        (["sweep.task=x"], "the sweep sets sweep.task itself"),
        (["hydra.sweep.dir=/x"], "the sweep sets hydra.sweep.dir itself"),
        (["hydra.launcher.n_jobz=3"], "n_jobz"),
        (["optimizer=sgd"], "optimizer"),
        (["~optimization.lr=null"], "nothing can be taken away"),
        (["common.fp16=[b"], r"OVERRIDE common.fp16=\[b"),
        (["criterion.smart_mu=1"], "method plain: .*smart_mu"),
        (["--jobs", "0"], "--jobs 0"),
        (["--jobs", "3"], "--jobs 3: the basic launcher"),
        (["--pretrained", "/nowhere.pt"], "--pretrained /nowhere.pt: there is no such file"),
        (["--config", "/nowhere.yaml"], "--config /nowhere.yaml: cannot be read"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_breaks_a_run_is_found_before_any(
    more: list[str], said: str, sweep: Sweep, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        sweep(*more)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1, 2]", "must hold fairseq's config groups"),
        ("optimisation: {lr: [1]}", "optimisation is no group"),
        ("optimization: {max_updates: 3}", "optimization.*max_updates"),
        ("optimizer: {weight_decy: 3}", "optimizer.*weight_decy"),
        ("optimizer: {_name: adan}", "adan: fairseq can be told no such optimizer"),
        ("model: {droput: 3}", "model.droput"),
        ("task: {_name: translation}", "must be sentence_prediction"),
        ("sweep: {out: x}", "only epochs"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_bad_config_file(content: str, said: str, sweep: Sweep, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    with pytest.raises(UserError, match=said):
        sweep("--config", file)
    assert not (tmp_path / "out").exists()


def test_two_sweeps_in_one_folder(sweep: Sweep, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / "sweep.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another sweep is at work here"):
            sweep()
    assert not folder(tmp_path).exists()


def test_a_dry_run_writes_nothing(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("--dry-run", "--seeds", "1-2", "--launcher", "joblib", "--jobs", "2") == 0
    out = capsys.readouterr().out
    assert out.count("to run") == 2 and str(folder(tmp_path, 2)) in out
    assert "--multirun common.seed=1,2 sweep/task=polarity sweep/method=plain" in out
    assert "hydra/launcher=joblib hydra.launcher.n_jobs=2" in out
    assert not (tmp_path / "out").exists()


def test_slurm_composes_and_is_told_its_settings(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without SLURM here this is as far as a test can go; see submitit_local."""
    more = ["hydra.launcher.partition=gpu", "hydra.launcher.timeout_min=90"]
    assert sweep("--launcher", "submitit_slurm", "--jobs", "8", "--dry-run", *more) == 0
    out = capsys.readouterr().out
    assert "hydra/launcher=submitit_slurm hydra.launcher.array_parallelism=8" in out
    assert "hydra.launcher.partition=gpu" in out
    with pytest.raises(UserError, match="partitoin"):
        sweep("--launcher", "submitit_slurm", "hydra.launcher.partitoin=gpu")


def test_a_launcher_that_is_not_installed(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(launch.LAUNCHERS, "joblib", ("hydra_no_such_plugin", "n_jobs"))
    with pytest.raises(UserError, match=r"--launcher joblib: .*pip install 'rxf\[sweep\]'"):
        sweep("--launcher", "joblib")


@pytest.mark.slow
@pytest.mark.usefixtures("stand_in")
def test_failed_finished_tried_again(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through Hydra's basic launcher, fairseq-hydra-train stood in for."""
    seeds = ("--seeds", "1-2")
    broken = tmp_path / "out" / "broken-1"
    broken.parent.mkdir()
    broken.touch()
    assert sweep(*seeds) == 1
    out = capsys.readouterr().out
    assert "1 of 2 runs finished, 1 failed" in out and "RuntimeError: out of luck" in out
    failed, fine = record(tmp_path, 1), record(tmp_path, 2)
    assert failed["status"] == "failed" and "out of luck" in failed["error"]
    assert fine["status"] == "finished" and fine["best"] == 62.0
    assert fine["baseline"] == 50.0 and fine["method_flags"][-2:] == ["--r3f-lambda", "0.0"]
    kept = {path.name for path in folder(tmp_path, 2).iterdir()}
    assert {".hydra", "run.json", "train.log", "checkpoint_best.pt"} < kept
    assert len([name for name in kept if name.startswith("config-")]) == 1

    # A failed run counts as done, unless it is to be tried again.
    assert sweep(*seeds) == 1
    assert (folder(tmp_path, 1) / "started").read_text() == "x"
    broken.unlink()
    assert sweep(*seeds, "--retry-failed") == 0
    assert (folder(tmp_path, 1) / "started").read_text() == "xx"
    assert (folder(tmp_path, 2) / "started").read_text() == "x"

    # Other settings would throw away what is there.
    with pytest.raises(UserError, match="dataset.batch_size 16, now it is 8: .*--overwrite"):
        sweep(*seeds, "dataset.batch_size=8")
    assert record(tmp_path, 2) == fine
