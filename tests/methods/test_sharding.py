"""Sharded weights are refused before anything is built; sharded optimizer states change nothing."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rxf.errors import UserError
from rxf.methods.sharding import refuse_fully_sharded
from tests.methods.every import CASES, SENTENCES, Case
from tests.support import (
    assert_bit_equal,
    fork_fairseq_train,
    run_fairseq_train,
    train_flags,
    trained_weights,
    used_parameters,
)

# Their updates go by the names of parameters, which sharding takes away.
NAMED = {"recadam", "cwgnc", "pac_tuning"}


def config(backend: str, criterion: str, optimizer: str) -> Any:
    named = {"criterion": criterion, "optimizer": optimizer}
    groups = {group: SimpleNamespace(_name=name) for group, name in named.items()}
    return SimpleNamespace(distributed_training=SimpleNamespace(ddp_backend=backend), **groups)


@CASES
def test_every_method_refuses_sharded_weights(case: Case) -> None:
    names = {"optimizer": "adam", **case.settings}
    chosen = (names["criterion"], names["optimizer"])
    with pytest.raises(UserError, match="--ddp-backend fully_sharded: --criterion .* pytorch_ddp"):
        refuse_fully_sharded(config("fully_sharded", *chosen))
    refuse_fully_sharded(config("pytorch_ddp", *chosen))


def test_an_optimizer_refuses_them_and_fairseqs_own_names_do_not() -> None:
    refuse_fully_sharded(config("fully_sharded", "sentence_prediction", "adam"))
    with pytest.raises(UserError, match="--optimizer recadam has not been tried"):
        refuse_fully_sharded(config("fully_sharded", "sentence_prediction", "recadam"))


def test_the_command_ends_in_one_line_before_it_makes_anything(
    sentence_data: Path, tmp_path: Path
) -> None:
    flags = train_flags(sentence_data, tmp_path / "save", criterion="sentence_prediction_r3f")
    done = fork_fairseq_train(*flags, "--ddp-backend", "fully_sharded", check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("rxf: error: --ddp-backend fully_sharded: --criterion")
    assert not (tmp_path / "save").exists()


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("fairscale") is None,
    reason="--zero-sharding os is fairscale's, which is not installed",
)
@SENTENCES
def test_sharded_optimizer_states_change_nothing(
    case: Case, sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    def run(name: str, **settings: Any) -> Any:
        flags = train_flags(
            *(sentence_data, tmp_path / name),
            **{"max_update": 3, "finetune_from_model": pretrained, **case.settings, **settings},
        )
        together = ["--distributed-backend", "gloo", "--ddp-backend", "legacy_ddp"]
        return run_fairseq_train(*flags, *together, nproc=2, check=False)

    sharded = run("sharded", zero_sharding="os")
    if case.method.name in NAMED:
        assert sharded.returncode != 0
        assert "rxf: error: --zero-sharding os spreads parameters" in sharded.stderr
        return
    assert sharded.returncode == 0, sharded.stderr[-3000:]
    assert run("whole").returncode == 0
    got, wanted = (used_parameters(trained_weights(tmp_path / n)) for n in ("sharded", "whole"))
    assert_bit_equal(got, wanted)
