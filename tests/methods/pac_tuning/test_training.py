"""PAC-tuning through fairseq's trainer: start, stages, resume, precisions, ranks."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from fairseq import checkpoint_utils
from fairseq.trainer import Trainer

from rxf.errors import UserError
from rxf.forward import NoiseStream
from rxf.methods.pac_tuning.bound import prior_grid, smallest_k
from tests.support import (
    HEAD,
    RANKS,
    REPO,
    assert_bit_equal,
    assert_close,
    build_from_flags,
    fork_fairseq_train,
    load_checkpoint,
    train_flags,
    train_log,
    two_ranks_and_one,
    write_sentence_data,
)

PAC = {"criterion": "sentence_prediction_pac", "pac_k_models": 1, "pac_k_batches": 1}
HALF = {"fp16": True, "memory_efficient_fp16": True}
MOMENTS = ("", "_exp_avg", "_exp_avg_sq")
FOLDERS = ("whole", "resumed")


class Data(NamedTuple):
    folder: Path
    pretrained: Path


@pytest.fixture
def data(sentence_data: Path, pretrained: Path) -> Data:
    return Data(sentence_data, pretrained)


def trainer_of(data: Data, **settings: Any) -> tuple[Any, Any]:
    """A trainer at the start of its first epoch, and its criterion."""
    settings = {**PAC, "finetune_from_model": data.pretrained, **settings}
    flags = train_flags(data.folder, Path("/nowhere"), **settings)
    cfg, task, model, criterion = build_from_flags(flags)
    trainer = Trainer(cfg, task, model, criterion)
    checkpoint_utils.load_checkpoint(cfg.checkpoint, trainer)
    trainer.begin_epoch(1)
    return trainer, criterion


def rows(trainer: Trainer, first: int, last: int) -> dict[str, Any]:
    """Training rows ``first`` to ``last``, that one not included, collated."""
    dataset = trainer.task.dataset("train")
    return dataset.collater([dataset[row] for row in range(first, last)])


def state_of(criterion: Any) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in criterion.named_buffers()}


# ----------------------------------------------------------------------- the start


def test_k_is_that_of_models_drawn_one_by_one(data: Data) -> None:
    """Every sentence of two batches on its own, each model by weights of its own."""
    trainer, criterion = trainer_of(data, pac_k_models=2, pac_k_batches=2)
    model, layout = trainer.get_model().eval(), criterion.posterior.layout
    own = {name: model.get_parameter(name).detach().clone() for name in layout.names}
    order = trainer.get_train_iterator(1, disable_iterator_cache=True).next_epoch_itr()
    samples = [next(order) for _ in range(2)]
    source = torch.Generator().manual_seed(trainer.cfg.common.seed)
    size = sum(weight.numel() for weight in own.values())
    found: list[float] = []
    for prior in prior_grid().tolist():
        losses = torch.empty(2, 16)
        for number in range(2):
            noise, start = torch.randn(size, generator=source) * prior, 0
            for name, weight in own.items():
                part = noise[start : start + weight.numel()].view_as(weight)
                model.get_parameter(name).data = weight + part
                start += weight.numel()
            for place, sample in enumerate(samples):
                call = {"features_only": True, "classification_head_name": HEAD}
                logits, _ = model(**sample["net_input"], **call)
                of_rows = F.cross_entropy(logits, sample["target"].view(-1), reduction="none")
                losses[number, 8 * place : 8 * place + 8] = of_rows.detach()
        found.append(max([smallest_k(losses, 10.0), *found]))
    assert found[-1] > found[0] > 0
    assert criterion.k_values.tolist() == pytest.approx(found, rel=1e-4)


def test_nobody_notices_that_k_is_estimated(data: Data) -> None:
    trainer, _ = trainer_of(data)
    state, modes = torch.get_rng_state(), [m.training for m in trainer.get_model().modules()]
    weights = {name: p.clone() for name, p in trainer.get_model().named_parameters()}
    trainer.begin_epoch(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert [m.training for m in trainer.get_model().modules()] == modes
    for name, parameter in trainer.get_model().named_parameters():
        assert torch.equal(parameter, weights[name]) and parameter.grad is None


def test_all_of_the_data_by_default(data: Data, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "rxf")
    _, criterion = trainer_of(data, pac_k_batches=0)
    assert any("K of the bound on 64 sentences: 0." in r.getMessage() for r in caplog.records)
    assert criterion.examples == 64


def test_random_models_without_a_loss(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    from rxf.methods.pac_tuning import estimate

    monkeypatch.setattr(estimate, "perturbed", lambda weights, noise: [w * 1e38 for w in weights])
    with pytest.raises(UserError, match="have no finite loss in this precision: use --amp"):
        trainer_of(data)


def test_a_training_that_begins_anew_takes_a_new_start(data: Data, tmp_path: Path) -> None:
    """From a checkpoint of PAC-tuning itself, whose criterion's state is read."""
    first, _ = trainer_of(data, pac_gamma=5)
    first.train_step([rows(first, 0, 8)])
    first.consolidate_optimizer()
    first.save_checkpoint(str(tmp_path / "model.pt"), {"train_iterator": {"epoch": 1}})
    again, criterion = trainer_of(data._replace(pretrained=tmp_path / "model.pt"), pac_gamma=10)
    posterior = criterion.posterior
    model = again.get_model()
    flat = posterior.layout.flat(model.get_parameter(n) for n in posterior.layout.names)
    assert torch.equal(posterior.centres, flat)
    assert not torch.equal(flat, first.get_criterion().posterior.centres)
    assert posterior.updates == 0 and not posterior.log_sigma_exp_avg.any()
    assert posterior.log_prior.unique().numel() == 2


