"""Four small tasks of one vocabulary, for reading only."""

from pathlib import Path

import pytest

from tests.lab.probe.tasks import write_task
from tests.support import save_pretrained


@pytest.fixture(scope="package")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tasks")
    return {
        "two": write_task(folder / "two"),
        "three": write_task(folder / "three", seed=2, classes=3),
        "pair": write_task(folder / "pair", seed=3, pair=True),
        "number": write_task(folder / "number", seed=4, regression=True),
    }


@pytest.fixture(scope="package")
def model(tmp_path_factory: pytest.TempPathFactory, tasks: dict[str, Path]) -> Path:
    return save_pretrained(tmp_path_factory.mktemp("model"), tasks["two"])
