"""``--optimizer adam`` is fairseq's update in torch's kernel."""

import copy
import logging
import shutil
from pathlib import Path
from typing import Any, Optional

import pytest
import torch
from fairseq import optim, options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.optim import adam as fairseqs
from fairseq.optim.adam import Adam, FairseqAdam
from torch import Tensor
from torch.nn import Parameter

from rxf.fairseq_fixes import fused_adam
from rxf.fairseq_fixes.fused_adam import TorchFusedAdam
from rxf.optim import batches
from tests.optim.plain import Plain
from tests.optim.trainers import PRECISIONS, build_trainer, round_to_half, update
from tests.support import (
    assert_bit_equal,
    fork_fairseq_train,
    load_checkpoint,
    stock,
    train_flags,
    trained_weights,
)

LINE = "torch's fused AdamW kernel"
OFF = {"RXF_FIXES": "fused-adam"}
SHAPES: list[tuple[int, ...]] = [(), (1,), (33,), (7, 5), (3, 1, 5), (0, 4), (130, 17)]
# Of two groups; with an eps that counts.
SETTINGS: list[dict[str, Any]] = [
    {"lr": 1e-2, "betas": (0.9, 0.98), "eps": 1e-3, "weight_decay": 0.1},
    {"lr": 3e-3, "betas": (0.8, 0.999), "eps": 1e-8, "weight_decay": 0.0},
]
EXACT = [(torch.float64, 1e-12), (torch.float32, 2e-6)]
MOMENTS = ("exp_avg", "exp_avg_sq")
HALVES = [torch.float16, torch.bfloat16]


def _parameters(dtype: torch.dtype) -> list[Parameter]:
    """Of odd shapes, the last two of them not contiguous: transposed, and with gaps."""
    source = torch.Generator().manual_seed(3)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=source, dtype=torch.float64).to(dtype)

    tensors = [normal(*shape) for shape in SHAPES]
    tensors += [normal(5, 7).t(), normal(6, 10)[:, ::2]]
    assert [tensor.is_contiguous() for tensor in tensors[-2:]] == [False, False]
    return [Parameter(tensor) for tensor in tensors]


def _groups(parameters: list[Parameter]) -> list[dict[str, Any]]:
    return [
        {"params": parameters[number::2], **settings} for number, settings in enumerate(SETTINGS)
    ]


def _gradients(parameters: list[Parameter], number: int) -> list[Any]:
    """Of update ``number``, in fp64; each parameter is now and then without one."""
    source = torch.Generator().manual_seed(number)
    drawn = [torch.randn(p.shape, generator=source, dtype=torch.float64) for p in parameters]
    return [
        None if (number + place) % 5 == 0 and place % 3 else gradient
        for place, gradient in enumerate(drawn)
    ]


def _set(parameters: list[Parameter], gradients: list[Any]) -> None:
    """As they are stored, some of them not contiguous."""
    for place, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
        parameter.grad = None if gradient is None else gradient.to(parameter.dtype)
        if parameter.grad is not None and gradient.dim() == 2 and place % 2:
            parameter.grad = parameter.grad.t().contiguous().t()


def _update(
    optimizer: torch.optim.Optimizer,
    parameters: list[Parameter],
    number: int,
    lr_scale: float = 1.0,
) -> None:
    _set(parameters, _gradients(parameters, number))
    for group, settings in zip(optimizer.param_groups, SETTINGS, strict=True):
        group["lr"] = settings["lr"] * lr_scale
    optimizer.step()


def _run(kind: Any, dtype: torch.dtype, updates: int, **settings: Any) -> tuple[Any, list[Any]]:
    """An optimizer after some updates, and its parameters."""
    parameters = _parameters(dtype)
    optimizer = kind(_groups(parameters), **settings)
    for number in range(updates):
        _update(optimizer, parameters, number)
    return optimizer, parameters


def _flat(optimizer: torch.optim.Optimizer, parameters: list[Parameter]) -> Tensor:
    """All weights and moments."""
    tensors = [p.detach() for p in parameters]
    tensors += [optimizer.state[p][name] for p in parameters for name in MOMENTS]
    return torch.cat([tensor.double().flatten() for tensor in tensors])


