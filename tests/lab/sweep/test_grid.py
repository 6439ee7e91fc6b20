"""What is asked for: seeds, methods and their settings, refused with one line."""

from pathlib import Path

import pytest

from rxf.errors import UserError
from rxf.lab.model_flags import TINY
from rxf.lab.prepared import Prepared
from rxf.lab.sweep import groups
from rxf.lab.sweep.grid import choices, read_tasks
from rxf.lab.sweep.resolvers import share, updates_of
from rxf.methods import registry

MODEL = groups.model_defaults(TINY)
REGRESSION = Prepared(
    "STS-B", Path("/sts"), ["--regression-target"], 1, "pearson_and_spearman", 0.0, 5, 5
)


def test_updates_of_epochs_and_shares() -> None:
    # 64 rows are 4 batches of 16; 65 are 5; of 2 batches an update, 3 updates.
    assert updates_of(10, 64, 16, [1]) == 40
    assert updates_of(10, 65, 16, [1]) == 50
    assert updates_of(10, 65, 16, [2]) == 30
    assert updates_of(0.01, 64, 16, [1]) == 1
    assert share(300, 0.06) == 18
    assert share(4, 0.06) == 1


def test_every_method_for_sentences_but_recipes() -> None:
    known = [m.name for m in (registry.PLAIN, *registry.methods()) if m.sentences is not None]
    found = choices(",".join(known), [], [], MODEL)
    assert [choice.method.name for choice in found] == known
    for choice in found:
        # Everything that the registry says is in one group, and once.
        told = registry.flags(choice.method, "sentences")
        grouped = [(n, v) for g in choice.groups.values() for n, v in g.items() if n != "_name"]
        names = {g: v for g, v in told.items() if g in ("criterion", "optimizer")}
        assert {g: choice.groups[g]["_name"] for g in names} == names
        assert sorted(grouped) == sorted((n, v) for n, v in told.items() if n not in names)


def test_settings_of_a_method() -> None:
    given = ["r4f.r3f_lambda=0.5", "r4f.eps=1e-6", "r4f.spectral_norm_scope=head"]
    (plain, r4f) = choices("plain,r4f", given, [], MODEL)
    assert r4f.groups["criterion"]["r3f_lambda"] == 0.5
    assert r4f.groups["criterion"]["eps"] == 1e-6
    assert r4f.groups["model"]["spectral_norm_scope"] == "head"
    assert plain.groups["criterion"]["r3f_lambda"] == 0.0
    assert r4f.flags[:2] == ["--criterion", "sentence_prediction_r3f"]
    assert "--spectral-norm-classification-head --r3f-lambda 0.5" in " ".join(r4f.flags)


def test_what_cannot_be_swept_over_is_refused() -> None:
    for methods, settings, said in (
        ("r5f", [], "--methods r5f: unknown; choose among plain, .*r3f"),
        ("surt", [], "--methods surt: .*run examples/glue/surt.sh"),
        ("r3f", ["r3f.lamda=1"], "--set r3f.lamda: .*r3f_lambda"),
        ("r3f", ["r3f.r3f_lambda"], "--set r3f.r3f_lambda: write METHOD.NAME=VALUE"),
        ("r3f", ["smart.smart_mu=1"], "--set .*: smart is none of --methods r3f"),
    ):
        with pytest.raises(UserError, match=said):
            choices(methods, settings, [], MODEL)
    with pytest.raises(UserError, match="--methods mmr: .*STS-B is a regression"):
        choices("plain,mmr", [], [REGRESSION], MODEL)
    assert choices("plain,r3f", [], [REGRESSION], MODEL)


def test_two_folders_of_one_task(family: Path) -> None:
    assert [task.name for task in read_tasks([family / "topic", family / "tense"])] == [
        "topic",
        "tense",
    ]
    with pytest.raises(UserError, match="--tasks: 2 folders hold the task topic"):
        read_tasks([family / "topic", family / "topic"])
    with pytest.raises(UserError, match="is no prepared task"):
        read_tasks([family])
