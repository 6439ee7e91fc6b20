"""Fixtures that every test may ask for."""

import os
from pathlib import Path

import pytest

from tests import support

SHARED = support.REPO.parent / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets: ``$RXF_DATA``, or ``../shared/data``."""
    folder = Path(os.environ.get("RXF_DATA", SHARED / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not there (set RXF_DATA)")
    return folder


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """The folder of pre-trained checkpoints, ``../shared/models``."""
    folder = SHARED / "models"
    if not folder.is_dir():
        pytest.skip(f"no pre-trained models: {folder} is not there")
    return folder


@pytest.fixture(scope="session")
def sentence_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 training and 24 validation sentences in two classes, for reading only."""
    return support.write_sentence_data(tmp_path_factory.mktemp("data") / "sentences")


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory, sentence_data: Path) -> Path:
    """A tiny pre-trained RoBERTa for :func:`sentence_data`, for reading only."""
    return support.save_pretrained(tmp_path_factory.mktemp("model"), sentence_data)
