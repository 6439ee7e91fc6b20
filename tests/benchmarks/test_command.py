"""The whole command at its smallest."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import REPO


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *words], cwd=REPO, capture_output=True, text=True
    )


@pytest.mark.slow
def test_quick(tmp_path: Path) -> None:
    json_file, png = tmp_path / "new" / "all.json", tmp_path / "all.png"
    out = ["--json", str(json_file), "--picture", str(png)]
    done = run("benchmarks.training_step", "--quick", *out)
    assert done.returncode == 0, done.stderr
    assert "its figures say nothing" in done.stdout
    assert done.stdout.count("| rxf R3F packed |") == 4  # a table and one of parts, twice
    assert done.stdout.count("not measured") == 10
    told = json.loads(json_file.read_text())
    assert told["command"].startswith("python -m benchmarks.training_step --quick")
    assert {"date", "commit", "torch", "fairseq", "processor"} <= set(told["machine"])
    roberta, bart = told["figures"]["blocks"]
    assert (roberta["setting"]["model"], bart["setting"]["model"]) == ("roberta_base", "bart_base")
    for block in (roberta, bart):
        assert list(block["peers"]) == ["fairseq-plain", "fairseq-r3f", "plain", "r3f"]
        for figures in block["peers"].values():
            assert len(figures["rounds"]) == 2 and figures["peak_mib"] > 0
    assert png.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_growth(tmp_path: Path) -> None:
    words = ["--quick", "--model", "roberta_base", "--grow", "vocabulary", "--peers", "plain,r3f"]
    file = tmp_path / "grown.json"
    words += ["--also", "fixes off: RXF_FIXES=stale-copies", "--no-memory", "--json", str(file)]
    done = run("benchmarks.training_step", *words)
    assert done.returncode == 0, done.stderr
    assert "| 1,000 | fixes off |" in done.stdout
    grown = json.loads(file.read_text())["figures"]["growth"]["vocabulary"]
    assert grown["values"] == [500, 1000]
    small, large = (block["parameters"] for block in grown["blocks"])
    assert large - small >= 500 * 64


@pytest.mark.slow
@pytest.mark.parametrize("name", ["method_step", "generation_step"])
def test_older_benchmarks_share_the_trainer(name: str) -> None:
    """The peak of one peer, which goes through all of their set-up."""
    if name == "generation_step":
        module = "import benchmarks.generation_step as b; b.VOCABULARY, b.ROWS = 999, 2"
        words = [f"{module}; b.main(['--memory-of', 'fairseq R3F'])"]
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", *words], cwd=REPO, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert float(done.stdout.splitlines()[-1]) > 0
    else:
        done = run(f"benchmarks.{name}", "--quick", "--rounds", "1")
        assert done.returncode == 0, done.stderr
        assert "| R3F |" in done.stdout and "| PAC-tuning |" in done.stdout