def test_layouts_without_names_are_refused(data: Data) -> None:
    trainer, criterion = trainer_of(data)
    trainer.cfg.optimization.use_bmuf = True
    with pytest.raises(UserError, match="--use-bmuf .* or use another --criterion"):
        criterion.before_epoch(trainer, 1)


# ---------------------------------------------------------------------- the stages


def test_variances_are_trained_in_stage_1_and_frozen_in_stage_2(data: Data) -> None:
    trainer, criterion = trainer_of(data, pac_stage1_epochs=2)
    # The prior is where the posterior is, and has no gradient there.
    criterion.posterior.log_prior += 0.1
    for epoch in (1, 2, 3, 4):
        if epoch > 1:
            trainer.begin_epoch(epoch)
        before = state_of(criterion)
        weights = trainer.get_model().get_parameter(f"classification_heads.{HEAD}.dense.weight")
        of_head = weights.detach().clone()
        trainer.train_step([rows(trainer, 0, 8)])
        moved = [n for n, b in criterion.named_buffers() if not torch.equal(b, before[n])]
        own = {f"posterior.log_{v}{m}" for v in ("sigma", "prior") for m in MOMENTS}
        assert set(moved) == (own if epoch <= 2 else set())
        assert not torch.equal(weights, of_head)
    assert criterion.posterior.updates == 2


def test_no_stage_1_at_all(data: Data) -> None:
    trainer, criterion = trainer_of(data, pac_stage1_epochs=0)
    assert criterion.stage == 2 and not criterion.k_values.any()
    trainer.train_step([rows(trainer, 0, 8)])
    assert criterion.posterior.updates == 0 and trainer.get_num_updates() == 1


@pytest.mark.parametrize(
    ("stop", "end"),
    [
        pytest.param(5, 12, id="stage-1"),
        pytest.param(20, 24, id="stage-2", marks=pytest.mark.slow),
    ],
)
def test_resume_equals_an_uninterrupted_run(
    sentence_data: Path, pretrained: Path, tmp_path: Path, stop: int, end: int
) -> None:
    """8 updates are an epoch, so that the first is cut in stage 1 and the second in stage 2."""
    settings = {**PAC, "finetune_from_model": pretrained, "pac_stage1_epochs": 2}
    for folder, stops in (("whole", [end]), ("resumed", [stop, end])):
        for max_update in stops:
            flags = train_flags(sentence_data, tmp_path / folder, max_update=max_update, **settings)
            done = fork_fairseq_train(*flags)
    assert "Loaded checkpoint" in done.stdout + done.stderr
    assert "K of the bound" not in done.stdout + done.stderr
    entries = [e for e in train_log(done.stdout) if e["tag"] == "train_inner"]
    assert entries[-1]["pac_stage"] == (1 if end == 12 else 2)
    whole, resumed = (load_checkpoint(tmp_path / f / "checkpoint_last.pt") for f in FOLDERS)
    assert_bit_equal(resumed["model"], whole["model"])
    own, wanted = resumed["criterion"], whole["criterion"]
    extra = [name for name in wanted if name.endswith("_extra_state")]
    assert [own.pop(name) for name in extra] == [wanted.pop(name) for name in extra]
    assert len(wanted) == 8
    assert_bit_equal(own, wanted)


# ------------------------------------------------- accumulation, precisions, ranks


def same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each draw is the same one, whatever the update."""

    def draw(self: Any, like: torch.Tensor, *_: Any) -> torch.Tensor:
        return torch.randn(like.shape, generator=torch.Generator().manual_seed(1))

    monkeypatch.setattr(NoiseStream, "draw", draw)


def test_an_update_of_8_is_one_of_2_times_4(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first moments are a tenth of the gradients; their quotients are no measure."""
    same_noise(monkeypatch)
    found = []
    for size in (8, 4):
        trainer, criterion = trainer_of(data)
        criterion.posterior.log_prior += 0.1
        trainer.train_step([rows(trainer, row, row + size) for row in range(0, 8, size)])
        found.append(state_of(criterion))
    for name in ("posterior.log_sigma_exp_avg", "posterior.log_prior_exp_avg"):
        assert found[0][name].any()
        torch.testing.assert_close(found[1][name], found[0][name], rtol=1e-4, atol=1e-8)


