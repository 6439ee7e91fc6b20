"""setup.sh: errors in one line; a whole environment from nothing, and no work on the second run."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import support
from tests.scripts.runs import fails_with, pretend_python, run_script


@pytest.mark.parametrize(
    "args, line",
    [
        (["now"], "unknown argument now"),
        (["--python"], "--python needs an interpreter"),
        (["--venv"], "--venv needs a folder"),
    ],
)
def test_wrong_arguments(args: list[str], line: str) -> None:
    assert fails_with("setup.sh", *args).startswith(f"setup: {line}")


def test_a_wrong_python_makes_nothing(tmp_path: Path) -> None:
    python = pretend_python(tmp_path / "python", "3.9.18")
    venv = tmp_path / "venv"

    line = fails_with("setup.sh", "--python", python, "--venv", venv)

    assert line.startswith("setup: Python 3.9.18")
    assert not venv.exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()

    line = fails_with("setup.sh", "--python", sys.executable, "--venv", tmp_path)

    assert "is not empty and no virtual environment" in line
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_environment_of_another_python_is_left_alone(tmp_path: Path) -> None:
    python = pretend_python(tmp_path / "bin" / "python", "3.99.0")
    (tmp_path / "pyvenv.cfg").touch()

    line = fails_with("setup.sh", "--python", sys.executable, "--venv", tmp_path)

    assert "holds Python 3.99, not 3." in line
    assert python.exists()


def test_an_environment_that_is_being_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".rxf-unfinished").write_text(f"{os.getpid()}\n")

    line = fails_with("setup.sh", "--venv", tmp_path)

    assert line.startswith(f"setup: process {os.getpid()} is making {tmp_path}")
    assert (tmp_path / ".rxf-unfinished").exists()


def test_an_environment_that_was_interrupted_is_made_anew(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / ".rxf-unfinished").write_text(f"{ended.pid}\n")
    (tmp_path / "venv" / "half-written").touch()

    # An interpreter that serves but cannot make environments ends the run there.
    (tmp_path / "Python.h").touch()
    python = pretend_python(tmp_path / "python", "3.11.7", include=tmp_path)
    line = fails_with("setup.sh", "--python", python, "--venv", tmp_path / "venv")

    assert line == f"setup: {python} has no venv module: install it (Debian: python3-venv)"
    assert not (tmp_path / "venv").exists()


@pytest.mark.slow
def test_from_nothing_to_training_from_any_folder(tmp_path: Path, sentence_data: Path) -> None:
    venv = tmp_path / "venv"
    made = run_script("setup.sh", "--python", sys.executable, "--venv", venv, timeout=1800)
    assert made.returncode == 0, made.stderr

    started = time.monotonic()
    again = run_script("setup.sh", "--venv", venv)
    assert again.stderr == f"setup: {venv} is ready\n"
    assert time.monotonic() - started < 2

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert rxf_folder(venv, elsewhere) == support.REPO / "rxf"
    train(venv, elsewhere, sentence_data)

    # A regular install takes the place of the checkout, and leaves the checkout alone.
    source = copy_of_the_sources(tmp_path / "source")
    before = (support.REPO / "rxf" / "__init__.py").stat().st_mtime_ns
    pip = [venv / "bin" / "python", "-m", "pip"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", source], check=True)
    assert venv in rxf_folder(venv, elsewhere).parents
    assert (support.REPO / "rxf" / "__init__.py").stat().st_mtime_ns == before
    train(venv, elsewhere, sentence_data)

    back = run_script("setup.sh", "--venv", venv, timeout=600)
    assert back.returncode == 0, back.stderr
    assert rxf_folder(venv, elsewhere) == support.REPO / "rxf"


def rxf_folder(venv: Path, cwd: Path) -> Path:
    """What `rxf path` of the environment answers."""
    done = subprocess.run(
        [venv / "bin" / "rxf", "path"], cwd=cwd, stdout=subprocess.PIPE, text=True
    )
    return Path(done.stdout.strip())


def train(venv: Path, cwd: Path, data: Path) -> None:
    """One update with ``--user-dir rxf`` in a folder that holds no rxf."""
    flags = support.train_flags(data, cwd / "out", user_dir="rxf", max_update=1)
    done = subprocess.run(
        [venv / "bin" / "fairseq-train", *flags], cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (cwd / "out" / "checkpoint_last.pt").is_file()
    shutil.rmtree(cwd / "out")


def copy_of_the_sources(folder: Path) -> Path:
    """What `pip install FOLDER` needs, elsewhere: it would write into the checkout."""
    shutil.copytree(support.REPO / "rxf", folder / "rxf")
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(support.REPO / name, folder / name)
    return folder
