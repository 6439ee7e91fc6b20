"""Adam by named parameter, against the equations restated."""

import copy
import math
from collections.abc import Mapping
from typing import Any, Optional

import pytest
import torch
from fairseq.logging import metrics
from fairseq.optim.adam import Adam
from torch import Tensor

from rxf.errors import UserError
from tests.optim.plain import Net, Plain, clipped
from tests.optim.problems import make, random_gradients, set_gradients

LR = 1e-3
HEAD = ("head.weight", "head.bias")
ANNEALING = {
    "sigmoid": {"k": 0.1, "t0": 100.0},
    "linear": {"t0": 120.0},
    "constant": {},
}


def _net(dtype: torch.dtype, seed: int = 3) -> Net:
    torch.manual_seed(seed)
    return Net(torch.float64).to(dtype)


def _anchors(net: Net) -> dict[str, Tensor]:
    """Of all but the head: where it starts, and a little beside that."""
    return {
        name: parameter.detach().clone() + 0.1
        for name, parameter in net.named_parameters()
        if name not in HEAD
    }


def _plains(net: Net, anchors: Mapping[str, Tensor], **settings: Any) -> dict[str, Plain]:
    return {
        name: Plain(
            parameter.detach().double().clone(),
            anchors[name].double() if name in anchors else None,
            lr=LR,
            **settings,
        )
        for name, parameter in net.named_parameters()
    }


def _assert_equal(net: Net, plains: Mapping[str, Plain], tolerance: float) -> None:
    for name, parameter in net.named_parameters():
        wanted = plains[name].weight
        difference = float((parameter.detach().double() - wanted).abs().max())
        assert difference <= tolerance * max(1.0, float(wanted.abs().max())), name


# ----------------------------------------------------------------- the published update


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("function", ANNEALING)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_200_updates_of_a_task_equal_the_equations(
    function: str, decay: float, dtype: torch.dtype, tolerance: float
) -> None:
    """Gradients are those of the loss at where the optimizer has come to."""
    net = _net(dtype)
    anchors = _anchors(net)
    curve = ANNEALING[function]
    optimizer = make(
        "recadam",
        net,
        anchors,
        LR,
        weight_decay=decay,
        recadam_anneal_fun=function,
        recadam_pretrain_cof=300.0,
        recadam_anneal_w=0.9,
        **{f"recadam_anneal_{key}": value for key, value in curve.items()},
    )
    plains = _plains(net, anchors, decay=decay, gamma=300.0, w=0.9, function=function, **curve)
    double = copy.deepcopy(net).double()
    source = torch.Generator().manual_seed(0)
    for _ in range(200):
        inputs = torch.randn(6, 7, generator=source, dtype=torch.float64)
        targets = torch.randint(3, (6,), generator=source)
        net.zero_grad()
        net.loss(inputs.to(dtype), targets).backward()
        optimizer.step()
        double.load_state_dict({name: plain.weight for name, plain in plains.items()})
        double.zero_grad()
        double.loss(inputs, targets).backward()
        for name, parameter in double.named_parameters():
            plains[name].update(parameter.grad)
    _assert_equal(net, plains, tolerance)
    moved = [
        float((plain.weight - anchors[n].double()).norm())
        for n, plain in plains.items()
        if n in anchors
    ]
    assert all(0 < length < 10 for length in moved)


