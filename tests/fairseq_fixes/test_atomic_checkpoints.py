"""Copies of checkpoints appear whole or not at all."""

import shutil
from pathlib import Path

import pytest
from fairseq.file_io import PathManager

from tests.support import fork_fairseq_train, train_flags


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "new.pt").write_bytes(b"new" * 1000)
    (tmp_path / "last.pt").write_bytes(b"old")
    return str(tmp_path / "new.pt"), str(tmp_path / "last.pt")


def test_copy(files: tuple[str, str]) -> None:
    assert PathManager.copy(*files, overwrite=True)
    assert Path(files[1]).read_bytes() == b"new" * 1000
    assert len(list(Path(files[1]).parent.iterdir())) == 2


def test_a_full_disk_leaves_the_old_file(
    files: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(source: str, target: str) -> None:
        Path(target).write_bytes(b"ne")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", half)
    with pytest.raises(OSError, match="No space left"):
        PathManager.copy(*files, overwrite=True)
    assert Path(files[1]).read_bytes() == b"old"
    assert len(list(Path(files[1]).parent.iterdir())) == 2


@pytest.mark.parametrize("off", [False, True])
def test_kill_during_the_copy(off: bool, tmp_path: Path, sentence_data: Path) -> None:
    # A user dir that is killed half way through the copy to checkpoint_last.pt.
    plugin = tmp_path / "killed_plugin"
    plugin.mkdir()
    (plugin / "__init__.py").write_text(
        "import os, shutil\n"
        "import rxf\n"
        "def half(source, target):\n"
        "    open(target, 'wb').write(b'half')\n"
        "    os._exit(9)\n"
        "shutil.copyfile = half\n"
    )
    save_dir = tmp_path / "save"
    settings = {"disable_validation": False, "user_dir": plugin}
    save_dir.mkdir()
    (save_dir / "checkpoint_last.pt").write_bytes(b"old")
    flags = train_flags(sentence_data, save_dir, finetune_from_model=None, **settings)
    flags += ["--restore-file", ""]  # what stands there is no checkpoint
    env = {"RXF_FIXES": "atomic-checkpoints"} if off else {}
    done = fork_fairseq_train(*flags, env=env, check=False)
    assert done.returncode == 9
    expected = b"half" if off else b"old"
    assert (save_dir / "checkpoint_last.pt").read_bytes() == expected


def test_without_overwrite_it_is_as_before(files: tuple[str, str]) -> None:
    assert PathManager.copy(files[0], files[1] + ".other")
    assert Path(files[1] + ".other").read_bytes() == b"new" * 1000
