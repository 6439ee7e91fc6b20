"""Files whole or not at all, and locks."""

from pathlib import Path

import pytest

from rxf.errors import UserError
from rxf.lab.files import held, read_json, write_json, written


def test_what_breaks_off_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(KeyboardInterrupt), written(path) as aside:
        aside.write_text("{half")
        raise KeyboardInterrupt
    assert read_json(path) == {"a": 1}


def test_what_is_no_json_is_none(tmp_path: Path) -> None:
    (tmp_path / "half").write_text("{half")
    assert read_json(tmp_path / "half") is None and read_json(tmp_path / "none") is None


def test_a_lock_is_held_once_and_let_go(tmp_path: Path) -> None:
    lock = tmp_path / "new" / ".lock"
    with held(lock, "first"), pytest.raises(UserError, match="^busy$"), held(lock, "busy"):
        pass
    with held(lock, "again"):
        pass
