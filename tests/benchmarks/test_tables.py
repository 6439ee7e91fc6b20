"""The figures' arithmetic, tables, targets and pictures."""

from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from benchmarks import harness
from benchmarks.training_step import measure, peers, picture, tables, targets
from benchmarks.training_step.measure import Effort
from rxf.errors import UserError
from tests.benchmarks.made_up import SENTENCES, measured


def test_ratios_are_taken_within_each_round() -> None:
    # Twice the time in each round, though the medians are 3 and 4.
    figures = harness.compared([2.0, 4.0, 20.0], [1.0, 3.0, 10.0])
    assert figures["ratio"] == 2.0 and figures["seconds"] == 4.0
    assert (figures["ratio_least"], figures["ratio_most"]) == (4 / 3, 2.0)
    assert harness.ratio_with_spread(figures) == "2.00 (1.33 to 2.00)"


def test_the_harness_table_is_relative_to_the_first_peer() -> None:
    text, figures = harness.table({"a": [1.0, 2.0], "b": [3.0, 4.0]}, {"a": 10.0, "b": 15.0})
    assert text.splitlines()[-1] == "| b | 3.5 | 2.50 (2.00 to 3.00) | 15 | 1.50 |"
    assert figures["b"]["memory_ratio"] == 1.5 and figures["a"]["ratio"] == 1.0


def test_main_table() -> None:
    block = measured({"a": [1.0, 2.0], "b": [3.0, 4.0]}, mib={"a": 10.0, "b": 15.0})
    lines = tables.main(block).splitlines()
    assert lines[2] == "| A | 1.5 | 1.00 (1.00 to 1.00) | 9 | 10 | 1.00 |"
    assert lines[3] == "| B | 3.5 | 2.50 (2.00 to 3.00) | 9 | 15 | 1.50 |"
    assert tables.main(measured({"a": [1.0]})).endswith("| 9 |  |  |")
    assert "1,234 parameters, batches of 3 x 9 with 27 tokens" in tables.heading(block)


def test_shares_of_parts_add_up_to_all() -> None:
    block = measured({"a": [1.0], "b": [1.0]})
    none = {"noise": 0.0, "decoder": 0.0}
    for number, figures in enumerate(block.figures.values()):
        seconds = dict.fromkeys(["encoder", "head", "loss", "backward", "optimizer"], 1.0 + number)
        figures["parts"] = {**none, **seconds, "rest": 5.0}
        figures["operations"] = 1234.5
    head, _, first, second = (line.split(" | ") for line in tables.parts(block).splitlines())
    assert len(head) == 9 and "noise" not in head[1]
    for row, whole in ((first, "10"), (second, "15")):
        assert sum(float(cell.removesuffix(" %")) for cell in row[1:-2]) == pytest.approx(100, 0.01)
        assert row[-2:] == [whole, "1,234 |"]
    assert tables.parts(measured({"a": [1.0]})) == ""


def test_growth_has_a_row_for_each_value_and_peer() -> None:
    steps = [measured({"a": [1.0], "b": [2.0]}), measured({"a": [1.0], "b": [6.0]})]
    lines = tables.growth("batch", [4, 1000], steps).splitlines()
    assert len(lines) == 2 + 4 and lines[0].startswith("| batch | peer |")
    assert lines[-1] == "| 1,000 | B | 6 | 6.00 (6.00 to 6.00) |  |  |"


def test_targets_without_a_gpu_are_not_measured() -> None:
    block = measured({"fairseq-plain": [1.0], "r3f": [1.9], "clean": [1.5]}, targets.CPU_ROBERTA)
    # Another number of batches is the same workload, another length is not.
    block.setting = replace(block.setting, batches=3)
    other = measured({"fairseq-plain": [1.0], "r3f": [9.0]}, replace(block.setting, lengths="64"))
    lines = targets.table("cpu", [other, block]).splitlines()[2:]
    assert len(lines) == len(targets.TARGETS)
    assert lines[0].endswith("| r3f | time | 2 | 1.90, reached |")
    assert lines[1].endswith("| clean | time | 1.4 | 1.50, missed |")
    rest = [line for line in lines[2:] if not line.endswith("not measured |")]
    assert rest == []
    assert sum(line.startswith("| gpu ") for line in lines) == 3
    assert targets.table("gpu", [block]).count("not measured") == len(lines)


