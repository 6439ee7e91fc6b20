"""The generated pages say what the code says."""

import re

import pytest
import yaml

from docs.generated import commands, fixes, flags, methods
from docs.markdown import code_blocks
from rxf.fairseq_fixes import all_fixes
from rxf.methods import registry
from tests.support import REPO


@pytest.fixture(scope="module")
def page_of_flags() -> str:
    return flags.page()


def test_every_registered_name_has_a_section(page_of_flags: str) -> None:
    from fairseq.registry import REGISTRIES

    names = [
        name
        for kind in ("criterion", "optimizer")
        for name, cls in REGISTRIES[kind]["registry"].items()
        if cls.__module__.startswith("rxf.")
    ]
    assert len(names) > 10
    for name in names:
        assert f"\n### {name}\n" in page_of_flags


def test_every_flag_of_fairseqs_parser_is_there_with_its_default(page_of_flags: str) -> None:
    """What fairseq makes of each configuration, by its own generator."""
    from argparse import ArgumentParser

    from fairseq.dataclass.utils import gen_parser_from_dataclass

    for choice in flags.choices():
        parser = ArgumentParser(add_help=False)
        gen_parser_from_dataclass(parser, choice.config())
        for action in parser._actions:
            flag = f"`{action.option_strings[0]}`"
            assert flag in page_of_flags, f"{flag} of {choice.name}"


def test_yaml_blocks_are_the_defaults(page_of_flags: str) -> None:
    """Each block, read as YAML and put over the configuration, changes nothing."""
    from omegaconf import OmegaConf

    known = {choice.name: choice for choice in flags.choices()}
    blocks = [code for code in code_blocks(page_of_flags) if code.language == "yaml"]
    assert len(blocks) == len(known)
    for block in blocks:
        ((kind, values),) = yaml.safe_load(block.text).items()
        choice = known.pop(values["_name"])
        assert kind == choice.kind
        defaults = OmegaConf.structured(choice.config)
        merged = OmegaConf.merge(defaults, {k: v for k, v in values.items() if k != "_name"})
        expected = OmegaConf.to_container(defaults, resolve=False)
        assert isinstance(expected, dict)
        got = OmegaConf.to_container(merged, resolve=False)
        assert isinstance(got, dict)
        # A pair is a list in YAML.
        assert {k: _plain(v) for k, v in got.items() if k != "_name"} == {
            k: _plain(v) for k, v in expected.items() if k != "_name"
        }
    assert not known


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def test_flags_of_models_are_there(page_of_flags: str) -> None:
    models = page_of_flags[page_of_flags.index("## Models") :]
    assert "| `--freeze-encoder` | `freeze_encoder` | switch | off |" in models
    assert "| `--spectral-norm-scope` | `spectral_norm_scope` | `out_proj` or `head` |" in models


def test_shared_flags_stand_once(page_of_flags: str) -> None:
    assert page_of_flags.count("| `--report-mcc` |") == 1
    assert page_of_flags.count("| `--l2sp-weight` |") == 1
    assert page_of_flags.count("| `--eps` |") == 2, "of sentences, and of generation"


def test_every_fix_has_its_row_and_its_section() -> None:
    page = fixes.page()
    for fix in all_fixes():
        assert f"| [`{fix.name}`](#{fix.name}) |" in page
        section = page[page.index(f"\n## {fix.name}\n") :]
        assert f"`RXF_FIXES={fix.name}`" in section
        assert re.search(r"^Why this mends it:", section, flags=re.MULTILINE)
    assert "``" not in page.replace("```", ""), "double backticks are not Markdown's"


def test_issues_are_links() -> None:
    assert "[fairseq#4696](https://github.com/facebookresearch/fairseq/issues/4696)" in fixes.page()


def test_every_method_has_its_rows_and_its_card() -> None:
    page = methods.page()
    for method in registry.methods():
        card = (registry.folder(method) / "README.md").relative_to(REPO)
        assert f"| [{method.title}](../{card}) |" in page
        assert f"\n| {method.title} |" in page


def test_every_subcommand_has_its_help() -> None:
    page = commands.page()
    listed = list(commands.subcommands())
    assert ["prepare", "glue"] in listed and ["probe", "retention"] in listed
    for words in listed:
        assert f"usage: rxf {' '.join(words)}" in page
