"""Batches of what is treated alike."""

import pytest

from rxf.optim import batches
from rxf.optim.batches import alike


def test_one_key_a_batch_in_order_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_ELEMENTS", 10)
    words = ["a" * 4, "b" * 3, "a" * 6, "a", "b" * 12, "b", "a" * 9]
    got = list(alike(words, key=lambda word: word[0], size=len))
    assert got == [
        ["a" * 4, "a" * 6],
        ["a", "a" * 9],
        ["b" * 3],
        ["b" * 12],
        ["b"],
    ]


def test_what_counts_for_nothing_is_in_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_ELEMENTS", 1)
    assert list(alike(range(5), key=lambda _: None, size=lambda _: 0)) == [[0, 1, 2, 3, 4]]
    assert list(alike([], key=id, size=lambda _: 1)) == []