def _assert_near(got: Tensor, wanted: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(got.double(), wanted, rtol=tolerance, atol=tolerance)


def _plains(parameters: list[Parameter]) -> list[Plain]:
    made = []
    for place, parameter in enumerate(parameters):
        settings = dict(SETTINGS[place % 2])
        decay = settings.pop("weight_decay")
        start = parameter.detach().double().clone()
        made.append(Plain(start, None, decay=decay, decays_first=True, **settings))
    return made


def _update_plains(plains: list[Plain], parameters: list[Parameter], number: int) -> None:
    """By the gradients as they were stored."""
    for plain, parameter, gradient in zip(
        plains, parameters, _gradients(parameters, number), strict=True
    ):
        if gradient is not None:
            plain.update(gradient.to(parameter.dtype).double())


# ---------------------------------------------------------------------------- update


@pytest.mark.parametrize("dtype, tolerance", EXACT, ids=["fp64", "fp32"])
def test_200_updates_equal_the_equations(dtype: torch.dtype, tolerance: float) -> None:
    """Two groups, lr that changes (0 at first), parameters that miss updates."""
    parameters = _parameters(dtype)
    optimizer = TorchFusedAdam(_groups(parameters))
    plains = _plains(parameters)
    rates = [plain.lr for plain in plains]
    for number in range(200):
        lr_scale = number % 7 / 4
        _update(optimizer, parameters, number, lr_scale)
        for plain, lr in zip(plains, rates, strict=True):
            plain.lr = lr * lr_scale
        _update_plains(plains, parameters, number)
    assert len({plain.t for plain in plains}) > 1
    for parameter, plain in zip(parameters, plains, strict=True):
        state = optimizer.state[parameter]
        assert state["step"] == plain.t
        _assert_near(parameter.detach(), plain.weight, tolerance)
        _assert_near(state["exp_avg"], plain.m, tolerance)
        _assert_near(state["exp_avg_sq"], plain.v, tolerance)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_half_precision_is_updated_in_fp32(dtype: torch.dtype) -> None:
    """The equations from where it stands: the nearest number there is, or the one beside."""
    parameters = _parameters(dtype)
    optimizer = TorchFusedAdam(_groups(parameters))
    plains = _plains(parameters)
    equal = []
    for number in range(40):
        for parameter, plain in zip(parameters, plains, strict=True):
            plain.weight = parameter.detach().double().clone()
        _update(optimizer, parameters, number)
        _update_plains(plains, parameters, number)
        for parameter, plain in zip(parameters, plains, strict=True):
            wanted = plain.weight.to(dtype)
            _assert_near(parameter.detach(), wanted.double(), torch.finfo(dtype).eps)
            equal.append((parameter == wanted).flatten())
    assert torch.cat(equal).double().mean() > 0.999
    for parameter, plain in zip(parameters, plains, strict=True):
        state = optimizer.state[parameter]
        assert state["exp_avg"].dtype == state["exp_avg_sq"].dtype == torch.float32
        _assert_near(state["exp_avg"], plain.m, 2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES], ids=str)
def test_small_batches_change_nothing(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []
    for elements in (2**24, 40):
        monkeypatch.setattr(batches, "_ELEMENTS", elements)
        ends.append(_flat(*_run(TorchFusedAdam, dtype, 5)))
    assert torch.equal(*ends)


def test_dtypes_may_be_mixed() -> None:
    dtypes = [torch.float32, torch.float64, *HALVES]
    mixed = [Parameter(torch.full((3,), 0.5, dtype=dtype)) for dtype in dtypes]
    alone = [copy.deepcopy(parameter) for parameter in mixed]
    optimizers = [TorchFusedAdam(mixed), *(TorchFusedAdam([parameter]) for parameter in alone)]
    for number in range(3):
        gradient = torch.randn(3, generator=torch.Generator().manual_seed(number))
        for parameter in [*mixed, *alone]:
            parameter.grad = gradient.to(parameter.dtype)
        for optimizer in optimizers:
            optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(mixed, alone, strict=True))
    assert not torch.equal(mixed[0], torch.full((3,), 0.5))


