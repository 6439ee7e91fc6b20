"""Start-up: whose time an import is, the differences, and a run of each kind."""

import pytest

from benchmarks import start_up

IMPORTS = """
import time: self [us] | cumulative | imported package
import time:      1000 |       1000 | numpy
import time:        10 |         10 |         rich.text
import time:       100 |        110 |       rich
import time:      2000 |       2110 |     rxf.errors
import time:         5 |          5 |     json
import time:     30000 |      32115 |   rxf.methods
import time:       400 |        400 |   typing_extensions
import time:    400000 |     432515 | rxf
import time:      7777 |       7777 | site
"""


def test_an_import_is_added_to_the_module_of_rxf_that_first_asks() -> None:
    seconds = start_up.of_rxf(start_up.read_imports(IMPORTS.splitlines()))
    assert list(seconds) == ["rxf", "rxf.methods", "rxf.errors"]
    assert seconds["rxf"] == pytest.approx(0.4004)
    assert seconds["rxf.methods"] == pytest.approx(0.030005)
    assert seconds["rxf.errors"] == pytest.approx(0.00211)


def test_differences_are_taken_within_each_round() -> None:
    marks = {"start": {"without": [1.0, 5.0, 9.0], "with": [1.5, 5.25, 9.25]}}
    text, figures = start_up.table(marks)
    assert text.splitlines()[-1] == "| start | 5.00 s | 5.25 s | 0.25 s (0.25 to 0.50) |"
    assert figures["start"]["median"] == 0.25
    assert figures["start"]["rounds"] == marks["start"]


@pytest.mark.slow
def test_both_commands_come_to_their_marks() -> None:
    seconds = start_up.measured(rounds=1)
    assert set(seconds) == set(start_up.MARKS.values())
    first, last = seconds.values()
    for peer in start_up.PEERS:
        assert 0 < first[peer][0] < last[peer][0]


@pytest.mark.slow
def test_slowest_imports_are_of_rxf() -> None:
    seconds = start_up.slowest(3)
    assert len(seconds) == 4 and "rxf" in seconds
    assert seconds["all"] >= sum(seconds.values()) - seconds["all"]


def test_a_command_that_fails_is_told_of() -> None:
    with pytest.raises(RuntimeError, match="fairseq-train --no-such-flag failed:\n"):
        start_up.started(["--no-such-flag"])
