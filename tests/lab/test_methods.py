"""`rxf methods`, and the tables that README and documentation have of it."""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import pytest

import rxf  # noqa: F401
from rxf.cli import main
from rxf.errors import UserError
from rxf.lab import doctor
from rxf.lab.methods import BEGIN, END, filled_in, tables
from rxf.lab.methods.surface import KINDS, borrowed_from, fairseq_knows, own_flags, switch
from rxf.methods import registry
from rxf.methods.registry import PLAIN, Method, find, methods
from tests.support import REPO

OF_KINDS = [
    pytest.param(method, kind, id=f"{method.name}-{kind}")
    for method in (PLAIN, *methods())
    for kind in KINDS
    if getattr(method, kind) is not None
]


def test_the_readme_has_the_table() -> None:
    text = (REPO / "README.md").read_text(encoding="utf-8")
    stale = text != filled_in(text, tables.readme())
    assert not stale, "README.md is stale: run `rxf methods --write README.md`"


@pytest.mark.parametrize(("method", "kind"), OF_KINDS)
def test_fairseq_knows_every_flag_of_the_tables(method: Method, kind: str) -> None:
    assert fairseq_knows(method, kind)


def flags_of(name: str, kind: str = "sentences") -> dict[str, str]:
    return {flag.name: flag.default for flag in own_flags(find(name), kind)}


def test_flags_are_those_that_the_method_declares() -> None:
    r3f = flags_of("r3f")
    assert r3f["--eps"] == "1e-5" and r3f["--r3f-share-dropout"] == "off"
    assert "--report-mcc" not in r3f, "it is every sentence criterion's"
    assert flags_of("r3f", "generation")["--r3f-reduction"] == "sentence"
    recadam = flags_of("recadam")
    assert recadam["--recadam-pretrain-cof"] == "5000"
    assert recadam["--recadam-pretrained"] == "none"
    assert "--adam-eps" not in recadam, "it is every optimizer's"


def test_a_shared_flag_with_another_default_is_the_methods_own() -> None:
    assert flags_of("cwgnc") == {"--component-clip-norm": "0.05"}


def test_flags_of_models_are_found_and_borrowed_ones_are_not_repeated() -> None:
    r4f = find("r4f")
    assert borrowed_from(r4f, "sentences") is find("r3f")
    assert flags_of("r4f") == {"--spectral-norm-scope": "out_proj"}
    row = next(line for line in tables.markdown().splitlines() if line.startswith("| R4F |"))
    assert "those of R3F, `--spectral-norm-scope` out_proj" in row


def test_generation_repeats_no_flag_that_is_the_same() -> None:
    row = next(line for line in tables.markdown().splitlines() if line.startswith("| R3F |"))
    assert row.count("--eps") == 1
    assert row.count("`--noise-type`") == 2, "it has another default"


@pytest.mark.parametrize(
    "wrong",
    [
        {"sentences": {"criterion": "sentence_prediction_r5f"}},
        {"sentences": {"criterion": "sentence_prediction_r3f", "r5f_lambda": 1}},
        {"registers": ("nothing",)},
    ],
    ids=["criterion", "flag", "module"],
)
def test_a_method_that_is_not_registered_is_seen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, wrong: Mapping[str, Any]
) -> None:
    made = replace(find("r3f"), name="r5f", generation=None, **wrong)
    monkeypatch.setattr(registry, "_packages", lambda: {"rxf.methods.r3f": made})
    assert doctor.run(Namespace()) == 1
    assert "NOT REGISTERED r5f" in capsys.readouterr().out


def test_doctor_lists_every_method(capsys: pytest.CaptureFixture) -> None:
    doctor.run(Namespace())
    out = capsys.readouterr().out
    for method in methods():
        assert f"on  {method.name} " in out
    assert "NOT REGISTERED" not in out


def test_the_command_lists_what_turns_each_on(capsys: pytest.CaptureFixture) -> None:
    assert main(["methods"]) == 0
    out = capsys.readouterr().out
    for method in methods():
        assert f"{method.name} " in out and method.summary in out
        assert all(words in out for kind in KINDS if (words := switch(method, kind)))


def test_a_file_is_rewritten_between_its_markers(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):
        assert main(["methods", "--write", str(path)]) == 0
        text = path.read_text()
        assert text == f"before\n{BEGIN}\n\n{tables.readme()}\n{END}\nafter\n"


@pytest.mark.parametrize("text", ["nothing", BEGIN, f"{END} {BEGIN}", f"{BEGIN}{BEGIN}{END}", None])
def test_a_file_without_markers_is_refused(tmp_path: Path, text: Optional[str]) -> None:
    path = tmp_path / "page.md"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match="page.md"):
        main(["methods", "--write", str(path)])
    assert text is None or path.read_text() == text