def test_targets_are_ratios_to_stock_plain() -> None:
    block = measured({"plain": [1.0], "r3f": [1.9]}, targets.CPU_ROBERTA)
    assert "reached" not in targets.table("cpu", [block])


class MadeUpWorker:
    """A worker of which a turn takes as many seconds as its peer's title has letters."""

    def __init__(self, peer: peers.Peer) -> None:
        self.peer = peer
        self.facts = {"parameters": 7, "tokens": 30.0, "shapes": [[2, 15]]}
        self.asked: list[str] = []

    def ask(self, what: str) -> dict[str, float]:
        self.asked.append(what)
        size = float(len(self.peer.title))
        told = {"turn": "seconds", "parts": "rest", "operations": "operations", "memory": "mib"}
        return {told[what]: size}


def made_up_crew(log: list[list[MadeUpWorker]]) -> object:
    class Crew:
        def __init__(self, group: list[peers.Peer], *_: object) -> None:
            self.workers = [MadeUpWorker(peer) for peer in group]
            log.append(self.workers)

        def __enter__(self) -> list[MadeUpWorker]:
            return self.workers

        def __exit__(self, *_: object) -> None:
            pass

    return Crew


def test_blocks_of_peers_share_the_first() -> None:
    found = [peers.Peer(key, key, {}) for key in ("a", "bb", "ccc", "dddd")]
    log: list[list[MadeUpWorker]] = []
    with (
        mock.patch.object(measure, "crew", made_up_crew(log)),
        mock.patch("torch.cuda.is_available", return_value=False),
    ):
        block = measure.measure(found, SENTENCES, Effort(rounds=3, at_once=2))
    names = [[worker.peer.key for worker in workers] for workers in log]
    assert names == [["a", "bb"], ["a", "ccc"], ["a", "dddd"], ["a", "bb"], ["ccc", "dddd"]]
    # Three turns, the parts and the operations in one process, the memory in another.
    assert log[1][1].asked == ["turn"] * 3 + ["parts", "operations"]
    assert log[4][0].asked == ["memory"]
    assert list(block.figures) == ["a", "bb", "ccc", "dddd"]
    last = block.figures["dddd"]
    assert (last["ratio"], last["memory_ratio"], last["tokens_per_second"]) == (4.0, 4.0, 7.5)
    assert last["rounds"] == [4.0] * 3 and last["reference_rounds"] == [1.0] * 3


def test_picture(tmp_path: Path) -> None:
    mib = {"a": 10.0, "b": 15.0}
    block = measured({"a": [1.0, 2.0], "b": [3.0, 4.0]}, mib=mib)
    path = tmp_path / "bars.png"
    picture.draw(path, [block], {})
    bars = path.read_bytes()
    picture.draw(path, [block], {"batch": ([2, 4], [block, block])})
    assert bars.startswith(b"\x89PNG") and len(path.read_bytes()) > len(bars)


@pytest.mark.parametrize("name", ["bars.nothing", "bars"])
def test_a_picture_that_cannot_be_is_refused_at_once(name: str) -> None:
    picture.check(Path("bars.PNG"))
    with pytest.raises(UserError, match=f"^--picture {name}: is none of .*png"):
        picture.check(Path(name))


def test_a_picture_needs_matplotlib() -> None:
    with (
        mock.patch.dict("sys.modules", {"matplotlib.figure": None}),
        pytest.raises(UserError, match="^--picture: needs matplotlib"),
    ):
        picture.check(Path("bars.png"))
