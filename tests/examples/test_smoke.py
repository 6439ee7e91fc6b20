"""Every recipe's ``--smoke`` form: all stages on made-up data, and nothing to do the second time.

Those whose results are looked at more closely are in the recipes' own tests.
"""

import os
from pathlib import Path

import pytest

from tests.lab.recipes.commands import run_script
from tests.support import REPO

# Recipe -> what stands behind WORK, and what the last stage makes; the GLUE scripts take turns
# with their methods.
CASES = {
    "glue/cola": (["freelb"], "freelb/scores.json"),
    "glue/sst-2": (["r4f"], "r4f/scores.json"),
    "glue/mrpc": (["recadam"], "recadam/scores.json"),
    "glue/sts-b": (["r3f"], "r3f/scores.json"),
    "glue/qqp": (["plain"], "plain/scores.json"),
    "glue/qnli": (["cwgnc"], "cwgnc/scores.json"),
    "glue/wnli": (["r3f"], "r3f/scores.json"),
    "summarization/gigaword": ([], "rouge.json"),
    "summarization/reddit_tifu": ([], "rouge.json"),
    "summarization/aeslc": (["r3f", "1"], "r3f-1/rouge.json"),
    "summarization/scitldr": (["plain", "1"], "plain-1/rouge.json"),
    "summarization/pretrain_small_bart": ([], "model.pt"),
    "translation/train": (["de", "en"], "bleu.json"),
}
ELSEWHERE = {"glue/mnli", "glue/rte", "summarization/cnn_dm", "xnli/xnli"}


def smoke(recipe: str, *arguments: object) -> str:
    done = run_script(recipe, "--smoke", *arguments)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_no_recipe_is_left_out() -> None:
    """Every script that has the form is run, and each that is run is there."""
    scripts = (REPO / "examples").glob("*/*.sh")
    recipes = {
        f"{path.parent.name}/{path.stem}"
        for path in scripts
        if os.access(path, os.X_OK) and "--smoke" in path.read_text(encoding="utf-8")
    }
    assert recipes <= CASES.keys() | ELSEWHERE
    assert CASES.keys() | ELSEWHERE <= {
        f"{path.parent.name}/{path.stem}" for path in (REPO / "examples").glob("*/*.sh")
    }


@pytest.mark.slow
@pytest.mark.parametrize("recipe", CASES)
def test_all_stages(recipe: str, tmp_path: Path) -> None:
    arguments, product = CASES[recipe]
    smoke(recipe, tmp_path / "work", *arguments)
    assert (tmp_path / "work" / product).stat().st_size > 0
    again = smoke(recipe, tmp_path / "work", *arguments)
    stages = {"summarization/pretrain_small_bart": 3, "translation/train": 5}.get(recipe, 4)
    assert again.count("done before with the same command") == stages