def test_without_any_gradient_nothing_happens() -> None:
    parameter = Parameter(torch.ones(3))
    optimizer = TorchFusedAdam([parameter], weight_decay=0.5)
    optimizer.step()
    assert torch.equal(parameter, torch.ones(3)) and not optimizer.state


def test_closure_is_called_and_its_loss_returned() -> None:
    parameter = Parameter(torch.ones(3))
    optimizer = TorchFusedAdam([parameter], lr=0.1)

    def closure() -> Tensor:
        loss = (parameter * 2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 6.0
    torch.testing.assert_close(parameter.detach(), torch.full((3,), 0.9))


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES], ids=str)
def test_a_graph_of_before_is_still_good_for_backward(dtype: torch.dtype) -> None:
    """As with fairseq's, which changes weights behind autograd's back."""
    parameter = Parameter(torch.ones(3, dtype=dtype))
    loss = parameter.square().sum()
    parameter.grad = torch.ones(3, dtype=dtype)
    TorchFusedAdam([parameter], lr=0.5).step()
    loss.backward()
    torch.testing.assert_close(parameter.grad, torch.full((3,), 2.0, dtype=dtype))


# ----------------------------------------------------------------- left to fairseq's


def test_amsgrad_is_fairseqs() -> None:
    kinds = (Adam, TorchFusedAdam)
    ends = [_flat(*_run(kind, torch.float32, 10, amsgrad=True)) for kind in kinds]
    assert torch.equal(*ends)


def test_a_sparse_gradient_is_refused_before_anything_is_updated() -> None:
    dense, table = Parameter(torch.ones(3)), Parameter(torch.ones(4, 2))
    dense.grad = torch.ones(3)
    table.grad = torch.sparse_coo_tensor([[1]], [[1.0, 1.0]], (4, 2))
    with pytest.raises(RuntimeError, match="does not support sparse gradients"):
        TorchFusedAdam([table, dense]).step()
    assert torch.equal(table, torch.ones(4, 2)) and torch.equal(dense, torch.ones(3))


# ------------------------------------------------------------------------ state dicts


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALVES], ids=str)
@pytest.mark.parametrize("first, second", [(Adam, TorchFusedAdam), (TorchFusedAdam, Adam)])
def test_either_goes_on_from_the_others_state(first: Any, second: Any, dtype: torch.dtype) -> None:
    """From a state that a file could hold, in a precision that torch rounds it to or not."""
    saved, parameters = _run(first, dtype, 10)
    ends = []
    for kind in (first, second):
        loaded = copy.deepcopy(parameters)
        optimizer = kind(_groups(loaded))
        optimizer.load_state_dict(copy.deepcopy(saved.state_dict()))
        for number in range(10, 13):
            _update(optimizer, loaded, number)
        ends.append(_flat(optimizer, loaded))
        moments = {optimizer.state[p][name].dtype for p in loaded for name in MOMENTS}
        assert moments == {torch.promote_types(dtype, torch.float32)}
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-6}.get(dtype, torch.finfo(dtype).eps)
    _assert_near(ends[1], ends[0], tolerance)
    assert not torch.equal(ends[0], _flat(saved, parameters))


def test_state_dicts_have_one_form() -> None:
    theirs, ours = (_run(kind, torch.float32, 3)[0].state_dict() for kind in (Adam, TorchFusedAdam))
    assert ours["param_groups"] == theirs["param_groups"]
    assert ours["state"].keys() == theirs["state"].keys()
    for number, wanted in theirs["state"].items():
        got = ours["state"][number]
        assert list(got) == list(wanted) and type(got["step"]) is int
        assert got["step"] == wanted["step"]
        for name in MOMENTS:
            assert got[name].dtype == wanted[name].dtype
            assert got[name].stride() == wanted[name].stride()


# ------------------------------------------------------------------------- the flags


