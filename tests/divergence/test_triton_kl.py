"""Triton's kernel against the equations, by Triton's interpreter on the CPU.

Whether Triton interprets is settled when it is first imported, so what needs it runs in a
process of its own, and this one never imports Triton.
"""

import importlib.metadata
import importlib.util
import multiprocessing
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional
from unittest import mock

import pytest
import torch

from rxf.divergence import fast_path, fused_linear_ce_kl, symmetric_kl
from rxf.errors import UserError
from tests.divergence.test_fused_linear import PAD, compare, inputs
from tests.divergence.test_symmetric_kl import by_definition
from tests.support import REPO

# Gradients are rounded to their dtype; bfloat16 is cut off by the interpreter.
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 8e-3, torch.float16: 5e-4}


def _reason_to_skip() -> str:
    """Why nothing can be interpreted here; empty where something can."""
    try:
        found = importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return "Triton is not installed (pip install triton, on Linux)"
    numbers = tuple(int(number) for number in found.split(".")[:2])
    return "" if numbers >= (3, 7) else f"Triton {found} cannot interpret with a current NumPy"


NO_TRITON = _reason_to_skip()
has_triton = pytest.mark.skipif(bool(NO_TRITON), reason=NO_TRITON)
Interpreted = Callable[..., Any]


# Whether importing this module, and with it rxf, imported Triton.
TRITON_AT_START = "triton" in sys.modules


