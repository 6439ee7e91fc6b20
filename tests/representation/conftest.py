"""Held-out text in the words of the tiny sentences."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def text(sentence_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The validation sentences as `rxf prepare text` would write them, for reading only."""
    folder = tmp_path_factory.mktemp("text")
    for name in ("valid.bin", "valid.idx", "dict.txt"):
        shutil.copy(sentence_data / "input0" / name, folder / name)
    return folder
