"""The source distribution and the wheel of rxf: all of it is there, and works on its own."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.scripts.runs import run_script
from tests.support import REPO, write_sentence_data

BUILD = """
import sys
from setuptools import build_meta
out = sys.argv[1]  # a build leaves its own words in sys.argv
build_meta.build_sdist(out)
build_meta.build_wheel(out)
"""
TOP = ["setup.py", "pyproject.toml", "README.md", "LICENSE"]


def sources() -> set[str]:
    """Everything of the package that is no by-product."""
    paths = (path.relative_to(REPO) for path in (REPO / "rxf").rglob("*") if path.is_file())
    return {str(path) for path in paths if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Paths of "sdist" and "wheel", made from a copy, as a build leaves its own folders."""
    folder = tmp_path_factory.mktemp("distribution")
    copy, out = folder / "copy", folder / "out"
    shutil.copytree(REPO / "rxf", copy / "rxf", ignore=shutil.ignore_patterns("__pycache__"))
    for name in TOP:
        shutil.copy(REPO / name, copy / name)
    out.mkdir()
    subprocess.run(
        [sys.executable, "-c", BUILD, out], cwd=copy, check=True, capture_output=True, timeout=300
    )
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return {"sdist": sdist, "wheel": wheel}


def test_every_file_of_the_package_is_in_both(built: dict[str, Path]) -> None:
    with zipfile.ZipFile(built["wheel"]) as wheel:
        packed = {name for name in wheel.namelist() if name.startswith("rxf/")}
    assert packed == sources()
    with tarfile.open(built["sdist"]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert sources() | set(TOP) <= names


def run(command: list[object], folder: Path, seconds: float = 900) -> str:
    """What the command prints, run in ``folder`` with nothing of this checkout in reach."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "RXF_FIXES")}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


@pytest.mark.slow
def test_both_install_in_an_empty_environment_and_train(
    built: dict[str, Path], tmp_path: Path
) -> None:
    """One environment after the other, as torch is the same in both and takes the time."""
    arguments = ["--python", sys.executable, "--out", tmp_path]
    fairseq = run_script("build_fairseq.sh", *arguments, timeout=900)
    assert fairseq.returncode == 0, fairseq.stderr
    wheel = fairseq.stdout.strip()
    data = write_sentence_data(tmp_path / "data")
    binaries = tmp_path / "venv" / "bin"
    run([sys.executable, "-m", "venv", binaries.parent], tmp_path)
    pip = [binaries / "python", "-m", "pip"]
    # The torch that is tested here: a looser pin may fetch gigabytes of another build.
    run([*pip, "install", "-q", "torch==2.13.0", wheel, built["wheel"]], tmp_path)
    run([*pip, "check"], tmp_path)
    installed = check_training(binaries, data, tmp_path / "wheel")
    run([*pip, "uninstall", "-q", "-y", "rxf"], tmp_path)
    assert not Path(installed).exists()
    run([*pip, "install", "-q", wheel, built["sdist"]], tmp_path)
    assert check_training(binaries, data, tmp_path / "sdist") == installed


def check_training(binaries: Path, data: Path, folder: Path) -> str:
    """Train by what `rxf path` names; returns that."""
    folder.mkdir()
    user_dir = run([binaries / "rxf", "path"], folder).strip()
    assert binaries.parent in Path(user_dir).parents
    flags = "--task sentence_prediction --num-classes 2 --init-token 0 --separator-token 2 --cpu"
    flags += " --arch roberta --encoder-layers 2 --encoder-embed-dim 16 --encoder-ffn-embed-dim 32"
    flags += " --encoder-attention-heads 2 --max-positions 64 --batch-size 8 --num-workers 0"
    flags += " --criterion sentence_prediction_r3f --eps 0.1 --optimizer adam --max-update 2"
    log = run(
        [binaries / "fairseq-train", data, "--user-dir", user_dir, *flags.split()]
        + ["--save-dir", folder / "save", "--log-format", "json", "--log-interval", "1"],
        folder,
    )
    assert "symm_kl" in log and (folder / "save" / "checkpoint_last.pt").is_file()
    doctor = run([binaries / "rxf", "doctor"], folder)
    assert "noise" in doctor
    return user_dir
