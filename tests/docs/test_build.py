"""The documentation builds without a warning."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from docs import tree
from tests.support import REPO

# The extra `docs`.
MISSING = [n for n in ("sphinx", "myst_parser", "furo") if importlib.util.find_spec(n) is None]


def build(out: Path) -> "subprocess.CompletedProcess[str]":
    words = [str(REPO / "scripts/docs.sh"), "--python", sys.executable, "--out", str(out)]
    return subprocess.run(words, cwd=REPO, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING} (pip install 'rxf[docs]')")
def test_it_builds_without_a_warning(tmp_path: Path) -> None:
    done = build(tmp_path)
    assert done.returncode == 0, done.stderr[-5000:]
    first = Path(done.stdout.strip().splitlines()[-1])
    assert first.is_file()
    for page in tree.chapters():
        html = tmp_path / "html" / page.replace(".md", ".html")
        assert html.is_file(), page
    card = (tmp_path / "html/rxf/methods/r3f/README.html").read_text(encoding="utf-8")
    assert "Aghajanyan" in card and "../../../docs/flags.html" in card, "it is among the others"


def test_a_page_without_its_chapters_and_files_would_be_seen(tmp_path: Path) -> None:
    tree.write(tmp_path)
    index = (tmp_path / "docs" / "index.md").read_text(encoding="utf-8")
    assert "{toctree}" in index and "\n/docs/flags\n" in index
    assert "{toctree}" not in (REPO / "docs" / "index.md").read_text(encoding="utf-8")
    assert (tmp_path / "examples/glue/recadam_distance.png").is_file(), "a picture of a page"
    assert (tmp_path / "rxf/fairseq_fixes/bf16.py").is_file(), "a file that a page links to"
    assert (tmp_path / "docs" / "flags.md").is_file()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(SystemExit, match="holds no earlier build"):
        tree.write(tmp_path)
    assert (tmp_path / "mine").exists()


@pytest.mark.parametrize("words", [["--pyton", "x"], ["--out"]], ids=["unknown", "no value"])
def test_wrong_arguments_are_named(words: list[str]) -> None:
    done = subprocess.run([REPO / "scripts/docs.sh", *words], capture_output=True, text=True)
    assert (
        done.returncode == 1
        and f"docs: {'unknown argument ' if words[1:] else ''}{words[0]}" in done.stderr
    )
