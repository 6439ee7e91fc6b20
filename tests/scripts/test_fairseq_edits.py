"""fairseq_edits.py edits the sources that it knows, and stops at any others."""

import importlib.util
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import pytest

from tests.scripts.runs import SCRIPTS

SCRIPT = SCRIPTS / "fairseq_edits.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("fairseq_edits", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def sources(tmp_path: Path, script: ModuleType) -> Path:
    """Files that hold what every edit expects, and nothing else."""
    texts = defaultdict(list)
    for edit in script.EDITS:
        texts[edit.file] += [edit.old] * edit.count
    for name, parts in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("".join(parts))
    return tmp_path


def run(folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, SCRIPT, folder], capture_output=True, text=True)


def test_every_edit_is_made_and_the_allow_list_copied(sources: Path, script: ModuleType) -> None:
    done = run(sources)

    assert (done.returncode, done.stderr) == (0, "")
    for edit in script.EDITS:
        assert (sources / edit.file).read_text().count(edit.new) >= edit.count
    assert (sources / script.WHEEL_MODULE).read_bytes() == script.ALLOW_LIST.read_bytes()
    assert "torch.load" not in (sources / "fairseq" / "checkpoint_utils.py").read_text()


def test_every_edit_says_why(script: ModuleType) -> None:
    assert all(edit.reason and edit.old != edit.new for edit in script.EDITS)


def test_a_line_that_is_missing(sources: Path) -> None:
    (sources / "fairseq" / "data" / "token_block_dataset.py").write_text("nothing\n")

    done = run(sources)

    assert done.returncode == 1
    assert "token_block_dataset.py holds 'np.compat.long' 0 times, expected 1" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_line_that_occurs_once_more(sources: Path) -> None:
    configs = sources / "fairseq" / "dataclass" / "configs.py"
    configs.write_text(configs.read_text() + "@dataclass\n")

    done = run(sources)

    assert done.returncode == 1
    assert "configs.py holds '@dataclass' 14 times, expected 13" in done.stderr


def test_sources_that_were_edited_before(sources: Path) -> None:
    run(sources)

    assert run(sources).returncode == 1


def test_a_file_that_is_missing(sources: Path) -> None:
    (sources / "fairseq" / "distributed" / "utils.py").unlink()

    done = run(sources)

    assert done.returncode == 1
    assert "fairseq/distributed/utils.py is missing" in done.stderr


def test_no_folder_given() -> None:
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr.startswith("usage:")
