"""The Fisher's diagonal: what it is, that it is kept, and that training does not notice it."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.trainer import Trainer
from torch import Tensor

from rxf.errors import UserError
from rxf.optim.fisher import CACHE, fisher_diagonal
from tests.optim.trainers import PRECISIONS, build_trainer, round_to_half
from tests.support import (
    HEAD,
    RANKS,
    STILL,
    assert_bit_equal,
    assert_close,
    build_from_flags,
    fork_fairseq_train,
    load_model_state,
    run_fairseq_train,
    train_flags,
    trained_weights,
    write_sentence_data,
)

CWGNC = {"optimizer": "cwgnc_adam", "component_clip_norm": 0.05}
# lambda(t) = 1 from the start: plain Adam, and no pull of its own.
RECADAM = {"optimizer": "recadam", "recadam_anneal_fun": "constant"}
METHODS: dict[str, dict[str, Any]] = {"cwgnc_adam": CWGNC, "recadam": RECADAM}
# Of no effect on weights: the pull is less than their last bit.
TINY = 1e-30
LM_HEAD = "encoder.lm_head.dense.weight"


def _trainer(data: Path, pretrained: Path, precision: str = "fp32", **settings: Any) -> Trainer:
    return build_trainer(data, pretrained, precision, **{**CWGNC, "ewc_weight": 1.0, **settings})


def _estimate(
    trainer: Trainer, folder: Path, batches: int = 3, epoch: int = 1
) -> dict[str, Tensor]:
    """F by name, with its cache in ``folder``."""
    inner = trainer.optimizer.optimizer
    inner.training.save_dir = str(folder)
    fisher = fisher_diagonal(inner.training, inner.anchor, batches, epoch)
    assert fisher.keys() == inner.anchor.tensors.keys()
    return {inner.training.ledger.entries[n].name: tensor for n, tensor in fisher.items()}


def _cached(folder: Path) -> dict[str, Any]:
    return torch.load(folder / CACHE, weights_only=True)


def _plain_fisher(
    trainer: Trainer, data: Path, pretrained: Path, batches: int
) -> dict[str, Tensor]:
    """From the definition: a model of its own, at the file's weights and the trainer's head."""
    _, task, model, _ = build_from_flags(train_flags(data, data, **STILL))
    held = load_model_state(pretrained)
    own = trainer.get_model().state_dict()
    model.load_state_dict({**own, **{name: held[name] for name in held if name in own}})
    task.load_dataset("train")
    order = task.get_batch_iterator(
        task.dataset("train"), max_sentences=8, required_batch_size_multiple=1, seed=1, epoch=1
    ).next_epoch_itr(shuffle=True)
    named = dict(model.named_parameters())
    fisher = {name: torch.zeros_like(parameter) for name, parameter in named.items()}
    for sample in [next(order) for _ in range(batches)]:
        output, _ = model(**sample["net_input"], features_only=True, classification_head_name=HEAD)
        loss = torch.nn.functional.cross_entropy(output, sample["target"].view(-1))
        gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        for name, gradient in zip(named, gradients, strict=True):
            if gradient is not None:
                fisher[name] += gradient**2 / batches
    return {name: tensor for name, tensor in fisher.items() if name in held}


# ------------------------------------------------------------------------- what it is


@pytest.mark.parametrize("moved", [False, True], ids=["at-the-anchor", "elsewhere"])
def test_it_is_the_mean_square_of_the_gradients_at_the_anchor(
    moved: bool, sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    """Dropout is on in the flags; wherever the weights are, they are there again after."""
    trainer = _trainer(sentence_data, pretrained)
    anchored = trainer.optimizer.optimizer.anchor.tensors
    entries = trainer.optimizer.optimizer.training.ledger.entries
    if moved:
        for number in anchored:
            entries[number].parameter.data += 0.1
    before = {entry.name: entry.parameter.detach().clone() for entry in entries}
    fisher = _estimate(trainer, tmp_path)
    assert_bit_equal({entry.name: entry.parameter.detach() for entry in entries}, before)
    wanted = _plain_fisher(trainer, sentence_data, pretrained, 3)
    assert_close(fisher, wanted, rtol=1e-4, atol=1e-12)
    assert {tensor.dtype for tensor in fisher.values()} == {torch.float32}
    # The language model's head has no part in the loss.
    assert (
        not fisher[LM_HEAD].any() and fisher["encoder.sentence_encoder.embed_tokens.weight"].any()
    )


def test_fewer_batches_are_another_mean(
    sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    """64 rows are 8 batches, so that 100 are no more than these."""
    trainer = _trainer(sentence_data, pretrained)
    one = _estimate(trainer, tmp_path, batches=2)
    all_of_them = _estimate(trainer, tmp_path, batches=100)
    name = "encoder.sentence_encoder.layers.1.fc2.weight"
    assert not torch.allclose(one[name], all_of_them[name], rtol=0.1)
    assert_close(
        all_of_them, _plain_fisher(trainer, sentence_data, pretrained, 8), rtol=1e-4, atol=1e-12
    )


@pytest.mark.parametrize("precision", [name for name in PRECISIONS if name != "fp32"])
def test_precisions_agree(
    precision: str, sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    """From weights that all of them can hold; a parameter's difference against its length."""
    rounded = round_to_half(pretrained, tmp_path / "model.pt")
    results = []
    for name in ("fp32", precision):
        (tmp_path / name).mkdir()
        trainer = _trainer(sentence_data, rounded, name)
        results.append(_estimate(trainer, tmp_path / name))
    tolerance = 0.1 if precision == "bf16" else 1e-2
    wanted, got = results
    for key, tensor in wanted.items():
        assert got[key].dtype == torch.float32
        # The bias of k has a gradient of nothing but rounding: softmax takes it away.
        assert (got[key] - tensor).norm() <= tolerance * tensor.norm() + 1e-12, key


