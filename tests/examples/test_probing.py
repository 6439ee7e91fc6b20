"""The runs of examples/probing: what they run, and the data that is made for them."""

import argparse
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from rxf.lab import probe, sweep
from rxf.methods import registry
from tests.examples.test_glue_surt import Recorded
from tests.examples.test_summarization import parsed_training
from tests.support import REPO, save_pretrained, write_sentence_data

PROBING = REPO / "examples" / "probing"
TASKS = ("SST-2", "CoLA", "MRPC", "RTE", "STS-B", "XNLI-en")


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, PROBING / f"{name}.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    return Recorded(tmp_path, PROBING / "probing_runs.sh", ("rxf", "python"))


def parsed(words: list[str]) -> argparse.Namespace:
    """What rxf makes of one of the commands."""
    command = {"probe": probe, "sweep": sweep}[words[1]]
    parser = argparse.ArgumentParser(f"rxf {words[1]}")
    command.add_arguments(parser)
    return command.parse(parser, words[2:])


def test_every_method_takes_part(recorded: Recorded, tmp_path: Path) -> None:
    out = tmp_path / "out put"
    (out / "surt" / "first").mkdir(parents=True)
    commands = recorded.run("data", out, STAGES="source surt", SEEDS="2-3", JOBS="2")
    sweeps = [parsed(words) for words in commands if words[:2] == ["rxf", "sweep"]]
    fine_tuned = [each for each in sweeps if "surt" not in str(each.out)]
    methods = [name for each in fine_tuned for name in each.methods.split(",")]
    assert sorted([*methods, "surt"]) == sorted(
        ["plain", *(m.name for m in registry.methods() if m.sentences or m.recipe)]
    )
    assert {each.seeds for each in fine_tuned} == {"2-3"}
    # SURT: the first stage of a seed, then a plain run from what it left.
    first = [words for words in commands if words[0] == "python"]
    assert [words[2:6] for words in first] == [
        ["pre trained.pt", "data/SST-2", f"{out}/surt/first", seed] for seed in "23"
    ]
    second = [each for each in sweeps if "surt" in str(each.out)]
    assert [(s.methods, s.seeds) for s in second] == [("plain", "2"), ("plain", "3")]
    best = out / "surt" / "first" / "best-2.pt"
    run = out / "surt" / "seed-2" / "SST-2" / "plain" / "seed-2"
    assert best.resolve() == (run / "checkpoint_best.pt").resolve()
    assert str(second[0].pretrained) == f"{out}/surt/first/2/checkpoint_last.pt"


def test_the_probes(recorded: Recorded, tmp_path: Path) -> None:
    first = tmp_path / "out" / "surt" / "first"
    first.mkdir(parents=True)
    (first / "best-1.pt").touch()
    stages = "generalization collapse degradation retention"
    commands = recorded.run("data", tmp_path / "out", STAGES=stages, CHAIN_MORE="--updates 4")
    general, collapse, degradation, retention = map(parsed, commands[:4])
    assert [path.name for path in general.tasks] == list(TASKS[1:])
    assert [path.name for path in collapse.sweep] == ["compared", "others"]
    assert collapse.checkpoint == [f"surt/1={first}/best-1.pt"]
    assert (degradation.methods, retention.methods) == ("plain,r3f,r4f", "plain,r4f")
    assert degradation.updates == retention.updates == 4
    assert [path.name for path in degradation.chain] == ["MRPC", "RTE", "CoLA"]
    assert retention.cycles == 3


def test_the_report_leaves_out_runs_from_other_starts(recorded: Recorded, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("compared", "surt", "collapse"):
        (out / name).mkdir(parents=True)
    (report,) = recorded.run("data", out, STAGES="none")
    assert report[2:] == [f"{out}/compared", f"{out}/collapse", "--out", f"{out}/report"]


def test_the_first_stage_of_surt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    stage = module("surt_stage")
    monkeypatch.setattr(stage.subprocess, "run", lambda words, **_: ran.append(words))
    model = save_pretrained(tmp_path, write_sentence_data(tmp_path / "data"))
    (tmp_path / "out" / "5").mkdir(parents=True)
    for _ in range(2):
        stage.main(str(model), "SST-2", str(tmp_path / "out"), "5", "--cpu")
    prepare, training = ran  # once
    assert prepare == ["rxf", "prepare", "surt", "SST-2", str(tmp_path / "out" / "text")]
    args = parsed_training(training)
    assert (args.task, args.criterion, args.seed, args.cpu) == ("masked_lm", "masked_lm", 5, True)
    assert (args.encoder_layers, args.encoder_embed_dim) == (2, 16)
    assert (args.max_update, args.lr, args.finetune_from_model) == (156, [3e-4], str(model))


def test_xnli_is_parted_by_premise() -> None:
    rows = [f"premise {n}\thypothesis {k}\tneutral" for n in range(10) for k in range(3)]
    train, scored = module("xnli_english").parted(rows, 0.2)
    assert train + scored == rows and len(scored) == 6
    premises = [{row.split("\t")[0] for row in part} for part in (train, scored)]
    assert not premises[0] & premises[1]