def test_amp_has_the_gradients_of_fp32(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is scaled by a power of two, and the CPU has fp32: to the bit."""
    same_noise(monkeypatch)
    found = []
    for amp in (False, True):
        trainer, criterion = trainer_of(data, amp=amp)
        if amp:
            trainer.optimizer._grad_scaler = torch.amp.GradScaler("cpu", init_scale=128.0)
        trainer.train_step([rows(trainer, 0, 8)])
        found.append(state_of(criterion))
    assert_bit_equal(found[1], found[0])


def test_an_update_that_overflows_leaves_the_variances_alone(data: Data) -> None:
    trainer, criterion = trainer_of(data, **HALF, fp16_init_scale=2**24)
    before, skipped = state_of(criterion), 0
    while trainer.get_num_updates() == 0 and skipped < 30:
        assert_bit_equal(state_of(criterion), before)
        trainer.train_step([rows(trainer, 0, 8)])
        skipped += 1
    assert 1 < skipped < 30
    assert criterion.posterior.updates == 1
    assert criterion.posterior.log_sigma_exp_avg.isfinite().all()
    own = criterion.posterior.log_prior_exp_avg.abs().max()
    # Not eight sentences' of each skipped update, nor scaled.
    exact, wanted = trainer_of(data)
    exact.train_step([rows(exact, 0, 8)])
    assert float(own) == pytest.approx(float(wanted.posterior.log_prior_exp_avg.abs().max()), 0.5)


@pytest.mark.parametrize(
    "precision",
    [
        {"fp16": True, "fp16_no_flatten_grads": True},
        HALF,
        {"bf16": True},
        {"bf16": True, "memory_efficient_bf16": True},
    ],
    ids=["fp16", "memory-efficient-fp16", "bf16", "memory-efficient-bf16"],
)
def test_half_precision_trains_and_keeps_its_state_exact(
    data: Data, precision: dict[str, Any]
) -> None:
    trainer, criterion = trainer_of(data, **precision, pac_stage1_epochs=1)
    assert next(trainer.get_model().parameters()).dtype != torch.float32
    for epoch in (1, 2):
        trainer.begin_epoch(epoch)
        for start in range(0, 64, 8):
            trainer.train_step([rows(trainer, start, start + 8)])
    assert criterion.posterior.updates >= 7 and trainer.get_num_updates() >= 14
    for name, buffer in criterion.named_buffers():
        assert buffer.dtype == torch.float32 and buffer.isfinite().all(), name
    assert all(p.isfinite().all() for p in trainer.get_model().parameters())


@pytest.mark.parametrize(
    "dtype", [{}, HALF, {"bf16": True, "memory_efficient_bf16": True}], ids=str
)
def test_weights_without_a_gradient_stay_bit_for_bit(data: Data, dtype: dict[str, Any]) -> None:
    """Under noise of three: added and subtracted, nothing would be left of them."""
    trainer, criterion = trainer_of(data, **dtype, lr=0.0, pac_stage1_epochs=0)
    criterion.posterior.log_sigma.fill_(1.1)
    before = {n: p.detach().clone() for n, p in trainer.get_model().named_parameters()}
    for start in (0, 8, 16):
        trainer.train_step([rows(trainer, start, start + 8)])
    for name, parameter in trainer.get_model().named_parameters():
        assert torch.equal(parameter, before[name]), name


@pytest.mark.slow
@pytest.mark.parametrize("backend", list(RANKS))
def test_two_processes_equal_one(tmp_path: Path, backend: str) -> None:
    """With the same noise on both; K is estimated on the shards of both."""
    data = write_sentence_data(tmp_path / "data", rows={"train": 64, "valid": 23})
    settings = {**PAC, "pac_k_batches": 0, "user_dir": REPO / "tests/methods/noise_by_position"}
    settings |= {"optimizer": "sgd", "lr": 0.01, "max_update": 3, "pac_variance_lr": 1e-3}
    runs = two_ranks_and_one(train_flags, data, tmp_path, **settings, **RANKS[backend])
    assert all("on 64 sentences" in done.stdout + done.stderr for done in runs)
    found = [load_checkpoint(tmp_path / n / "checkpoint_last.pt") for n in ("one", "two")]
    assert_close(found[1]["model"], found[0]["model"])
    one, two = (
        {name: t for name, t in state["criterion"].items() if torch.is_tensor(t)} for state in found
    )
    assert_close(two, one, rtol=1e-3, atol=2e-4)
