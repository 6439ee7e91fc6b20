"""Copies of checkpoints appear whole or not at all."""

import errno
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.file_io import PathManager

from rxf.errors import UserError
from tests.faults.chains import disk
from tests.support import fork_fairseq_train, stock, train_flags


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
    with pytest.raises(UserError, match=r"last.pt cannot be written \(No space left on device\)"):
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


# --------------------------------------------------------------- the first file of a save

STATE = {"model": {"weight": torch.arange(100_000.0)}}


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own with room for half of :data:`STATE` beside what is there."""
    with disk(tmp_path / "disk") as folder:
        if not folder.is_mount():
            pytest.skip("no disk can be mounted here (that takes root)")
        (folder / "last.pt").write_bytes(b"old")
        free = os.statvfs(folder)
        with open(folder / "ballast", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - 200_000)
        yield folder


def test_a_disk_that_is_full(full_disk: Path) -> None:
    with pytest.raises(UserError, match=r"last.pt cannot be written \(No space left on device\)"):
        checkpoint_utils.torch_persistent_save(STATE, str(full_disk / "last.pt"))
    assert (full_disk / "last.pt").read_bytes() == b"old"
    assert sorted(path.name for path in full_disk.iterdir()) == ["ballast", "last.pt"]


def test_what_fairseq_leaves_on_it(full_disk: Path) -> None:
    with pytest.raises((OSError, RuntimeError)):
        stock(checkpoint_utils.torch_persistent_save)(STATE, str(full_disk / "last.pt"))
    assert (full_disk / "last.pt.tmp").stat().st_size > 0


def test_a_limit_on_the_size_of_a_file(tmp_path: Path) -> None:
    """The second best, where no disk can be mounted."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(UserError, match=r"cannot be written \(File too large\)"):
            checkpoint_utils.torch_persistent_save(STATE, str(tmp_path / "last.pt"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


class _FailsOnce:
    """A file whose second write fails the first time, as on a disk that then gets room."""

    failed = False

    def __init__(self, file: Any) -> None:
        self._file, self._writes = file, 0

    def write(self, data: Any) -> int:
        self._writes += 1
        if self._writes == 2 and not _FailsOnce.failed:
            _FailsOnce.failed = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_fairseq_appends_its_second_try_to_the_first(tmp_path: Path) -> None:
    """So the file that takes the name cannot be read; why the fix tries once."""
    _FailsOnce.failed = False
    with open(tmp_path / "last.pt", "wb") as file:
        checkpoint_utils._torch_persistent_save(STATE, _FailsOnce(file))
    with pytest.raises(Exception, match="failed|damaged|corrupt|invalid"):
        torch.load(tmp_path / "last.pt", weights_only=True)


def test_another_error_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="pickle"):
        checkpoint_utils.torch_persistent_save({"f": lambda: 0}, str(tmp_path / "last.pt"))
    assert list(tmp_path.iterdir()) == []


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    here = platform.node().replace(".", "_")
    for name in ("last", "best"):
        (tmp_path / f"{name}.pt.{here}-{ended.pid}.tmp").write_bytes(b"half")
    others = [f"last.pt.{here}-{os.getppid()}.tmp", f"last.pt.not-{here}-{ended.pid}.tmp"]
    for name in others:
        (tmp_path / name).write_bytes(b"of one that runs, here or on another machine")
    (tmp_path / "last.pt.backup.tmp").write_bytes(b"a person's")
    checkpoint_utils.torch_persistent_save(STATE, str(tmp_path / "last.pt"))
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == sorted(["last.pt", *others, "last.pt.backup.tmp"])
