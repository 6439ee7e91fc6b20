"""What the sentence task cannot work with is named by its flag or file, in one line."""

from pathlib import Path
from typing import Any

import pytest

from tests.support import fork_fairseq_train, train_flags, write_sentence_data

CASES = [
    ({"arch": "transformer"}, None, "--arch transformer has no classification head", "Attribute"),
    ({"num_classes": None}, None, "--num-classes is missing", "AssertionError"),
    ({}, "input0/dict.txt", "input0/dict.txt is missing: DATA must be", "FileNotFoundError"),
    ({}, "label/dict.txt", "label/dict.txt is missing: DATA must be", "FileNotFoundError"),
]


@pytest.mark.parametrize(("changes", "lost", "mended", "stock"), CASES, ids=lambda v: str(v)[:20])
def test_with_and_without_the_fix(
    tmp_path: Path, changes: dict[str, Any], lost: str, mended: str, stock: str
) -> None:
    data = write_sentence_data(tmp_path / "data")
    flags = train_flags(data, tmp_path / "save", **changes)
    if lost:
        (data / lost).unlink()
    done = fork_fairseq_train(*flags, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("rxf: error: ")
    assert mended in done.stderr.splitlines()[-1]
    done = fork_fairseq_train(*flags, check=False, env={"RXF_FIXES": "sentence-task"})
    assert stock in done.stderr.splitlines()[-1]
