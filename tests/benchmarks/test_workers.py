"""Workers: stock fairseq without rxf, the same work for all, and errors of one line."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.training_step import peers, training
from benchmarks.training_step.crew import crew
from benchmarks.training_step.setting import Setting
from benchmarks.training_step.worker import Counting, Training
from rxf.errors import UserError
from tests.benchmarks.made_up import PAIRS, SENTENCES, order

SETTINGS = [pytest.param(SENTENCES, id="sentences"), pytest.param(PAIRS, id="pairs")]
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def clean_metrics() -> Iterator[None]:
    from fairseq.logging import metrics

    yield
    metrics.reset()


def stock() -> peers.Peer:
    return peers.known(False)["fairseq-plain"]


def fails(peer: peers.Peer) -> str:
    """Why the worker cannot set up."""
    with (
        pytest.raises(UserError) as caught,
        crew([peer], SENTENCES, 0, ONE_THREAD),
    ):
        raise AssertionError("it did")
    return str(caught.value)


def test_stock_fairseq_trains_without_rxf() -> None:
    with crew([stock()], SENTENCES, 1, ONE_THREAD) as (worker,):
        assert worker.facts["imports_rxf"] is False
        assert worker.facts["shapes"] == [[3, 9]] and worker.facts["tokens"] == 27
        assert worker.facts["threads"] == 1
        assert worker.ask("turn")["seconds"] > 0
        parts = worker.ask("parts")
        assert all(parts[part] > 0 for part in ("encoder", "head", "loss", "backward", "rest"))
        assert worker.ask("memory")["mib"] > 0


@pytest.mark.slow
def test_a_stock_process_that_holds_rxf_is_refused() -> None:
    words = ("--user-dir", str(training.PLUGIN))
    told = fails(replace(stock(), words=words))
    assert told == "fairseq plain: its process should not hold rxf, but does"


def test_a_worker_that_ends_is_told_of_in_one_line() -> None:
    told = fails(replace(stock(), words=("--no-such-flag",)))
    assert told.startswith("fairseq plain: ended with 2: ") and "\n" not in told
    assert "unrecognized arguments: --no-such-flag" in told


@pytest.mark.slow
def test_a_flag_that_rxf_refuses_is_told_of_in_one_line() -> None:
    peer = peers.additional("odd: --r3f-lambda -1", pairs=False)
    told = fails(peer)
    assert told.startswith("odd: UserError: --r3f-lambda -1.0: must be") and "\n" not in told


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_upstream_trains_beside_every_peer(setting: Setting) -> None:
    there = list(peers.known(setting.pairs).values())
    # PAC-tuning measures 80 random models before it trains.
    chosen = [peer for peer in there if peer.key != "pac"]
    with crew(chosen, setting, 1, ONE_THREAD) as workers:
        assert [w.peer.key for w in workers if not w.facts["imports_rxf"]] == [
            "fairseq-plain",
            "fairseq-r3f",
        ]
        for worker in workers:
            assert worker.ask("turn")["seconds"] > 0
            assert worker.ask("parts")["optimizer"] > 0
        # fairseq's own R3F draws noise, plain does not.
        assert workers[1].ask("parts")["noise"] > 0 == workers[0].ask("parts")["noise"]


@pytest.mark.parametrize("setting", SETTINGS)
def test_peers_have_the_same_batches_and_weights(setting: Setting, tmp_path: Path) -> None:
    several = replace(setting, batches=3)
    one, other = (Training(order(several, key, tmp_path)) for key in ("plain", "clean"))
    assert len(one.batches) == 3
    for batch, same in zip(one.batches, other.batches, strict=True):
        for key in ("src_tokens", "src_lengths"):
            assert torch.equal(batch["net_input"][key], same["net_input"][key])
        assert torch.equal(batch["target"], same["target"])
    tokens = [batch["net_input"]["src_tokens"] for batch in one.batches]
    assert not torch.equal(tokens[0], tokens[1])
    weights = other.trainer.get_model().state_dict()
    for name, tensor in one.trainer.get_model().state_dict().items():
        assert torch.equal(tensor, weights[name])


def test_operations_are_counted_but_for_views() -> None:
    weight = torch.ones(3, 2, requires_grad=True)
    with Counting() as counting:
        torch.ones(4, 3).view(2, 6).view(4, 3)
    assert counting.operations == 1
    features = torch.ones(4, 3)
    with Counting() as counting:
        product = features @ weight
        product.transpose(0, 1)
    assert counting.operations == 1
    with Counting() as counting:
        product.relu().sum().backward()
    # relu, sum, the ones that backward starts from; relu's and the product's gradients.
    assert counting.operations >= 5


def test_operations_of_an_update(tmp_path: Path) -> None:
    one, two = (
        Training(order(replace(SENTENCES, layers=layers), "plain", tmp_path / str(layers)))
        for layers in (1, 2)
    )
    for peer in (one, two):
        peer.updates()  # The first makes the optimizer's state.
    first, second = (peer.operations()["operations"] for peer in (one, two))
    assert 0 < first < second == two.operations()["operations"]


def test_batches_have_the_lengths_and_limits_asked_for(tmp_path: Path) -> None:
    wanted = replace(PAIRS, lengths="7:4", batch=None, max_tokens=24, batches=2)
    # Three rows of 8: with --truncate-source fairseq counts one token more than there is.
    peer = Training(order(wanted, "plain", tmp_path))
    assert [batch["net_input"]["src_tokens"].shape for batch in peer.batches] == [(3, 7)] * 2
    assert [batch["target"].shape for batch in peer.batches] == [(3, 4)] * 2
    assert peer.facts()["tokens"] == 33
    embedding = peer.trainer.get_model().encoder.embed_tokens
    assert embedding.num_embeddings == wanted.vocabulary


def test_sentences_of_a_distribution_are_padded_by_fairseq(tmp_path: Path) -> None:
    wanted = replace(SENTENCES, lengths="sst2", batches=4, batch=4)
    peer = Training(order(wanted, "plain", tmp_path))
    lengths = [batch["net_input"]["src_lengths"].tolist() for batch in peer.batches]
    widths = [batch["net_input"]["src_tokens"].size(1) for batch in peer.batches]
    assert widths == [max(own) for own in lengths] and len(set(sum(lengths, []))) > 8
    embedding = peer.trainer.get_model().encoder.sentence_encoder.embed_tokens
    assert embedding.num_embeddings == wanted.vocabulary


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_turn_is_an_update_with_each_batch(precision: str, tmp_path: Path) -> None:
    wanted = replace(SENTENCES, batches=3, precision=precision)
    peer = Training(order(wanted, "r3f", tmp_path))
    seconds = peer.turn()["seconds"]
    assert peer.trainer.get_num_updates() == 3 and seconds > 0
    dtype = next(peer.trainer.get_model().parameters()).dtype
    assert dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]


def test_skipped_updates_are_made_again(tmp_path: Path) -> None:
    peer = Training(order(SENTENCES, "plain", tmp_path))
    calls: list[int] = []

    def overflowing() -> Any:
        calls.append(len(calls))
        if len(calls) > 2:
            peer.updates()
        return calls[-1]

    assert peer.whole(overflowing) == 2
    with pytest.raises(RuntimeError, match="no loss scale"):
        peer.whole(lambda: None)