def test_the_head_gets_plain_adam_from_the_first_update() -> None:
    net = _net(torch.float64)
    anchors = _anchors(net)
    optimizer = make("recadam", net, anchors, LR, recadam_anneal_t0=1e6, recadam_pretrain_cof=100.0)
    plain = Plain(net.head.weight.detach().clone(), None, lr=LR)
    for seed in range(5):
        gradients = random_gradients(net, seed)
        set_gradients(net, gradients)
        optimizer.step()
        plain.update(gradients["head.weight"])
    torch.testing.assert_close(net.head.weight.detach(), plain.weight, rtol=0, atol=1e-12)
    # The body is nothing but pulled: 1 - 0.1 of the distance is left each time.
    body = net.body.weight.detach()
    torch.testing.assert_close(body, anchors["body.weight"] - 0.1 * 0.9**5, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind, decay", [("recadam", 0.0), ("cwgnc_adam", 0.1)])
def test_without_clip_and_pull_it_is_fairseqs_adam(kind: str, decay: float) -> None:
    """50 updates, with an eps that counts; recadam decays elsewhere in the update."""
    net, stock = _net(torch.float64), _net(torch.float64)
    settings: dict[str, Any] = {"adam_eps": 1e-3, "weight_decay": decay}
    if kind == "recadam":
        optimizer = make(kind, net, _anchors(net), LR, recadam_anneal_fun="constant", **settings)
    else:
        optimizer = make(kind, net, {}, LR, component_clip_norm=0.0, **settings)
    fairseqs = Adam(stock.parameters(), lr=LR, eps=1e-3, weight_decay=decay)
    for seed in range(50):
        set_gradients(net, random_gradients(net, seed))
        set_gradients(stock, random_gradients(net, seed))
        optimizer.step()
        fairseqs.step()
    for one, other in zip(net.parameters(), stock.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


# ---------------------------------------------------------------- clipping by component


@pytest.mark.parametrize("kind", ["recadam", "cwgnc_adam"])
def test_each_tensor_is_clipped_on_its_own(kind: str) -> None:
    """Against the equation, gradients of very different sizes, some below the threshold."""
    net = _net(torch.float64)
    settings: dict[str, Any] = {"component_clip_norm": 0.5}
    if kind == "recadam":
        settings["recadam_anneal_fun"] = "constant"
    optimizer = make(kind, net, {}, LR, **settings)
    plains = _plains(net, {})
    sizes = {name: 10.0**power for power, name in enumerate(plains, start=-4)}
    for seed in range(10):
        # The sizes change places, or Adam would hide most of the clip.
        swapped = dict(zip(sizes, list(sizes.values())[:: (-1) ** seed], strict=True))
        gradients = {n: g * swapped[n] for n, g in random_gradients(net, seed).items()}
        set_gradients(net, gradients)
        optimizer.step()
        for name, plain in plains.items():
            plain.update(clipped(gradients[name], 0.5))
    _assert_equal(net, plains, 1e-9)


def test_modules_are_clipped_together() -> None:
    """Weight and bias of one layer share one norm."""
    net = _net(torch.float64)
    optimizer = make("cwgnc_adam", net, {}, LR, component_clip_group="module")
    gradients = random_gradients(net, 0)
    plains = _plains(net, {})
    for seed in range(3):
        gradients = {n: g / 10**seed for n, g in random_gradients(net, seed).items()}
        set_gradients(net, gradients)
        optimizer.step()
        for layer in ("body", "norm", "head"):
            names = (f"{layer}.weight", f"{layer}.bias")
            together = torch.cat([gradients[name].flatten() for name in names])
            factor = clipped(together, 0.05).norm() / together.norm()
            for name in names:
                plains[name].update(gradients[name] * factor)
    _assert_equal(net, plains, 1e-9)


def test_the_share_of_clipped_components_is_logged() -> None:
    net = _net(torch.float32)
    optimizer = make("cwgnc_adam", net, {}, LR, component_clip_norm=1.0)
    gradients = {name: torch.zeros_like(tensor) for name, tensor in net.named_parameters()}
    for name in ("body.weight", "norm.bias"):
        gradients[name].flatten()[0] = 2.0
    set_gradients(net, gradients)
    with metrics.aggregate() as seen:
        optimizer.step()
    assert float(seen["clipped_share"].val) == pytest.approx(2 / 6)


# ------------------------------------------------------------------- groups and pulls


def test_layers_and_decay_groups() -> None:
    """Rates by depth and decay by kind, on a model with fairseq's names."""

    class Stack(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed_tokens = torch.nn.Embedding(4, 3, dtype=torch.float64)
            self.layers = torch.nn.ModuleList(Net(torch.float64) for _ in range(2))
            self.classification_heads = torch.nn.ModuleDict({"h": torch.nn.Linear(3, 2).double()})

    torch.manual_seed(0)
    net = Stack()
    optimizer = make(
        "cwgnc_adam",
        net,
        {},
        LR,
        component_clip_norm=0.0,
        weight_decay=0.2,
        no_decay_norms_and_biases=True,
        layer_lr_decay=0.5,
    )
    scales = {"embed_tokens": 0.125, "layers.0": 0.25, "layers.1": 0.5, "classification_heads": 1}
    plains = {}
    for name, parameter in net.named_parameters():
        scale = next(value for prefix, value in scales.items() if name.startswith(prefix))
        spared = name.endswith("bias") or ".norm." in name
        start = parameter.detach().clone()
        plains[name] = Plain(start, None, lr=LR * scale)
        plains[name].decay_first = 0.0 if spared else 0.2  # type: ignore[attr-defined]
    for seed in range(8):
        gradients = random_gradients(net, seed)
        set_gradients(net, gradients)
        optimizer.step()
        for name, plain in plains.items():
            plain.weight = plain.weight * (1 - plain.lr * plain.decay_first)  # type: ignore[attr-defined]
            plain.update(gradients[name])
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.detach(), plains[name].weight, rtol=0, atol=1e-12)


def test_l2sp_and_ewc_pull_after_adam() -> None:
    net = _net(torch.float64)
    anchors = _anchors(net)
    settings = {"l2sp_weight": 20.0, "ewc_weight": 30.0, "component_clip_norm": 0.0}
    optimizer = make("cwgnc_adam", net, anchors, LR, **settings)
    fisher = {name: random_gradients(net, 99)[name].square() for name in anchors}
    entries = optimizer.training.ledger.entries
    optimizer.fisher = {
        number: fisher[entry.name] for number, entry in enumerate(entries) if entry.name in fisher
    }
    plains = _plains(net, {})
    for seed in range(6):
        gradients = random_gradients(net, seed)
        set_gradients(net, gradients)
        optimizer.step()
        for name, plain in plains.items():
            plain.update(gradients[name])
            if name in anchors:
                plain.weight = plain.weight - LR * 20.0 * (plain.weight - anchors[name])
                away = plain.weight - anchors[name]
                plain.weight = plain.weight - LR * 30.0 * fisher[name] * away
    _assert_equal(net, plains, 1e-11)


# --------------------------------------------------------- what is left alone, and logged


@pytest.mark.parametrize("kind", ["recadam", "cwgnc_adam"])
def test_without_gradient_nothing_moves_and_adam_does_not_count(kind: str) -> None:
    """Missing in updates 1 and 3, lambda goes on counting."""
    net = _net(torch.float64)
    anchors = _anchors(net)
    curve = {"gamma": 100.0, "function": "linear", "t0": 8.0}
    settings: dict[str, Any] = {"weight_decay": 0.1}
    if kind == "recadam":
        settings |= {"recadam_pretrain_cof": 100.0, "recadam_anneal_t0": 8.0}
        settings |= {"recadam_anneal_fun": "linear"}
    optimizer = make(kind, net, anchors if kind == "recadam" else {}, LR, **settings)
    start = net.body.weight.detach().clone()
    plain = Plain(start, anchors["body.weight"], lr=LR, decay=0.1, **curve)
    for update in range(1, 7):
        gradients = random_gradients(net, update)
        before = net.body.weight.detach().clone()
        if update in (1, 3):
            gradients.pop("body.weight")
        set_gradients(net, gradients)
        optimizer.step()
        if update in (1, 3):
            assert torch.equal(net.body.weight.detach(), before)
        elif kind == "recadam":
            _update_late(plain, gradients["body.weight"], update)
    if kind == "recadam":
        torch.testing.assert_close(net.body.weight.detach(), plain.weight, rtol=0, atol=1e-11)


def _update_late(plain: Plain, gradient: Tensor, update: int) -> None:
    """lambda of ``update``, bias correction of the parameter's own count."""
    lam = min(1.0, update / plain.t0)
    plain.lam = lambda: lam  # type: ignore[method-assign]
    plain.update(gradient)


def test_distance_pull_and_lambda_are_logged() -> None:
    net = _net(torch.float64)
    anchors = _anchors(net)
    settings: dict[str, Any] = {"recadam_pretrain_cof": 400.0, "recadam_anneal_t0": 10.0}
    optimizer = make("recadam", net, anchors, LR, recadam_anneal_fun="linear", **settings)
    plains = _plains(net, anchors, gamma=400.0, function="linear", t0=10.0)
    for seed in range(3):
        gradients = random_gradients(net, seed)
        set_gradients(net, gradients)
        with metrics.aggregate() as seen:
            optimizer.step()
        for name, plain in plains.items():
            plain.update(gradients[name])
    away = [plains[name].weight - anchor for name, anchor in anchors.items()]
    distance = math.sqrt(sum(float(d.square().sum()) for d in away))
    # What is left after the pull is 1 - rate of what was there before it.
    rate = LR * 400.0 * (1 - 0.3)
    assert float(seen["anchor_distance"].val) == pytest.approx(distance, rel=1e-9)
    assert float(seen["anchor_pull"].val) == pytest.approx(rate / (1 - rate) * distance, rel=1e-9)
    assert seen["recadam_lambda"].val == pytest.approx(0.3)


def test_nothing_is_logged_between_log_intervals() -> None:
    net = _net(torch.float32)
    optimizer = make("recadam", net, _anchors(net), LR, recadam_pretrain_cof=100.0)
    optimizer.training.log_interval = 2
    seen: list[Optional[bool]] = []
    for seed in range(4):
        set_gradients(net, random_gradients(net, seed))
        with metrics.aggregate() as values:
            optimizer.step()
        seen.append("anchor_distance" in values)
    assert seen == [False, True, False, True]


# ------------------------------------------------------------------------ bad settings


@pytest.mark.parametrize(
    "kind, settings, words",
    [
        ("recadam", {"recadam_pretrain_cof": 2001.0}, ("--recadam-pretrain-cof", "--lr")),
        ("recadam", {"l2sp_weight": 2000.0, "recadam_anneal_fun": "constant"}, ("--l2sp-weight",)),
        ("cwgnc_adam", {"l2sp_weight": 2000.0}, ("--l2sp-weight", "--lr")),
        ("cwgnc_adam", {"adam_betas": "(0.9, 1.0)"}, ("--adam-betas",)),
        ("cwgnc_adam", {"adam_betas": "0.9"}, ("--adam-betas",)),
        ("cwgnc_adam", {"adam_betas": "exit()"}, ("--adam-betas",)),
        ("cwgnc_adam", {"adam_eps": 0.0}, ("--adam-eps",)),
        ("cwgnc_adam", {"weight_decay": -0.1}, ("--weight-decay",)),
        ("cwgnc_adam", {"component_clip_norm": math.inf}, ("--component-clip-norm",)),
        ("cwgnc_adam", {"component_clip_group": "layer"}, ("--component-clip-group", "module")),
        ("cwgnc_adam", {"layer_lr_decay": 1.1}, ("--layer-lr-decay",)),
        ("cwgnc_adam", {"ewc_batches": 0}, ("--ewc-batches",)),
    ],
)
def test_bad_settings(kind: str, settings: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as caught:
        make(kind, _net(torch.float32), {}, LR, **settings)
    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)


def test_the_published_gamma_is_allowed_up_to_its_limit() -> None:
    """lr x 5000 < 2; the first update's w - lambda is what counts."""
    make("recadam", _net(torch.float32), {}, 3.99e-4)
    with pytest.raises(UserError, match="0.0004"):
        make("recadam", _net(torch.float32), {}, 4.01e-4)
    make(
        "recadam",
        _net(torch.float32),
        {},
        4.01e-4,
        recadam_anneal_fun="linear",
        recadam_anneal_t0=2.0,
    )
