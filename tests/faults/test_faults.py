"""A share of `python -m tests.faults`, and that it tells when something is lost."""

import json
import random
import shutil
from pathlib import Path

import pytest
import torch

from tests.faults import command
from tests.faults.chains import Chain, Record
from tests.faults.command import run_subject
from tests.faults.equality import differences
from tests.faults.plans import FAULTS
from tests.faults.starts import Start
from tests.faults.subjects import Subject, subjects
from tests.support import load_checkpoint

QUICK = ["SIGTERM", "SIGKILL in a copy", "SIGKILL, last truncated"]
# Of those tried, one by which the first signal comes at update 12, when something is saved.
SEED = 7


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Subject]:
    return subjects(tmp_path_factory.mktemp("subjects"))


@pytest.fixture(scope="module")
def twin(known: dict[str, Subject], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoints of an uninterrupted run of plain fine-tuning, for reading only."""
    folder = tmp_path_factory.mktemp("twin")
    assert Start(known["plain-sentences"].flags(folder / "save"), folder / "log").wait() == 0
    return folder / "save"


def wrong(records: list[Record]) -> list[str]:
    """What was not as it is to be."""
    found = [f"{record['fault']}: {told}" for record in records for told in record["problems"]]
    return found or [f"{r['fault']}: not equal" for r in records if not r["equal"]]


def test_every_method_is_among_them(known: dict[str, Subject]) -> None:
    from rxf.methods import registry

    methods = {"plain", *(method.name for method in registry.methods())}
    assert {name.rsplit("-", 1)[0] for name in known} == methods


def test_some_faults(known: dict[str, Subject], tmp_path: Path) -> None:
    records = run_subject(known["r3f-sentences"], tmp_path, SEED, QUICK, memory=False)
    assert [record["fault"] for record in records] == QUICK
    assert wrong(records) == []
    assert command.kills(records) == 3
    assert "going on from" in records[2]["told"]


def test_what_is_lost_is_told(known: dict[str, Subject], twin: Path, tmp_path: Path) -> None:
    """With the fix off, a truncated checkpoint_last.pt is the end of the run."""
    fixes = "damaged-last"
    chain = Chain(known["plain-sentences"], tmp_path, random.Random(1), fixes)
    records = chain.run(["SIGTERM", "SIGKILL, last truncated"], twin, 1.0)
    assert "the last start ended with 1" in str(wrong(records))


def test_differences(twin: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(twin, run)
    assert differences(run, twin) == []
    last = run / "checkpoint_last.pt"
    state = load_checkpoint(last)
    state["last_optimizer_state"]["state"][0]["exp_avg"][0] += 1e-9
    torch.save(state, last)
    (run / "checkpoint_best.pt").write_bytes(b"cut")
    (run / "checkpoint_last.pt.1.tmp").write_bytes(b"")
    found = differences(run, twin)
    assert found[0] == "checkpoint_last.pt.1.tmp is left over"
    assert found[1].startswith("checkpoint_best.pt: ")
    assert found[2].startswith("checkpoint_last.pt: 1 differ, ['.optimizer.state.0.exp_avg']")
    assert len(differences(run, twin, may_be_damaged="checkpoint_best.pt")) == 2
    last.unlink()
    assert differences(run, twin)[0] == "checkpoint_last.pt is missing"


def test_a_second_call_runs_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = {"fault": "SIGKILL", "status": -9, "resumed_at": 3, "problems": [], "equal": True}
    ran = []

    def run(subject: Subject, folder: Path, seed: int) -> list[Record]:
        ran.append(subject.name)
        return [record]

    monkeypatch.setattr(command, "run_subject", run)
    words = ["--out", str(tmp_path / "kills.json"), "--only", "r4f-sentences"]
    assert command.main(words) == 0
    assert command.main([*words, "mmr-sentences"]) == 0
    assert ran == ["r4f-sentences", "mmr-sentences"]
    assert "2 kills among 2 faults" in (tmp_path / "kills.md").read_text()
    assert command.main([*words, "--seed", "2"]) == 2
    record["problems"] = ["lost"]
    assert command.main([*words, "rdrop-sentences"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["smart-sentences", "pac-sentences", "surt-text", "recadam-generation"]
)
def test_all_faults(name: str, known: dict[str, Subject], tmp_path: Path) -> None:
    records = run_subject(known[name], tmp_path, seed=2)
    assert wrong(records) == []
    assert "out of memory once, SIGKILL" in [record["fault"] for record in records]


def test_the_recorded_results() -> None:
    """100 kills over all methods, no checkpoint lost: what is committed says so."""
    found = json.loads(command.RESULTS.read_text())
    everything = [record for records in found["records"].values() for record in records]
    assert command.kills(everything) >= 100
    assert wrong(everything) == []
    assert {record["fault"] for record in everything} >= set(FAULTS)
