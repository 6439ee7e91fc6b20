"""NaN gradients end a run with the error that says so."""

import json
from pathlib import Path

import pytest

from tests.support import REPO, fork_fairseq_train, train_flags

FAULT = json.dumps({"fault": "nan", "update": 1})


@pytest.mark.parametrize(
    "fixes, error",
    [("", "FloatingPointError: gradients are Nan/Inf"), ("nan-detector", "StopIteration")],
)
def test_with_and_without_the_fix(
    fixes: str, error: str, sentence_data: Path, tmp_path: Path
) -> None:
    plugin = REPO / "tests" / "faults" / "faulty_plugin"
    flags = train_flags(sentence_data, tmp_path, user_dir=plugin)
    done = fork_fairseq_train(*flags, env={"RXF_FIXES": fixes, "RXF_FAULT": FAULT}, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == error
    assert "fault: nan at update 1" in done.stdout