def _built(*flags: str, parameter: Optional[Parameter] = None) -> FairseqAdam:
    """What fairseq builds for the flags, of a parameter of its own if none is given."""
    args = options.parse_args_and_arch(
        options.get_training_parser(),
        input_args=[*train_flags(Path("unused"), Path("unused")), *flags],
    )
    cfg = convert_namespace_to_omegaconf(args)
    parameter = Parameter(torch.ones(3)) if parameter is None else parameter
    return optim.build_optimizer(cfg.optimizer, [parameter])


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    fused_adam._say.cache_clear()
    caplog.set_level(logging.INFO)
    return caplog


def test_flags_of_the_recipes(said: pytest.LogCaptureFixture) -> None:
    flags = ["--adam-betas", "(0.9, 0.98)", "--adam-eps", "1e-6", "--weight-decay", "0.1"]
    for _ in range(2):
        optimizer = _built(*flags, "--lr", "2e-5")
    inner = optimizer.optimizer
    assert type(inner) is TorchFusedAdam
    (group,) = inner.param_groups
    settings = {key: value for key, value in group.items() if key != "params"}
    (stocks,) = _built(*flags, "--lr", "2e-5", "--use-old-adam").optimizer.param_groups
    assert settings == {key: value for key, value in stocks.items() if key != "params"}
    assert (settings["betas"], settings["eps"]) == ((0.9, 0.98), 1e-6)
    assert (settings["lr"], settings["weight_decay"]) == (2e-5, 0.1)
    assert optimizer.supports_memory_efficient_fp16 and optimizer.supports_flat_params
    assert not optimizer.supports_step_with_scale and not optimizer.supports_groups
    assert said.text.count(LINE) == 1


def test_use_old_adam_is_honoured(said: pytest.LogCaptureFixture) -> None:
    assert type(_built("--use-old-adam").optimizer) is Adam
    assert "in Python, tensor by tensor, because of --use-old-adam" in said.text


def test_a_tpu_is_left_alone(said: pytest.LogCaptureFixture) -> None:
    assert type(_built("--tpu").optimizer) is Adam
    assert "because of --tpu" in said.text


def test_what_torch_has_no_kernel_for_is_left_alone(said: pytest.LogCaptureFixture) -> None:
    parameter = Parameter(torch.ones(3, dtype=torch.complex64))
    assert type(_built(parameter=parameter).optimizer) is Adam
    assert "because of parameters in torch.complex64 on cpu" in said.text
    parameter = Parameter(torch.ones(3, device="meta"))
    assert type(_built(parameter=parameter).optimizer) is Adam
    assert "because of parameters in torch.float32 on meta" in said.text


class _Apex(torch.optim.Optimizer):
    """Stands in for apex's."""

    def __init__(self, parameters: Any, use_fp16_stats: bool, **settings: Any) -> None:
        super().__init__(parameters, settings)
        self.use_fp16_stats = use_fp16_stats


