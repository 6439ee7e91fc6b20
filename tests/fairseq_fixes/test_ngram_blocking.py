"""n-gram blocking bans what the definition says, and nothing repeats in what is generated."""

import importlib.util
import logging
import math
import random
from typing import Any, Callable

import pytest
import torch
from fairseq import ngram_repeat_block
from fairseq.sequence_generator import SequenceGenerator

from tests.forward.models import Task, batch, build

Block = ngram_repeat_block.NGramRepeatBlock
PAD, EOS, VOCABULARY = 1, 2, 12


def _banned_by_definition(hypothesis: list[int], size: int) -> set[int]:
    """Tokens after which some ``size`` tokens in a row stand in the hypothesis twice."""
    ngrams = [hypothesis[at : at + size] for at in range(len(hypothesis) - size + 1)]
    return {
        token
        for token in range(VOCABULARY)
        if len(hypothesis) + 1 >= size and (hypothesis + [token])[-size:] in ngrams
    }


def _banned(
    rows: list[list[int]], size: int, step: int, dtype: Any = torch.float32, beams: int = 1
) -> list[set[int]]:
    """What the block bans in each row; also checks that it leaves the others alone."""
    torch.manual_seed(len(rows))
    before = torch.randn(len(rows), VOCABULARY).to(dtype)
    lprobs = before.clone()
    found = Block(size)(torch.tensor(rows), lprobs, len(rows) // beams, beams, step)
    assert found is lprobs and found.dtype is dtype
    banned = found.eq(-math.inf)
    assert torch.equal(found[~banned], before[~banned])
    return [set(row.nonzero().flatten().tolist()) for row in banned]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_hand_made_cases(dtype: Any) -> None:
    row = [EOS, 5, 6, 7, 5, 6, PAD, PAD]
    assert _banned([row], size=3, step=5, dtype=dtype) == [{7}]
    assert _banned([row], size=3, step=4, dtype=dtype) == [set()]
    assert _banned([row], size=2, step=5, dtype=dtype) == [{7}]
    assert _banned([row], size=2, step=4, dtype=dtype) == [{6}]
    assert _banned([row], size=1, step=3, dtype=dtype) == [{EOS, 5, 6, 7}]
    assert _banned([row], size=7, step=5, dtype=dtype) == [set()]
    # Every continuation of 5 6 so far is banned, and the same token twice is one ban.
    assert _banned([[5, 6, 7, 5, 6, 8, 5, 6, 7, 5, 6]], size=3, step=10, dtype=dtype) == [{7, 8}]


def test_the_start_symbol_is_part_of_an_ngram() -> None:
    # A prefix may hold </s> again, as BART's targets do with --prefix-size.
    assert _banned([[EOS, 5, EOS, PAD]], size=2, step=2) == [{5}]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_equals_the_definition(size: int) -> None:
    source = random.Random(size)
    seen = 0
    for _ in range(60):
        length, beams, sentences = (source.randint(1, limit) for limit in (12, 4, 3))
        words = source.randint(1, 4)
        rows = [
            [EOS] + [3 + source.randrange(words) for _ in range(length - 1)]
            for _ in range(beams * sentences)
        ]
        for step in range(length):
            padded = [row[: step + 1] + [PAD] * (length - step) for row in rows]
            expected = [_banned_by_definition(row[: step + 1], size) for row in rows]
            assert _banned(padded, size, step, beams=beams) == expected
            # What stands after ``step`` plays no part.
            assert _banned(rows, size, step, beams=beams) == expected
            seen += sum(map(len, expected))
    assert seen > 100


def test_compiles_with_the_generator() -> None:
    script = torch.jit.script(Block(3))
    lprobs = torch.zeros(1, VOCABULARY)
    script(torch.tensor([[EOS, 5, 6, 7, 5, 6, PAD]]), lprobs, 1, 1, 5)
    assert lprobs.eq(-math.inf).nonzero().tolist() == [[0, 7]]


def test_a_usable_extension_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram_repeat_block, "is_cuda_extension_usable", lambda: True)
    monkeypatch.setattr(Block, "call_cuda_extension", lambda self, *args: "extension")
    call = (torch.tensor([[EOS, 5]]), torch.zeros(1, VOCABULARY), 1, 1, 1)
    assert Block(3)(*call) == "extension"
    assert Block(3, use_extension=False)(*call) is call[1]


def test_size_1_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Block(2)
        assert not caplog.records
        Block(1)
    assert "--no-repeat-ngram-size 1" in caplog.text


def _released_path() -> Callable:
    """The method as fairseq ships it: its file, loaded a second time."""
    spec = importlib.util.spec_from_file_location("released", str(ngram_repeat_block.__file__))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.NGramRepeatBlock._no_repeat_ngram


def _repeats(tokens: list[int], size: int = 3) -> bool:
    ngrams = [tuple(tokens[at : at + size]) for at in range(len(tokens) - size + 1)]
    return len(set(ngrams)) < len(ngrams)


def _generated(size: int, beam: int) -> list[list[int]]:
    task = Task()
    model = build("transformer", heads=False, max_target_positions=64)
    limits = {"beam_size": beam, "min_len": 15, "max_len_b": 24}
    generator = SequenceGenerator([model], task.dictionary, **limits, no_repeat_ngram_size=size)
    hypotheses = generator.generate([model], {"net_input": batch("transformer", rows=4)})
    # Every hypothesis, and with the </s> that each starts with.
    return [[EOS, *one["tokens"].tolist()] for sentence in hypotheses for one in sentence]


@pytest.mark.parametrize("beam", [1, 4])
def test_no_trigram_repeats_in_what_is_generated(
    beam: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert any(map(_repeats, _generated(0, beam)))
    blocked = _generated(3, beam)
    assert not any(map(_repeats, blocked))
    assert min(map(len, blocked)) > 15
    monkeypatch.setattr(Block, "_no_repeat_ngram", _released_path())
    assert any(map(_repeats, _generated(3, beam)))
