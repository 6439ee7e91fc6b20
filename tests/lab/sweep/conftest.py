"""Tasks of the built-in language, a stand-in for fairseq-hydra-train, and the command."""

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from rxf import cli
from rxf.lab.quickstart import data
from rxf.lab.quickstart.pretrain import SHIPPED

# As fairseq-hydra-train is called: reads the YAML, logs as fairseq does, writes checkpoints.
# What it does besides is told by files beside OUT: `slow` makes it wait for ever, `broken-N`
# makes seed N fail.
STAND_IN = """
import pathlib, sys, time, yaml
folder, name = pathlib.Path(sys.argv[2]), sys.argv[4]
config = yaml.safe_load((folder / f"{name}.yaml").read_text())
seed = config["common"]["seed"]
told = folder.parents[2]
with (folder / "started").open("a") as started: started.write("x")
while (told / "slow").is_file(): time.sleep(0.1)
if (told / f"broken-{seed}").is_file():
    sys.exit("RuntimeError: out of luck")
(folder / "checkpoint_best.pt").write_text("")
value = 60 + seed
print('| INFO | train_inner | {"num_updates": "%d", "wps": "10", "wpb": "5"}' % 2)
print('| INFO | valid | {"valid_accuracy": "%s", "valid_num_updates": "%d"}' % (value, 2))
"""


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all tasks of the built-in language."""
    folder = tmp_path_factory.mktemp("family")
    data.write_family(folder, data.Sizes(train=64, valid=48))
    return folder


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process started from now on takes :data:`STAND_IN` for fairseq-hydra-train."""
    package = tmp_path / "stand-in" / "fairseq_cli"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "hydra_train.py").write_text(textwrap.dedent(STAND_IN))
    monkeypatch.setenv("PYTHONPATH", str(package.parent), prepend=":")


@pytest.fixture
def words(tmp_path: Path, family: Path) -> list[str]:
    """Of a sweep of a single run of two updates."""
    return [
        *("sweep", str(tmp_path / "out"), "optimization.max_update=2"),
        *("--pretrained", str(SHIPPED), "--methods", "plain", "--seeds", "1"),
        *("--launcher", "basic", "--tasks", str(family / "polarity")),
    ]


@pytest.fixture
def sweep(words: list[str]) -> Callable[..., int]:
    """`rxf sweep` in this process, its last flags winning; returns the exit status."""
    return lambda *more: cli.main([*words, *map(str, more)])
