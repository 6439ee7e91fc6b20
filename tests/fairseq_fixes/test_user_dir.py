"""``--user-dir`` may name the imported package in any way."""

import os
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
from fairseq import utils

import rxf
from rxf.errors import UserError
from tests.support import REPO, fork_fairseq_train, stock, train_flags

PACKAGE = Path(rxf.__file__).parent


def _import(user_dir: object) -> None:
    utils.import_user_module(Namespace(user_dir=str(user_dir)))


@pytest.fixture
def other_checkout(tmp_path: Path) -> Path:
    """Another path to the same checkout, as another mount of it would be."""
    (tmp_path / "checkout").symlink_to(PACKAGE.parent, target_is_directory=True)
    return tmp_path / "checkout" / "rxf"


def test_any_spelling_is_accepted(
    other_checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other-name").symlink_to(PACKAGE, target_is_directory=True)
    for spelling in (PACKAGE, f"{PACKAGE}/", other_checkout, tmp_path / "other-name"):
        _import(spelling)
    monkeypatch.chdir(PACKAGE.parent)
    for spelling in ("rxf", "./rxf", "rxf/", "../" + PACKAGE.parent.name + "/rxf"):
        _import(spelling)
    utils.import_user_module(Namespace(user_dir=None))
    utils.import_user_module(Namespace())


def test_stock_fairseq_refuses(other_checkout: Path) -> None:
    with pytest.raises(ImportError, match="not globally unique"):
        stock(utils.import_user_module)(Namespace(user_dir=str(other_checkout)))


def test_another_copy_is_named(tmp_path: Path) -> None:
    copy = shutil.copytree(PACKAGE, tmp_path / "rxf", ignore=shutil.ignore_patterns("*.pyc"))
    with pytest.raises(UserError) as error:
        _import(copy)
    assert str(copy) in str(error.value) and str(PACKAGE) in str(error.value)


def test_a_folder_that_is_not_there_is_fairseqs_to_refuse(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        _import(tmp_path / "nowhere")


@pytest.mark.parametrize("spelling", ["rxf/", "link"])
def test_trains(spelling: str, tmp_path: Path, sentence_data: Path) -> None:
    user_dir = spelling
    if spelling == "link":
        (tmp_path / "checkout").symlink_to(REPO, target_is_directory=True)
        user_dir = os.path.relpath(tmp_path / "checkout" / "rxf", REPO)
    flags = train_flags(sentence_data, tmp_path / "save", user_dir=user_dir)
    fork_fairseq_train(*flags)
