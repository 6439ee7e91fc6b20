"""The loading thread ends before the interpreter does."""

import subprocess
import sys

import pytest

from tests.support import REPO

# A thread that is inside torch whenever the main one ends.
PROGRAM = """
import sys, time, torch
import rxf
from fairseq.data.iterators import BufferedIterator

class Source:
    def __iter__(self):
        rows = torch.ones(300, 300)
        while True:
            yield [torch.cat([rows, rows]).sum() for _ in range(50)]
    def __len__(self):
        return 10**9

torch.set_num_threads(1)
batches = BufferedIterator({size}, Source())
assert float(next(batches)[0]) == 180000.0
time.sleep(0.05)
print("ends")
"""


def _run(fixes: str, size: int) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM.format(size=size)],
        env={"RXF_FIXES": fixes, "OMP_NUM_THREADS": "1", "PATH": ""},
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=120,
    )


# With room for a million batches, and where the thread waits for room.
@pytest.mark.parametrize("size", [10**6, 2])
def test_a_busy_thread_does_not_abort_the_exit(size: int) -> None:
    done = _run("", size)
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout == "ends\n"


def test_without_the_fix_it_does() -> None:
    """Not each time, so it is tried some times."""
    codes = (_run("background-loading", 10**6).returncode for _ in range(5))
    assert any(code in (-6, 134) for code in codes)