@pytest.mark.parametrize("cuda", [True, False])
def test_apex_is_preferred_where_fairseq_prefers_it(
    cuda: bool, monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    # Another test of the process may have made fairseq's loggers quiet.
    said.set_level(logging.INFO, fairseqs.__name__)
    monkeypatch.setattr(fairseqs, "get_fused_adam_class", lambda: _Apex)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert type(_built().optimizer) is (_Apex if cuda else TorchFusedAdam)
    assert ("using FusedAdam" in said.text) is cuda
    assert (LINE in said.text) is not cuda
    assert type(_built("--use-old-adam").optimizer) is Adam
    if cuda:
        assert _built("--fp16-adam-stats").optimizer.use_fp16_stats


def test_fp16_stats_are_refused_as_before() -> None:
    with pytest.raises(NotImplementedError, match="fp16-adam-stats"):
        _built("--fp16-adam-stats")


def test_stock_walks_in_python() -> None:
    cfg = _built().cfg
    made = FairseqAdam.__new__(FairseqAdam)
    stock(FairseqAdam.__init__)(made, cfg, [Parameter(torch.ones(3))])
    assert type(made.optimizer) is Adam


# ------------------------------------------------------------------- fairseq's trainer


@pytest.fixture(scope="module")
def rounded(pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return round_to_half(pretrained, tmp_path_factory.mktemp("rounded") / "model.pt")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_trainers_of_every_precision_come_to_the_same(
    precision: str, sentence_data: Path, rounded: Path
) -> None:
    """Gradients being the same, one of them missing now and then, so are weights and state."""
    name = "encoder.sentence_encoder.layers.1.fc1.weight"
    ends = []
    for old in (True, False):
        settings = {"optimizer": "adam", "weight_decay": 0.1, "adam_eps": 1e-6}
        trainer = build_trainer(
            sentence_data, rounded, precision, use_old_adam=old, lr=1e-3, **settings
        )
        inner = trainer.optimizer.optimizer
        assert type(inner) is (Adam if old else TorchFusedAdam)
        for seed in range(10):
            update(trainer, seed, without=name if seed % 4 == 1 else None)
        weights = [p.detach() for group in inner.param_groups for p in group["params"]]
        ends.append((weights, inner.state_dict()["state"]))
    (wanted, wanted_state), (got, got_state) = ends
    rounding = torch.finfo(wanted[0].dtype).eps
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=4 * rounding, atol=4 * rounding)
    assert {n: s["step"] for n, s in got_state.items()} == {
        n: s["step"] for n, s in wanted_state.items()
    }
    for number, state in wanted_state.items():
        assert state["exp_avg"].dtype == got_state[number]["exp_avg"].dtype == torch.float32
        for moment in MOMENTS:
            torch.testing.assert_close(got_state[number][moment], state[moment])


QUICK = ("memory-efficient",)


def _train(data: Path, folder: Path, precision: str, updates: int, env: dict[str, str]) -> str:
    settings: dict[str, Any] = {"adam_eps": 1e-3, "weight_decay": 0.1, "lr": 1e-2}
    settings |= {"adam_betas": "(0.9, 0.98)", "max_update": updates}
    flags = train_flags(data, folder, **settings)
    stdout = fork_fairseq_train(*flags, *PRECISIONS[precision], env=env).stdout
    assert stdout.count(LINE) == (0 if env else 1)
    return stdout


@pytest.mark.parametrize(
    "precision",
    [p if p in QUICK else pytest.param(p, marks=pytest.mark.slow) for p in PRECISIONS],
)
def test_runs_resume_with_and_without(precision: str, sentence_data: Path, tmp_path: Path) -> None:
    """From either's checkpoint to either, as fairseq's from its own, but for rounding."""
    envs: dict[str, dict[str, str]] = {"on": {}, "off": OFF}
    weights = {}
    for first in envs:
        _train(sentence_data, tmp_path / first, precision, 6, envs[first])
        for second in envs:
            folder = tmp_path / f"{first}-{second}"
            shutil.copytree(tmp_path / first, folder)
            stdout = _train(sentence_data, folder, precision, 12, envs[second])
            assert "@ 6 updates" in stdout
            weights[first, second] = trained_weights(folder)
            state = load_checkpoint(folder / "checkpoint_last.pt")["last_optimizer_state"]
            steps = [entry["step"] for entry in state["state"].values()]
            assert set(steps) == {12} and {type(step) for step in steps} == {int}
    stocks = weights["off", "off"]
    way = _distance(stocks, trained_weights(tmp_path / "off"))
    for got in weights.values():
        assert _distance(got, stocks) < 0.01 * way


def test_resume_equals_an_uninterrupted_run(sentence_data: Path, tmp_path: Path) -> None:
    """Bit for bit, dropout on."""
    for folder, stops in (("whole", [9]), ("resumed", [5, 9])):
        for stop in stops:
            _train(sentence_data, tmp_path / folder, "fp32", stop, {})
    assert_bit_equal(trained_weights(tmp_path / "resumed"), trained_weights(tmp_path / "whole"))


def _distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return float(torch.stack([(one[name] - other[name]).float().norm() for name in one]).norm())
