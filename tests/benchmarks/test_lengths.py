"""The lengths of rows: the tables are what the data says, and few rows stand for many."""

from pathlib import Path
from statistics import mean

import pytest

from benchmarks.training_step import lengths

MEANS = {"rte": 71.2, "sst2": 13.4}


@pytest.mark.parametrize("name", ["rte", pytest.param("sst2", marks=pytest.mark.slow)])
def test_tables_are_what_the_command_measures(name: str, shared_data: Path) -> None:
    found = lengths.measured(name, shared_data / "glue", shared_data / "gpt2_bpe")
    assert lengths.quantiles(found) == lengths.QUANTILES[name]
    assert round(mean(found), 1) == MEANS[name]


@pytest.mark.parametrize("name", list(MEANS))
def test_rows_are_spread_over_the_distribution(name: str) -> None:
    many, targets = lengths.rows_of(name, 2000, pairs=False)
    assert targets is None
    for got, wanted in zip(lengths.quantiles(many)[1:-1], lengths.QUANTILES[name][1:-1]):  # noqa: B905
        assert abs(got - wanted) <= 1
    few = lengths.rows_of(name, 16, pairs=False).sources
    assert abs(mean(few) / MEANS[name] - 1) < 0.1
    # Shuffled, so that a batch is not of one length, and the same in every process.
    assert few != sorted(few)
    assert few == lengths.rows_of(name, 16, pairs=False).sources


def test_quantiles_of_few_and_of_one() -> None:
    assert lengths.quantiles([5, 1, 3], parts=2) == (1, 3, 5)
    assert lengths.quantiles([4], parts=4) == (4, 4, 4, 4, 4)


def test_fixed_lengths_and_published_limits() -> None:
    assert lengths.rows_of("128", 3, pairs=False) == lengths.Rows([128] * 3, None)
    assert lengths.rows_of("128:64", 2, pairs=True) == lengths.Rows([128] * 2, [64] * 2)
    sources, targets = lengths.rows_of("cnndm", 41, pairs=True)
    assert set(sources) == {1024}
    assert targets is not None and (min(targets), max(targets)) == (61, 139)


@pytest.mark.parametrize(
    ("name", "pairs"),
    [("rte", True), ("cnndm", False), ("128:64", False), ("9", True), ("x", False), ("2", False)],
)
def test_what_does_not_suit_the_model_is_refused(name: str, pairs: bool) -> None:
    with pytest.raises(ValueError, match=f"{name}: choose .* of 3 tokens or more"):
        lengths.rows_of(name, 4, pairs)