def _interpret() -> None:
    os.environ["TRITON_INTERPRET"] = "1"
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def interpreted() -> Iterator[Interpreted]:
    """Runs a function of this module where Triton interprets; its errors are raised here."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_interpret) as pool:
        yield lambda function, *args, **flags: pool.submit(function, *args, **flags).result()


@contextmanager
def through_the_kernel() -> Iterator[None]:
    """As if the CPU were a GPU, and every row long enough; fails where no kernel ran."""
    from rxf.divergence import triton_kl

    with (
        mock.patch.object(fast_path, "_is_gpu", lambda device: True),
        mock.patch.object(fast_path, "LEAST_VOCABULARY", 1),
        mock.patch.object(triton_kl, "walk", wraps=triton_kl.walk) as walk,
    ):
        yield
    assert walk.called


def pair(
    rows: int, vocabulary: int, dtype: torch.dtype = torch.float32, distance: float = 0.5
) -> list[torch.Tensor]:
    source = torch.Generator().manual_seed(rows + vocabulary)
    z = 2 * torch.randn(rows, vocabulary, generator=source, dtype=torch.float64)
    noise = torch.randn(rows, vocabulary, generator=source, dtype=torch.float64)
    return [z.to(dtype), (z + distance * noise).to(dtype)]


def both(
    logits: list[torch.Tensor], factor: float = 1.0, kept: Optional[torch.Tensor] = None
) -> list[tuple[torch.Tensor, ...]]:
    """Value and gradients: of the kernel, and of the definition in float64.

    Args:
        logits: of both branches.
        factor: of the loss.
        kept: the words that the definition is to know, all by default.
    """
    exact = [each.detach().double().requires_grad_() for each in logits]
    seen = exact if kept is None else [each[:, kept] for each in exact]
    wanted = by_definition(*seen)
    (wanted * factor).backward()
    # Not leaves, so that strides stay what they are.
    leaves = [each.detach().requires_grad_() for each in logits]
    with through_the_kernel():
        value = symmetric_kl(*leaves)
        (value * factor).backward()
    assert value.dtype is torch.float32
    for leaf in leaves:
        assert leaf.grad is not None and leaf.grad.dtype is leaf.dtype
    return [
        (value.detach().double(), *(leaf.grad.double() for leaf in leaves)),
        (wanted.detach(), *(leaf.grad for leaf in exact)),
    ]


def close(
    logits: list[torch.Tensor], tolerance: float, factor: float = 1.0, rtol: float = 1e-5
) -> None:
    """The value within ``rtol``; gradients within ``tolerance`` of their largest entry."""
    got, wanted = both(logits, factor)
    torch.testing.assert_close(got[0], wanted[0], rtol=rtol, atol=1e-12)
    for ours, reference in zip(got[1:], wanted[1:], strict=True):
        assert (ours - reference).abs().max() <= tolerance * reference.abs().max() + 1e-12


# ---------------------------------------------------------------- divergence alone


# Few rows: the interpreter takes them one by one, and its time.
@has_triton
@pytest.mark.parametrize("vocabulary", [1, 2, 3, 5, 127, 1000, 4099])
def test_value_and_gradients(interpreted: Interpreted, vocabulary: int) -> None:
    interpreted(close, pair(2, vocabulary), TOLERANCE[torch.float32])


@has_triton
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("vocabulary", [5, 4099])
def test_half_precision(interpreted: Interpreted, vocabulary: int, dtype: torch.dtype) -> None:
    interpreted(close, pair(2, vocabulary, dtype), TOLERANCE[dtype])


@has_triton
@pytest.mark.parametrize("rows", [1, 3, 17])
def test_numbers_of_rows(interpreted: Interpreted, rows: int) -> None:
    interpreted(close, pair(rows, 33), TOLERANCE[torch.float32])


@has_triton
def test_no_row_at_all(interpreted: Interpreted) -> None:
    interpreted(_no_row_at_all)


def _no_row_at_all() -> None:
    z = torch.zeros(0, 5, requires_grad=True)
    with through_the_kernel():
        value = symmetric_kl(z, torch.zeros(0, 5))
        value.backward()
        symmetric_kl(torch.zeros(1, 5), torch.zeros(1, 5))
    assert float(value) == 0 and z.grad is not None and z.grad.shape == (0, 5)


@has_triton
@pytest.mark.parametrize("layout", ["transposed", "every other row", "part of a row", "3-D"])
def test_strides(interpreted: Interpreted, layout: str) -> None:
    interpreted(_strides, layout)


def _strides(layout: str) -> None:
    made = {
        "transposed": lambda z: z.t().contiguous().t(),
        "every other row": lambda z: z[::2],
        "part of a row": lambda z: z[:, 3:70],
        "3-D": lambda z: z.view(2, 2, -1).transpose(0, 1),
    }[layout]
    logits = [made(z) for z in pair(4, 130)]
    assert not logits[0].is_contiguous()
    close(logits, TOLERANCE[torch.float32])
    # Each branch may lie in memory in its own way.
    close([logits[0], logits[1].contiguous()], TOLERANCE[torch.float32])


@has_triton
@pytest.mark.parametrize("size", [20.0, 1e4])
def test_extreme_logits(interpreted: Interpreted, size: float) -> None:
    source = torch.Generator().manual_seed(5)
    signs = [torch.randint(-1, 2, (2, 300), generator=source) * size for _ in range(2)]
    interpreted(close, signs, 1e-5)


@has_triton
@pytest.mark.parametrize("vocabulary", [7, 700])
def test_words_masked_in_both_branches_take_no_part(
    interpreted: Interpreted, vocabulary: int
) -> None:
    interpreted(_masked, vocabulary)


def _masked(vocabulary: int) -> None:
    logits = pair(2, vocabulary)
    kept = torch.ones(vocabulary, dtype=torch.bool)
    kept[::3] = False
    kept[-min(400, vocabulary // 2) :] = False  # some lanes see no word at all
    for z in logits:
        z[:, ~kept] = -torch.inf
    got, wanted = both(logits, kept=kept)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)
    assert not got[1][:, ~kept].any() and not got[2][:, ~kept].any()


@has_triton
@pytest.mark.parametrize("odd", [-float("inf"), float("nan")])
def test_what_is_infinite_or_no_number_is_not_hidden(interpreted: Interpreted, odd: float) -> None:
    interpreted(_not_hidden, odd)


def _not_hidden(odd: float) -> None:
    for branch in range(2):
        logits = pair(1, 40)
        logits[branch][0, 7] = odd
        with through_the_kernel():
            assert not symmetric_kl(*logits).isfinite()


@has_triton
def test_equal_branches_have_exactly_no_divergence_and_no_gradient(
    interpreted: Interpreted,
) -> None:
    interpreted(_equal_branches)


def _equal_branches() -> None:
    z = pair(1, 1001)[0]
    for logits in ([z, z.clone()], [z * 1e4, z * 1e4]):
        got, _ = both(logits)
        assert not any(tensor.any() for tensor in got)


@has_triton
def test_tiny_differences_keep_their_digits(interpreted: Interpreted) -> None:
    interpreted(_tiny_differences)


def _tiny_differences() -> None:
    logits = pair(2, 1000, distance=1e-5)
    got, wanted = both(logits)
    assert 0 < float(wanted[0]) < 1e-9
    torch.testing.assert_close(got[0], wanted[0], rtol=1e-3, atol=0)
    for ours, reference in zip(got[1:], wanted[1:], strict=True):
        assert (ours - reference).norm() < 0.03 * reference.norm()


@has_triton
def test_where_the_series_ends_nothing_jumps(interpreted: Interpreted) -> None:
    for distance in (0.003, 0.015, 0.06):
        interpreted(close, pair(1, 500, distance=distance), 1e-4, rtol=1e-4)


@has_triton
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
def test_the_loss_scaled_afterwards(interpreted: Interpreted, dtype: torch.dtype) -> None:
    interpreted(close, pair(1, 50, dtype), TOLERANCE[dtype], factor=512.0)


@has_triton
def test_a_loss_scale_saves_gradients_too_small_for_fp16(interpreted: Interpreted) -> None:
    interpreted(_loss_scale)


def _loss_scale() -> None:
    logits = [3 * z for z in pair(1, 1000, torch.float16, distance=1e-2)]
    got, wanted = both(logits, factor=2.0**14)
    small = (wanted[1] / 2**14).abs() < 2e-8  # rounded to 0 in fp16 without the factor
    assert small.double().mean() > 0.1
    error = (got[1] - wanted[1])[small].norm() / wanted[1][small].norm()
    assert error < 1e-3


@has_triton
def test_one_branch_without_gradient(interpreted: Interpreted) -> None:
    interpreted(_one_branch)


def _one_branch() -> None:
    z, w = pair(1, 60)
    (_, *wanted) = both([z, w])[1]
    for number in range(2):
        leaves = [z.clone().requires_grad_(number == 0), w.clone().requires_grad_(number == 1)]
        with through_the_kernel():
            symmetric_kl(*leaves).backward()
        assert leaves[1 - number].grad is None
        grad = leaves[number].grad
        assert grad is not None
        torch.testing.assert_close(grad.double(), wanted[number], rtol=1e-5, atol=1e-6)


@has_triton
def test_a_second_derivative_is_refused(interpreted: Interpreted) -> None:
    with pytest.raises(RuntimeError, match="does not require grad"):
        interpreted(_second_derivative)


def _second_derivative() -> None:
    z, w = (each.requires_grad_() for each in pair(1, 9))
    with through_the_kernel():
        (first,) = torch.autograd.grad(symmetric_kl(z, w), z, create_graph=True)
    first.sum().backward()


# --------------------------------------------------------------------- fused loss


def fused(sizes: dict[str, Any], tolerance: float = 1e-5, **flags: Any) -> None:
    given, targets = inputs(**{"rows": 2, "length": 2, **sizes})
    if flags.pop("keep_padding", False):
        flags["keep"] = torch.ones_like(targets, dtype=torch.bool)
    with through_the_kernel():
        compare(given, targets, tolerance, **flags)


@has_triton
@pytest.mark.parametrize(
    ("label_smoothing", "ce_weights", "kl_weight"),
    [
        (0.0, (1.0, 0.0), 0.7),
        (0.1, (1.0, 0.0), 0.7),
        (0.0, (0.5, 0.5), 1),
        (0.1, (0.5, 0.5), 0.0),
        (0.1, (0.0, 1), 0.7),
        (0.1, (0.0, 0.0), 0.7),
        (0.0, (1, 0.3), 0.0),
    ],
)
def test_fused_loss(
    interpreted: Interpreted,
    label_smoothing: float,
    ce_weights: tuple[float, float],
    kl_weight: float,
) -> None:
    flags = {"label_smoothing": label_smoothing, "ce_weights": ce_weights, "kl_weight": kl_weight}
    interpreted(fused, {}, **flags)
    interpreted(fused, {}, **flags, keep_padding=True, chunk_size=3)


# Half precision: as without the kernel, and not as exact as it could be before a product.
@has_triton
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.bfloat16, 3e-2), (torch.float16, 4e-3)], ids=str
)
def test_fused_loss_in_half_precision(
    interpreted: Interpreted, dtype: torch.dtype, tolerance: float
) -> None:
    sizes = {"dtype": dtype, "vocabulary": 1031}
    flags = {"ce_weights": (0.5, 0.5), "kl_weight": 0.35, "label_smoothing": 0.1}
    interpreted(fused, sizes, tolerance, **flags)


@has_triton
@pytest.mark.parametrize(
    "sizes",
    [
        {"rows": 1, "length": 1, "width": 1, "vocabulary": 3},
        {"rows": 1, "length": 3, "width": 5, "vocabulary": 11},
        {"rows": 1, "length": 2, "vocabulary": 4099},
    ],
    ids=["3 words", "11 words", "4099 words"],
)
def test_fused_loss_of_odd_sizes(interpreted: Interpreted, sizes: dict[str, int]) -> None:
    interpreted(fused, sizes, label_smoothing=0.1)


@has_triton
@pytest.mark.parametrize("keep_padding", [False, True])
def test_fused_loss_without_the_noised_branchs_gradient(
    interpreted: Interpreted, keep_padding: bool
) -> None:
    flags = {"noised_gradient": False, "label_smoothing": 0.1, "keep_padding": keep_padding}
    interpreted(fused, {}, **flags)


@has_triton
def test_fused_loss_scaled_afterwards(interpreted: Interpreted) -> None:
    interpreted(fused, {}, scale=128.0)


@has_triton
def test_fused_loss_where_no_row_has_a_target(interpreted: Interpreted) -> None:
    interpreted(_no_target)


def _no_target() -> None:
    given, targets = inputs(rows=2, length=2)
    targets.fill_(PAD)
    keep = torch.ones_like(targets, dtype=torch.bool)
    with through_the_kernel():
        compare(given, targets, keep=keep, label_smoothing=0.1, ce_weights=(0.5, 0.5))
        result = fused_linear_ce_kl(*given.values(), targets, ignore_index=PAD, keep=keep)
    assert float(result.nll) == 0 and float(result.loss) == float(result.symm_kl) > 0


@has_triton
def test_fused_loss_with_frozen_inputs_and_without_gradient(interpreted: Interpreted) -> None:
    interpreted(_frozen_inputs)


def _frozen_inputs(rows=2, length=2) -> None:
    given, targets = inputs()
    wanted = fused_linear_ce_kl(*given.values(), targets, ignore_index=PAD)
    (by_torch,) = torch.autograd.grad(wanted.loss, given["noised"])
    leaves = {name: value.detach().clone() for name, value in given.items()}
    with through_the_kernel():
        plain = fused_linear_ce_kl(*leaves.values(), targets, ignore_index=PAD)
        leaves["noised"].requires_grad_()
        result = fused_linear_ce_kl(*leaves.values(), targets, ignore_index=PAD)
        result.loss.backward()
    torch.testing.assert_close(plain.loss, wanted.loss.detach())
    torch.testing.assert_close(leaves["noised"].grad, by_torch, rtol=1e-5, atol=1e-6)


@has_triton
def test_another_projection_for_the_noised_branch(interpreted: Interpreted) -> None:
    interpreted(_another_projection)


def _another_projection() -> None:
    given, targets = inputs(rows=2, length=2)
    other = given["weight"].detach().flip(0)
    flags = {"ignore_index": PAD, "noised_weight": other, "noised_gradient": False}
    wanted = fused_linear_ce_kl(*given.values(), targets, **flags)
    by_torch = torch.autograd.grad(wanted.loss, [given["clean"], given["weight"]])
    with through_the_kernel():
        result = fused_linear_ce_kl(*given.values(), targets, **flags)
        ours = torch.autograd.grad(result.loss, [given["clean"], given["weight"]])
    torch.testing.assert_close(result.loss, wanted.loss)
    torch.testing.assert_close(ours, by_torch, rtol=1e-5, atol=1e-6)


@has_triton
def test_of_equal_logits_the_first_is_the_prediction(interpreted: Interpreted) -> None:
    interpreted(_equal_logits)


def _equal_logits() -> None:
    from rxf.divergence import triton_kl

    source = torch.Generator().manual_seed(3)
    z = torch.randint(0, 5, (4, 700), generator=source).half()
    z[:, ::7] = -torch.inf
    best = z.argmax(dim=1)
    later = torch.tensor([int((row == row.max()).nonzero()[1]) for row in z])
    for targets, right in ((best, True), (later, False), (torch.full_like(best, PAD), False)):
        correct = torch.ones(4, dtype=torch.bool) ^ right
        losses = torch.empty(2, 4)
        asked = triton_kl.CrossEntropies(targets, PAD, (1.0, 0.0), 1.0, 0.0, losses, correct)
        triton_kl.walk(z, z, cross_entropies=asked)
        assert bool((correct == (right & targets.ne(PAD))).all())
        counted = torch.nn.functional.cross_entropy(
            z.double(), targets, ignore_index=PAD, reduction="none"
        )
        torch.testing.assert_close(losses.double(), torch.stack([counted, counted]))


@has_triton
def test_a_gradient_must_lie_row_by_row(interpreted: Interpreted) -> None:
    with pytest.raises(ValueError, match="row by row"):
        interpreted(_column_by_column)


def _column_by_column() -> None:
    from rxf.divergence import triton_kl

    z = torch.zeros(3, 4)
    triton_kl.walk(z, z, grad_p=torch.zeros(4, 3).t())


# -------------------------------------------------------------------- for real GPUs


# Interpreting forgives what a compiler does not.  No GPU is needed to compile for one.
@has_triton
def test_compiles_for_gpus(tmp_path: Path) -> None:
    code = f"from {__name__} import compile_all; compile_all()"
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=REPO
    )
    assert done.returncode == 0, done.stderr[-3000:]


def compile_all() -> None:
    """The backward pass of the divergence alone, and what the fused loss may want."""
    alone = {"divergence_ptr", "targets_ptr", "losses_ptr", "correct_ptr"}
    compile_for("fp16", 90, left_out=alone)
    compile_for("bf16", 80, left_out={"factor_ptr"}, cross_entropies=(True, True))
    noised_fixed = {"factor_ptr", "correct_ptr", "grad_q_ptr"}
    compile_for("fp32", 90, left_out=noised_fixed, cross_entropies=(True, False))


def compile_for(
    dtype: str,
    capability: int,
    left_out: set[str],
    cross_entropies: tuple[bool, bool] = (False, False),
) -> None:
    """Down to machine code, for logits of a dtype on a GPU of that compute capability."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from rxf.divergence.triton_kl import DEPTH, MOST_WARPS, _walk_row

    ce_p, ce_q = cross_entropies
    fixed: dict[str, Any] = {"CE_P": ce_p, "CE_Q": ce_q, "DEPTH": DEPTH, "LANES": 32 * MOST_WARPS}
    fixed.update(dict.fromkeys(left_out))
    kinds = {"targets_ptr": "*i64", "correct_ptr": "*u8"}
    for name in _walk_row.arg_names:
        if re.fullmatch("(grad_)?[pq]_ptr", name):
            kinds[name] = f"*{dtype}"
        elif name.endswith("_stride") or name in ("vocabulary", "ignore_index"):
            kinds[name] = "i32"
        else:
            kinds.setdefault(name, "*fp32" if name.endswith("_ptr") else "fp32")
    kinds.update(dict.fromkeys(fixed, "constexpr"))
    signature = {name: kinds[name] for name in _walk_row.arg_names}
    compiled = triton.compile(
        ASTSource(_walk_row, signature, fixed),
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": MOST_WARPS},
    )
    assert compiled.asm["cubin"]