def test_the_weights_come_back_after_an_error(
    sentence_data: Path, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = _trainer(sentence_data, pretrained)
    model, criterion = trainer.get_model(), trainer.get_criterion()
    for parameter in model.parameters():
        parameter.data += 0.1
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    original, calls = criterion.forward, []

    def failing(*args: Any, **kwargs: Any) -> Any:
        calls.append(None)
        if len(calls) == 2:
            raise MemoryError
        return original(*args, **kwargs)

    monkeypatch.setattr(criterion, "forward", failing)
    with pytest.raises(MemoryError):
        _estimate(trainer, tmp_path)
    assert_bit_equal({name: p.detach() for name, p in model.named_parameters()}, before)
    assert model.training and all(parameter.grad is None for parameter in model.parameters())
    assert not list(tmp_path.iterdir())


def test_without_a_batch_it_stops(sentence_data: Path, pretrained: Path, tmp_path: Path) -> None:
    settings = {"batch_size": 64, "skip_remainder_batch": True}
    with pytest.raises(UserError, match="--ewc-weight: there is no training batch"):
        _estimate(_trainer(sentence_data, pretrained, **settings), tmp_path)


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"fp16": True, "fp16_init_scale": 2**24}, ["--ewc-weight", "--fp16-init-scale"]),
        ({"ewc_weight": 1e9}, ["--lr", "--ewc-weight", "away from the anchor"]),
    ],
    ids=["overflow", "diverges"],
)
def test_what_cannot_be_pulled_by_ends_in_one_line(
    settings: dict[str, Any],
    parts: list[str],
    sentence_data: Path,
    pretrained: Path,
    tmp_path: Path,
) -> None:
    settings = {**CWGNC, "ewc_weight": 1.0, "finetune_from_model": pretrained, **settings}
    done = fork_fairseq_train(*train_flags(sentence_data, tmp_path, **settings), check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("rxf: error: ")
    assert all(part in last for part in parts)


# ------------------------------------------------------------------------ the cache


def _count_forwards(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    calls: list[None] = []
    criterion = trainer.get_criterion()
    original = criterion.forward

    def counting(*args: Any, **kwargs: Any) -> Any:
        calls.append(None)
        return original(*args, **kwargs)

    monkeypatch.setattr(criterion, "forward", counting)
    return calls


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _edited(**changes: Any) -> Callable[[Path], None]:
    return lambda path: torch.save({**torch.load(path, weights_only=True), **changes}, path)


DISAGREEING: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (_truncated, "damaged"),
    "empty": (lambda path: path.write_bytes(b"") and None, "damaged"),
    "no-cache": (lambda path: torch.save([1], path), "damaged"),
    "batches": (_edited(batches=4), "--ewc-batches 4"),
    "weights": (_edited(fingerprint="0"), "other pre-trained weights"),
    "names": (_edited(fisher={LM_HEAD: torch.zeros(16, 16)}), "other parameters"),
}


def _said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What fisher.py has logged; fairseq logs too where a test before has turned that on."""
    return [record.message for record in caplog.records if record.name == "rxf.optim.fisher"]


def test_the_cache_is_what_was_estimated(
    sentence_data: Path,
    pretrained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "rxf.optim.fisher")
    caplog.clear()
    trainer = _trainer(sentence_data, pretrained)
    calls = _count_forwards(trainer, monkeypatch)
    first = _estimate(trainer, tmp_path)
    assert len(calls) == 3
    assert len(_said(caplog)) == 1 and "from 3 batches: mean " in _said(caplog)[0]
    assert [path.name for path in tmp_path.iterdir()] == [CACHE]
    held = _cached(tmp_path)
    assert held["fingerprint"] == trainer.optimizer.optimizer.anchor.reference["fingerprint"]
    assert held["batches"] == 3
    assert_bit_equal(held["fisher"], first)
    assert_bit_equal(_estimate(trainer, tmp_path, epoch=2), first)
    assert len(calls) == 3 and len(_said(caplog)) == 2
    assert f"read the Fisher from {tmp_path / CACHE}" in _said(caplog)[1]


@pytest.mark.parametrize("case", DISAGREEING)
def test_a_cache_that_disagrees_is_written_anew(
    case: str,
    sentence_data: Path,
    pretrained: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    trainer = _trainer(sentence_data, pretrained)
    first = _estimate(trainer, tmp_path)
    spoil, said = DISAGREEING[case]
    spoil(tmp_path / CACHE)
    caplog.set_level(logging.INFO, "rxf.optim.fisher")
    caplog.clear()
    assert_bit_equal(_estimate(trainer, tmp_path), first)
    lines = _said(caplog)
    assert len(lines) == 2 and said in lines[0] and "estimated anew" in lines[0]
    assert_bit_equal(_cached(tmp_path)["fisher"], first)
    assert [path.name for path in tmp_path.iterdir()] == [CACHE]


def test_one_rank_without_a_cache_makes_all_estimate(
    sentence_data: Path, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = _trainer(sentence_data, pretrained)
    _estimate(trainer, tmp_path)
    calls = _count_forwards(trainer, monkeypatch)
    training = trainer.optimizer.optimizer.training
    monkeypatch.setattr(training, "all_reduce_max", torch.ones_like)
    _estimate(trainer, tmp_path)
    assert len(calls) == 3


def test_a_folder_that_cannot_be_written_is_said(
    sentence_data: Path, pretrained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fisher = _estimate(_trainer(sentence_data, pretrained), tmp_path / "gone")
    assert fisher and "cannot be written" in caplog.text


# --------------------------------------------------------------------------- the pull


@pytest.mark.parametrize("method", METHODS)
def test_an_update_pulls_by_the_equation(
    method: str, sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    """p <- p - lr mu F (p - anchor) on what Adam alone comes to; the head gets Adam alone."""
    lr = 0.01
    settings = {**METHODS[method], "finetune_from_model": pretrained, "lr": lr, "max_update": 1}
    adam = tmp_path / "adam"
    fork_fairseq_train(*train_flags(sentence_data, adam, **settings, ewc_weight=TINY))
    fisher = _cached(adam)["fisher"]
    weight = 1.5 / lr / max(float(tensor.max()) for tensor in fisher.values())
    fork_fairseq_train(*train_flags(sentence_data, tmp_path / "ewc", **settings, ewc_weight=weight))
    got, plain = trained_weights(tmp_path / "ewc"), trained_weights(adam)
    anchors = load_model_state(pretrained)
    # One parameter under two names.
    fisher["encoder.lm_head.weight"] = fisher["encoder.sentence_encoder.embed_tokens.weight"]
    wanted = {}
    for name, tensor in plain.items():
        wanted[name] = tensor
        if name in fisher:
            wanted[name] = tensor - lr * weight * fisher[name] * (tensor - anchors[name])
    assert_close(got, wanted, rtol=1e-6, atol=1e-7)
    moved = [name for name in fisher if not torch.allclose(got[name], plain[name], atol=1e-5)]
    assert len(moved) > 5


def test_recadam_pulls_from_a_random_start(
    sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    """F is that of the anchor, wherever training starts: the same as of a start there."""
    settings = {**RECADAM, "ewc_weight": 1.0, "max_update": 1, "recadam_pretrained": pretrained}
    random_start = {**settings, "recadam_init": "random"}
    fork_fairseq_train(*train_flags(sentence_data, tmp_path / "random", **random_start))
    settings["finetune_from_model"] = pretrained
    fork_fairseq_train(*train_flags(sentence_data, tmp_path / "pretrained", **settings))
    caches = [_cached(tmp_path / name)["fisher"] for name in ("random", "pretrained")]
    assert_bit_equal(*caches)


# -------------------------------------------------------------- beside a training


BESIDE: dict[str, dict[str, Any]] = {
    "fp32": {},
    "flattened": {"fp16": True},
    "memory-efficient": {"fp16": True, "memory_efficient_fp16": True},
    "amp": {"amp": True},
    "workers": {"update_freq": 2, "num_workers": 1},
    "unbuffered": {"data_buffer_size": 0, "curriculum": 1},
}
FAST = [("fp32", True), ("flattened", False)]


@pytest.mark.parametrize(
    ("name", "keeps_cache"),
    [
        *FAST,
        *(
            pytest.param(name, keeps_cache, marks=pytest.mark.slow)
            for name in BESIDE
            for keeps_cache in (True, False)
            if (name, keeps_cache) not in FAST
        ),
    ],
)
def test_training_does_not_notice_it(
    name: str,
    keeps_cache: bool,
    sentence_data: Path,
    pretrained: Path,
    tmp_path: Path,
) -> None:
    """Dropout on, through an epoch's end; gone on from its middle, where it may come again."""
    settings = {**CWGNC, "finetune_from_model": pretrained, "batch_size": 4, **BESIDE[name]}
    settings |= {"save_interval_updates": 5, "lr": 1e-2}
    without = train_flags(sentence_data, tmp_path / "without", max_update=20, **settings)
    fork_fairseq_train(*without)
    for stop in (5, 20):
        flags = train_flags(
            sentence_data, tmp_path / "with", max_update=stop, ewc_weight=TINY, **settings
        )
        done = fork_fairseq_train(*flags)
        if not keeps_cache and stop == 5:
            (tmp_path / "with" / CACHE).unlink()
    assert "Loaded checkpoint" in done.stdout + done.stderr
    assert ("read the Fisher" in done.stdout) == keeps_cache
    assert ("EWC: Fisher of" in done.stdout) != keeps_cache
    assert_bit_equal(trained_weights(tmp_path / "with"), trained_weights(tmp_path / "without"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("precision", ["fp32", pytest.param("flattened", marks=pytest.mark.slow)])
def test_resume_equals_an_uninterrupted_run(
    method: str, precision: str, sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    settings = {**METHODS[method], "finetune_from_model": pretrained, "ewc_weight": 100.0}
    logs = []
    for folder, stops in (("whole", [14]), ("resumed", [10, 14])):
        for stop in stops:
            flags = train_flags(sentence_data, tmp_path / folder, max_update=stop, **settings)
            logs.append(fork_fairseq_train(*flags, *PRECISIONS[precision]).stdout)
    # An uninterrupted run estimates it once, though it has two epochs.
    assert [log.count("EWC: Fisher of") for log in logs] == [1, 1, 0]
    assert [log.count("EWC: read the Fisher") for log in logs] == [0, 0, 1]
    assert_bit_equal(trained_weights(tmp_path / "resumed"), trained_weights(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.parametrize("backend", RANKS)
def test_two_processes_have_the_fisher_of_one(
    backend: str, pretrained: Path, tmp_path: Path
) -> None:
    """5 batches: one rank has 3 of them, the other 2 and an empty one."""
    data = write_sentence_data(tmp_path / "data", rows=40)
    settings = {**CWGNC, "finetune_from_model": pretrained, "ewc_weight": TINY, "max_update": 2}
    one = fork_fairseq_train(
        *train_flags(data, tmp_path / "one", update_freq=2, ewc_batches=6, **settings)
    )
    settings |= {"distributed_backend": "gloo", **RANKS[backend]}
    flags = train_flags(data, tmp_path / "two", ewc_batches=3, **settings)
    two = run_fairseq_train(*flags, nproc=2)
    for done in (one, two):
        assert (done.stdout + done.stderr).count("from 5 batches") == 1
    caches = [_cached(tmp_path / name)["fisher"] for name in ("two", "one")]
    assert_close(*caches, rtol=1e-4, atol=1e-12)
    again = train_flags(data, tmp_path / "two", ewc_batches=3, **{**settings, "max_update": 3})
    done = run_fairseq_train(*again, nproc=2)
    assert "EWC: read the Fisher" in done.stdout + done.stderr
