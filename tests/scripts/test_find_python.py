"""find_python.sh takes a Python that can build fairseq, or says what is missing."""

from pathlib import Path

import pytest

from tests.scripts.runs import fails_with, pretend_python, run_script


@pytest.fixture
def include(tmp_path: Path) -> Path:
    """A folder with Python headers."""
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "Python.h").touch()
    return tmp_path / "include"


@pytest.mark.parametrize("version", ["3.10.0", "3.11.9", "3.12.1", "3.13.0"])
def test_supported_versions(tmp_path: Path, include: Path, version: str) -> None:
    python = pretend_python(tmp_path / "python", version, include)

    assert run_script("find_python.sh", python).stdout == f"{python}\n"


@pytest.mark.parametrize("version", ["2.7.18", "3.9.18", "3.14.0", "3.1.3"])
def test_other_versions_are_refused(tmp_path: Path, include: Path, version: str) -> None:
    python = pretend_python(tmp_path / "python", version, include)

    assert f"Python {version} ({python}) is not supported" in fails_with("find_python.sh", python)


def test_missing_headers(tmp_path: Path) -> None:
    python = pretend_python(tmp_path / "python", "3.11.7")

    assert fails_with("find_python.sh", python).startswith("Python.h is not in /nowhere")


def test_missing_compiler(tmp_path: Path, include: Path) -> None:
    python = pretend_python(tmp_path / "python", "3.11.7", include)

    line = fails_with("find_python.sh", python, env={"CXX": "no-such-compiler"})

    assert line.startswith("no C++ compiler")


def test_no_such_python() -> None:
    assert fails_with("find_python.sh", "python-of-mine").startswith("no such Python")


def test_the_first_that_serves_is_taken(tmp_path: Path, include: Path) -> None:
    pretend_python(tmp_path / "bin" / "python3.11", "3.11.7")
    serves = pretend_python(tmp_path / "bin" / "python3.12", "3.12.1", include)

    found = run_script("find_python.sh", env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"})

    assert found.stdout == f"{serves}\n"