# ------------------------------------------------------------------- who takes it


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> object:
    """As if the CPU were a GPU on which Triton works; the kernels' stand-in."""
    kernels = SimpleNamespace()
    monkeypatch.setattr(fast_path, "_is_gpu", lambda device: True)
    monkeypatch.setattr(fast_path, "_kernels", lambda device, dtype: kernels)
    monkeypatch.delenv(fast_path.SWITCH, raising=False)
    return kernels


def test_taken_for_a_vocabulary_on_a_gpu(gpu: object, monkeypatch: pytest.MonkeyPatch) -> None:
    for dtype in TOLERANCE:
        z = torch.zeros(2, dtype=dtype)
        assert fast_path.triton_kernel(z, z, vocabulary=50265) is gpu
        assert fast_path.triton_kernel(z, z, vocabulary=1024) is gpu
    monkeypatch.setenv("RXF_TRITON", "on")
    assert fast_path.triton_kernel(torch.zeros(2), vocabulary=50265) is gpu


def test_not_taken_for_classes_doubles_or_mixed_dtypes(gpu: object) -> None:
    z = torch.zeros(2)
    assert fast_path.triton_kernel(z, z, vocabulary=3) is None
    assert fast_path.triton_kernel(z.double(), z.double(), vocabulary=50265) is None
    assert fast_path.triton_kernel(z, z.half(), vocabulary=50265) is None


