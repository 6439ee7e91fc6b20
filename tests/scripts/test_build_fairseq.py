"""build_fairseq.sh: errors in one line, and a wheel for every supported Python."""

import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.scripts.runs import fails_with, pretend_python, run_script


@pytest.mark.parametrize(
    "args, line",
    [
        (["--fast"], "unknown argument --fast"),
        (["--python"], "--python needs an interpreter"),
        (["--out"], "--out needs a folder"),
        (["--python", "python-of-mine"], "no such Python: python-of-mine"),
    ],
)
def test_wrong_arguments(args: list[str], line: str) -> None:
    assert fails_with("build_fairseq.sh", *args).startswith(f"build_fairseq: {line}")


def test_an_unsupported_python(tmp_path: Path) -> None:
    python = pretend_python(tmp_path / "python", "3.9.18")

    assert "Python 3.9.18" in fails_with("build_fairseq.sh", "--python", python)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["python3.10", "python3.11", "python3.12", "python3.13"])
def test_the_wheel(tmp_path: Path, name: str) -> None:
    found = run_script("find_python.sh", name)
    if found.returncode:
        pytest.skip(f"this machine has no {name} that can build: {found.stderr.strip()}")

    done = run_script("build_fairseq.sh", "--python", name, "--out", tmp_path, timeout=600)

    assert done.returncode == 0, done.stderr
    wheel = Path(done.stdout.strip())
    assert wheel.parent == tmp_path
    tag = name.replace("python", "cp").replace(".", "")
    assert wheel.name.startswith(f"fairseq-0.12.2+rxf2-{tag}-{tag}-")
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(tmp_path / "content")
    metadata = (tmp_path / "content" / "fairseq-0.12.2+rxf2.dist-info" / "METADATA").read_text()
    assert "Requires-Dist: torch>=2.5" in metadata
    assert "torchaudio" not in metadata
    # Every file compiles in that Python.
    python = found.stdout.strip()
    subprocess.run(
        [python, "-W", "ignore", "-m", "compileall", "-q", tmp_path / "content"], check=True
    )
