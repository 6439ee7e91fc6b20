"""Threads that draw seeded numbers take turns."""

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fairseq.data import data_utils

from rxf.fairseq_fixes import numpy_seed as fix


def drawn_beside_another(seeded: Callable[..., Any]) -> list[float]:
    """Three numbers of seed 1, after the first of which another thread seeds with 2."""
    inside, other_inside, drawn_all = threading.Event(), threading.Event(), threading.Event()

    def other() -> None:
        inside.wait(10)
        with seeded(2):
            other_inside.set()
            drawn_all.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    with seeded(1):
        drawn = [np.random.rand()]
        inside.set()
        # With the fix the other one does not come in before this block has ended.
        other_inside.wait(0.3)
        drawn += [np.random.rand(), np.random.rand()]
    drawn_all.set()
    thread.join(10)
    assert other_inside.is_set() and not thread.is_alive()
    return drawn


def test_with_and_without_the_fix() -> None:
    alone = list(np.random.RandomState(1).rand(3))
    assert drawn_beside_another(data_utils.numpy_seed) == alone
    # fairseq's own: a context manager that the fix wraps, and the function is one deeper.
    without = drawn_beside_another(data_utils.numpy_seed.__wrapped__)
    assert without[0] == alone[0] and without[1:] != alone[1:]


def test_nested_in_one_thread() -> None:
    with data_utils.numpy_seed(1), data_utils.numpy_seed(None), data_utils.numpy_seed(1, 2):
        np.random.rand()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes can be forked here")
def test_a_process_that_is_forked_meanwhile_does_not_wait() -> None:
    held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with data_utils.numpy_seed(1):
            held.set()
            go_on.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    child = os.fork()
    if child == 0:
        # Without a lock of its own it would wait for a thread that it does not have.
        os._exit(0 if fix._lock.acquire(timeout=1) else 1)
    go_on.set()
    thread.join(10)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
