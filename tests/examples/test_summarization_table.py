"""The table of the small BART's runs."""

import json
import subprocess
import sys
from pathlib import Path

from tests.support import REPO

SCRIPT = REPO / "examples" / "summarization" / "table.py"


def table(work: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, SCRIPT, work], capture_output=True, text=True)


def test_mean_and_spread(tmp_path: Path) -> None:
    for run, f in {"plain-1": 0.2, "plain-2": 0.22, "plain-10": 0.27, "r3f-1": 0.31234}.items():
        scores = {f"ROUGE-{kind}": {"F": {"average": f}} for kind in "12L"}
        (tmp_path / run).mkdir()
        (tmp_path / run / "rouge.json").write_text(json.dumps({"scores": scores}))
    (tmp_path / "data").mkdir()
    lines = table(tmp_path).stdout.splitlines()
    assert "| plain | 10 | 27.00 | 27.00 | 27.00 |" in lines
    # Mean 23, deviations -3, -1, 4: the root of 26 / 2.
    spread = "23.00 ± 3.61"
    assert f"| **plain** | mean ± sd of 3 | {spread} | {spread} | {spread} |" in lines
    assert lines[-1] == "| **r3f** | mean ± sd of 1 | 31.23 | 31.23 | 31.23 |"


def test_a_folder_without_runs_is_named(tmp_path: Path) -> None:
    done = table(tmp_path)
    assert done.returncode == 1 and done.stderr.strip().startswith(f"{tmp_path}: holds no")