def test_not_taken_on_a_cpu() -> None:
    assert fast_path.triton_kernel(torch.zeros(2), vocabulary=50265) is None


def test_off_switch(gpu: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RXF_TRITON", "off")
    assert fast_path.triton_kernel(torch.zeros(2), vocabulary=50265) is None
    # Both users ask; the stand-in has nothing that they could call.
    symmetric_kl(torch.zeros(1, 1024), torch.zeros(1, 1024))
    given, targets = inputs(vocabulary=1024)
    fused_linear_ce_kl(*given.values(), targets, ignore_index=PAD)
    monkeypatch.setenv("RXF_TRITON", "on")
    with pytest.raises(AttributeError):
        symmetric_kl(torch.zeros(1, 1024), torch.zeros(1, 1024))
    with pytest.raises(AttributeError):
        fused_linear_ce_kl(*given.values(), targets, ignore_index=PAD)


def test_another_value_of_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RXF_TRITON", "no")
    with pytest.raises(UserError, match="RXF_TRITON=no: must be on or off"):
        symmetric_kl(torch.zeros(1, 3), torch.zeros(1, 3))


def test_a_wrong_switch_ends_at_import() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "import rxf"],
        env={**os.environ, "RXF_TRITON": "no"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "rxf: error: RXF_TRITON=no: must be on or off"


@pytest.mark.parametrize("there", [False, True])
def test_without_a_working_triton_torch_computes(
    there: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def check(device: torch.device, dtype: torch.dtype) -> None:
        raise RuntimeError("no C compiler")

    broken = SimpleNamespace(check=check)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: broken if there else None)
    monkeypatch.setattr(importlib, "import_module", lambda name: broken)
    monkeypatch.setattr(fast_path, "_is_gpu", lambda device: True)
    fast_path._kernels.cache_clear()
    try:
        assert symmetric_kl(torch.zeros(1, 1024), torch.zeros(1, 1024)) == 0
        symmetric_kl(torch.zeros(1, 1024), torch.zeros(1, 1024))
    finally:
        fast_path._kernels.cache_clear()
    told = [record.message for record in caplog.records]
    assert len(told) == (1 if there else 0)
    assert not there or "no C compiler" in told[0] and "RXF_TRITON=off" in told[0]


@has_triton
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
def test_triton_is_tried_first(interpreted: Interpreted, dtype: torch.dtype) -> None:
    interpreted(_tried_first, dtype)


def _tried_first(dtype: torch.dtype) -> None:
    from rxf.divergence import triton_kl

    cpu = torch.device("cpu")
    triton_kl.check(cpu, dtype)

    def wrong(logits_p: torch.Tensor, logits_q: torch.Tensor, **flags: Any) -> None:
        right(logits_p, logits_q, **flags)
        flags["cross_entropies"].losses[1] += 0.1

    right = triton_kl.walk
    for broken, message in (
        (mock.patch.object(triton_kl, "walk", wrong), "what it computes is wrong"),
        (mock.patch.object(triton_kl.triton, "__version__", "3.1.0"), "version 3.1.0"),
    ):
        with broken, pytest.raises(RuntimeError, match=message):
            triton_kl.check(cpu, dtype)


@has_triton
def test_triton_is_not_imported_with_rxf(interpreted: Interpreted) -> None:
    assert not interpreted(_was_there_at_start)


def _was_there_at_start() -> bool:
    return TRITON_AT_START
