"""Symmetric KL, cross-entropies and their gradients in one walk over the logits, by Triton.

Shapes: R rows, V vocabulary.  Imported only where a GPU can use it (``fast_path.py``).

With ``d = z - z'`` and ``r = d - (lse - lse')`` for logits z and z' of one row::

    S = sum_v (p_v - q_v) r_v
    dS/dz  = p (r - KL(P||Q)) + (p - q) = p (d - E_p[d]) + (p - q)
    dS/dz' = q (-r - KL(Q||P)) + (q - p) = q (E_q[d] - d) - (p - q)

One program takes one row and goes over it twice, in tiles.  The first sweep finds maximum,
sum of exponentials and mean of d under either branch, each lane for itself, so that
no lane waits for another before the row ends.  The second sums S, which has no negative term,
and writes the gradients.  Small differences keep their digits: lse - lse' is taken from the
quotient of the sums, p - q from r by a series, and S never from E_p[d] - E_q[d].

Bytes, counted and not measured, for no GPU was at hand.  2,048 rows of 50,265 words in fp16 are
206 MB a branch.  Value and both gradients in one pass (the fused loss) read 2 x 206 MB and write
2 x 206 MB.  A row of both branches is 201 KB, and compiled for compute capability 9.0 a program
of 16 warps has so many registers that one or two fit on a multiprocessor: on the 132 of an H200
27 or 53 MB are at work, beside an L2 of 50 MB, from which most of the second sweep should
therefore read.  :class:`SymmetricKl` learns the factor of the gradients only in its backward
pass, and reads the logits once more: 4 x 206 MB read, 2 x 206 MB written.  The divergence alone
compiles to some 75 instructions a word, which should take about as long as the bytes.
"""

from contextlib import nullcontext
from typing import Any, NamedTuple, Optional

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["CrossEntropies", "SymmetricKl", "check", "walk"]

# A tile of words is DEPTH words for each lane, so that maxima and sums over a tile are taken
# within a lane.  More depth would keep more reads on their way, and needs more registers.
DEPTH = 8
LANES_PER_WARP = 32
MOST_WARPS = 16
# Earlier ones are not tested; one of them leaves results unwritten.
OLDEST_TRITON = (3, 5)
# Below every logit, and finite, so that a masked word (-inf) is far below it as well.
LEAST = tl.constexpr(-1.0e38)
LOG2_E = tl.constexpr(1.4426950408889634)
# Where expm1 is its series to the third term, but for float32's last digits.
SERIES_BELOW = tl.constexpr(0.015625)


class CrossEntropies(NamedTuple):
    """What :func:`walk` needs for label-smoothed cross-entropies beside the divergence.

    Attributes:
        targets: int64, shape (R,).
        ignore_index: a row with this target has no cross-entropy.
        weights: of the two branches.
        at_target: weight of -log p at the target.
        elsewhere: weight of every -log p, the target's included.
        losses: float32, shape (2, R): written to, cross-entropies and negative
            log-likelihoods, both weighted.
        correct: bool, shape (R,), or None: written to, whether the target is the first of the
            first branch's largest logits.
    """

    targets: Tensor
    ignore_index: int
    weights: tuple[float, float]
    at_target: float
    elsewhere: float
    losses: Tensor
    correct: Optional[Tensor]


@triton.jit
def _columns(start, DEPTH: tl.constexpr, LANES: tl.constexpr):  # type: ignore[no-untyped-def]
    """The words of a tile: neighbours are for neighbouring lanes."""
    return start + tl.arange(0, DEPTH)[:, None] * LANES + tl.arange(0, LANES)[None, :]


@triton.jit
def _load(row_ptr, columns, vocabulary, whole):  # type: ignore[no-untyped-def]
    # A mask costs a comparison and two moves a word, so all tiles but the last do without.
    if whole:
        z = tl.load(row_ptr + columns)
    else:
        z = tl.load(row_ptr + columns, mask=columns < vocabulary, other=float("-inf"))
    return z


@triton.jit
def _store(row_ptr, columns, vocabulary, whole, gradient):  # type: ignore[no-untyped-def]
    gradient = gradient.to(row_ptr.dtype.element_ty)
    if whole:
        tl.store(row_ptr + columns, gradient)
    else:
        tl.store(row_ptr + columns, gradient, mask=columns < vocabulary)


@triton.jit
def _difference(z_p, z_q):  # type: ignore[no-untyped-def]
    # A word that is masked in both branches has -inf twice, and takes no part.
    return tl.where(z_p == z_q, 0.0, z_p - z_q)


@triton.jit
def _tile(  # type: ignore[no-untyped-def]
    p_row, q_row, start, vocabulary, DEPTH: tl.constexpr, LANES: tl.constexpr
):
    """The words of a tile, whether all of them are there, their logits and their difference."""
    columns = _columns(start, DEPTH, LANES)
    whole = start + DEPTH * LANES <= vocabulary
    z_p = _load(p_row, columns, vocabulary, whole).to(tl.float32)
    z_q = _load(q_row, columns, vocabulary, whole).to(tl.float32)
    return columns, whole, z_p, z_q, _difference(z_p, z_q)


@triton.jit
def _add(largest, total, mean, z, d):  # type: ignore[no-untyped-def]
    """Take a tile into each lane's maximum, sum of exponentials and sum of those times d."""
    new = tl.maximum(largest, tl.max(z, axis=0))
    shrunk = tl.exp2((largest - new) * LOG2_E)
    e = tl.exp2((z - new[None, :]) * LOG2_E)
    total = total * shrunk + tl.sum(e, axis=0)
    mean = mean * shrunk + tl.sum(e * d, axis=0)
    return new, total, mean


@triton.jit
def _collect(largest, total, mean):  # type: ignore[no-untyped-def]
    """From the lanes' values to the row's."""
    whole = tl.max(largest, axis=0)
    shrunk = tl.exp2((largest - whole) * LOG2_E)
    total = tl.sum(total * shrunk, axis=0)
    return whole, total, tl.sum(mean * shrunk, axis=0) / total


@triton.jit
def _statistics(  # type: ignore[no-untyped-def]
    p_row, q_row, vocabulary, DEPTH: tl.constexpr, LANES: tl.constexpr
):
    """The first sweep: maximum, sum of exponentials below it and mean of d, of either branch."""
    max_p = tl.full([LANES], LEAST, tl.float32)
    max_q = tl.full([LANES], LEAST, tl.float32)
    sum_p = tl.zeros([LANES], tl.float32)
    sum_q = tl.zeros([LANES], tl.float32)
    mean_p = tl.zeros([LANES], tl.float32)
    mean_q = tl.zeros([LANES], tl.float32)
    for start in range(0, vocabulary, DEPTH * LANES):
        columns, whole, z_p, z_q, d = _tile(p_row, q_row, start, vocabulary, DEPTH, LANES)
        max_p, sum_p, mean_p = _add(max_p, sum_p, mean_p, z_p, d)
        max_q, sum_q, mean_q = _add(max_q, sum_q, mean_q, z_q, d)
    max_p, sum_p, mean_p = _collect(max_p, sum_p, mean_p)
    max_q, sum_q, mean_q = _collect(max_q, sum_q, mean_q)
    return max_p, sum_p, mean_p, max_q, sum_q, mean_q


@triton.jit
def _p_minus_q(p, q, r):  # type: ignore[no-untyped-def]
    # q * expm1(r), where p and q would lose their common digits.
    expm1 = r * (1.0 + r * (0.5 + r * (1.0 / 6.0)))
    return tl.where(tl.abs(r) < SERIES_BELOW, q * expm1, p - q)


@triton.jit
def _read_target(targets_ptr, p_row, q_row, row, ignore_index):  # type: ignore[no-untyped-def]
    """The row's target (0 where it does not count), whether it counts, and its two logits."""
    if targets_ptr is None:
        target = -1
        counts = False
        z_p = 0.0
        z_q = 0.0
    else:
        target = tl.load(targets_ptr + row)
        counts = target != ignore_index
        target = tl.where(counts, target, 0)
        z_p = tl.load(p_row + target).to(tl.float32)
        z_q = tl.load(q_row + target).to(tl.float32)
    return target, counts, z_p, z_q


@triton.jit
def _add_below(  # type: ignore[no-untyped-def]
    lanes, below, columns, vocabulary, WANTED: tl.constexpr
):
    if WANTED:
        lanes += tl.sum(tl.where(columns < vocabulary, below, 0.0), axis=0)
    return lanes


@triton.jit
def _add_earlier(  # type: ignore[no-untyped-def]
    lanes, below, columns, target, WANTED: tl.constexpr
):
    if WANTED:
        lanes += tl.sum(((below == 0.0) & (columns < target)).to(tl.int32), axis=0)
    return lanes


@triton.jit
def _take_targets(  # type: ignore[no-untyped-def]
    gradient, is_target, at_target, elsewhere, CE: tl.constexpr
):
    if CE:
        gradient -= tl.where(is_target, at_target + elsewhere, elsewhere)
    return gradient


@triton.jit
def _cross_entropy(  # type: ignore[no-untyped-def]
    target_below, below_lanes, log_sum, vocabulary, in_loss, at_target, elsewhere, CE: tl.constexpr
):
    """Weighted cross-entropy and negative log-likelihood of a row; 0 where there is none."""
    nll = 0.0
    everywhere = 0.0
    if CE:
        # A masked word makes either infinite, which must not matter where its weight is 0.
        nll = tl.where(in_loss != 0.0, (log_sum - target_below) * in_loss, 0.0)
        weight = elsewhere * in_loss
        minus_log_p = vocabulary * log_sum - tl.sum(below_lanes, axis=0)
        everywhere = tl.where(weight != 0.0, minus_log_p * weight, 0.0)
    return at_target * nll + everywhere, nll


@triton.jit
def _walk_row(  # type: ignore[no-untyped-def]
    p_ptr,
    q_ptr,
    grad_p_ptr,
    grad_q_ptr,
    divergence_ptr,
    targets_ptr,
    losses_ptr,
    correct_ptr,
    factor_ptr,
    p_stride,
    q_stride,
    grad_p_stride,
    grad_q_stride,
    losses_stride,
    vocabulary,
    ignore_index,
    weight_p,
    weight_q,
    at_target,
    elsewhere,
    kl_weight,
    scale,
    CE_P: tl.constexpr,
    CE_Q: tl.constexpr,
    DEPTH: tl.constexpr,
    LANES: tl.constexpr,
):
    """Both sweeps over one row; a pointer that is None says that its tensor is not wanted."""
    row = tl.program_id(0).to(tl.int64)
    p_row = p_ptr + row * p_stride
    q_row = q_ptr + row * q_stride
    # Before the gradients, which may take the logits' place.
    target, counts, z_p_target, z_q_target = _read_target(
        targets_ptr, p_row, q_row, row, ignore_index
    )
    if factor_ptr is not None:
        scale = tl.load(factor_ptr).to(tl.float32)
    max_p, sum_p, mean_p, max_q, sum_q, mean_q = _statistics(p_row, q_row, vocabulary, DEPTH, LANES)
    shift = (max_p - max_q) + tl.log(sum_p / sum_q)
    log2_sum_p = tl.log2(sum_p)
    log2_sum_q = tl.log2(sum_q)

    # What each term of the gradients is multiplied by.
    kl = kl_weight * scale
    in_p = tl.where(counts, weight_p, 0.0)
    in_q = tl.where(counts, weight_q, 0.0)
    times_p = in_p * scale - kl * mean_p
    times_q = in_q * scale + kl * mean_q

    divergence = tl.zeros([LANES], tl.float32)
    p_lanes = tl.zeros([LANES], tl.float32)
    q_lanes = tl.zeros([LANES], tl.float32)
    earlier = tl.zeros([LANES], tl.int32)
    for start in range(0, vocabulary, DEPTH * LANES):
        columns, whole, z_p, z_q, d = _tile(p_row, q_row, start, vocabulary, DEPTH, LANES)
        p_below = z_p - max_p
        q_below = z_q - max_q
        p = tl.exp2(p_below * LOG2_E - log2_sum_p)
        q = tl.exp2(q_below * LOG2_E - log2_sum_q)
        p_minus_q = _p_minus_q(p, q, d - shift)
        divergence += tl.sum(p_minus_q * (d - shift), axis=0)
        p_lanes = _add_below(p_lanes, p_below, columns, vocabulary, CE_P)
        q_lanes = _add_below(q_lanes, q_below, columns, vocabulary, CE_Q)
        earlier = _add_earlier(earlier, p_below, columns, target, correct_ptr is not None)
        is_target = columns == target
        both = kl * p_minus_q
        if grad_p_ptr is not None:
            gradient = p * (times_p + kl * d) + both
            gradient = _take_targets(
                gradient, is_target, at_target * in_p * scale, elsewhere * in_p * scale, CE_P
            )
            _store(grad_p_ptr + row * grad_p_stride, columns, vocabulary, whole, gradient)
        if grad_q_ptr is not None:
            gradient = q * (times_q - kl * d) - both
            gradient = _take_targets(
                gradient, is_target, at_target * in_q * scale, elsewhere * in_q * scale, CE_Q
            )
            _store(grad_q_ptr + row * grad_q_stride, columns, vocabulary, whole, gradient)

    if divergence_ptr is not None:
        tl.store(divergence_ptr + row, tl.sum(divergence, axis=0))
    if losses_ptr is not None:
        log_sum_p = tl.log(sum_p)
        log_sum_q = tl.log(sum_q)
        ce_p, nll_p = _cross_entropy(
            z_p_target - max_p, p_lanes, log_sum_p, vocabulary, in_p, at_target, elsewhere, CE_P
        )
        ce_q, nll_q = _cross_entropy(
            z_q_target - max_q, q_lanes, log_sum_q, vocabulary, in_q, at_target, elsewhere, CE_Q
        )
        tl.store(losses_ptr + row, ce_p + ce_q)
        tl.store(losses_ptr + losses_stride + row, nll_p + nll_q)
    if correct_ptr is not None:
        is_first = tl.sum(earlier, axis=0) == 0
        right = counts & (z_p_target == max_p) & is_first
        tl.store(correct_ptr + row, right.to(tl.uint8))


def walk(
    logits_p: Tensor,
    logits_q: Tensor,
    *,
    divergence: Optional[Tensor] = None,
    grad_p: Optional[Tensor] = None,
    grad_q: Optional[Tensor] = None,
    kl_weight: float = 1.0,
    scale: float = 1.0,
    factor: Optional[Tensor] = None,
    cross_entropies: Optional[CrossEntropies] = None,
) -> None:
    """Write losses of each row and the gradients of their sum, those that are asked for.

    Args:
        logits_p: shape (R, V), float16, bfloat16 or float32, any strides.
        logits_q: the same shape, dtype and device.
        divergence: float32, shape (R,): written to, KL(P||Q) + KL(Q||P) in nats.
        grad_p: written to, shape (R, V), any floating dtype, neighbours of a row adjacent in
            memory; may be ``logits_p`` itself.
        grad_q: likewise for the other branch.
        kl_weight: of the divergence in the gradients.
        scale: by which both gradients are multiplied before they are rounded.
        factor: instead of ``scale``, a scalar on the device, which is not waited for.
        cross_entropies: to be added to the loss.

    Raises:
        ValueError: gradients that are not laid out row by row.
    """
    rows, vocabulary = logits_p.shape
    if not rows:
        return
    logits_p, logits_q = _by_row(logits_p), _by_row(logits_q)
    for gradient in (grad_p, grad_q):
        if gradient is not None and _by_row(gradient) is not gradient:
            raise ValueError(f"a gradient of strides {gradient.stride()}: must be row by row")
    ce = cross_entropies
    lanes = triton.next_power_of_2(triton.cdiv(vocabulary, DEPTH))
    warps = max(1, min(MOST_WARPS, lanes // LANES_PER_WARP))
    with _on(logits_p.device):
        _walk_row[(rows,)](
            logits_p,
            logits_q,
            grad_p,
            grad_q,
            divergence,
            ce.targets if ce else None,
            ce.losses if ce else None,
            ce.correct.view(torch.uint8) if ce and ce.correct is not None else None,
            factor,
            logits_p.stride(0),
            logits_q.stride(0),
            grad_p.stride(0) if grad_p is not None else 0,
            grad_q.stride(0) if grad_q is not None else 0,
            ce.losses.stride(0) if ce else 0,
            vocabulary,
            ce.ignore_index if ce else 0,
            # Triton would take an int, and 1 most of all, for something else than a number.
            *(float(weight) for weight in (ce.weights if ce else (0.0, 0.0))),
            float(ce.at_target) if ce else 0.0,
            float(ce.elsewhere) if ce else 0.0,
            float(kl_weight),
            float(scale),
            CE_P=bool(ce and ce.weights[0]),
            CE_Q=bool(ce and ce.weights[1]),
            DEPTH=DEPTH,
            LANES=warps * LANES_PER_WARP,
            num_warps=warps,
        )


def _by_row(tensor: Tensor) -> Tensor:
    """``tensor``, or a copy of it in which neighbours of a row are adjacent in memory."""
    return tensor if tensor.size(1) == 1 or tensor.stride(1) == 1 else tensor.contiguous()


def _on(device: torch.device) -> Any:
    # Triton launches on the current device, whichever the tensors are on.
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


class SymmetricKl(torch.autograd.Function):
    """The summed divergence of (R, V) logits, float32; its backward pass may not be differentiated.

    The logits are kept, and the backward pass goes over them again, rather than that the
    forward pass keeps the gradients.  Those would take the same memory beside the logits, would
    be read and written once more for the factor that only the backward pass knows (2 x 206 MB
    each on 2,048 x 50,265 words in fp16, where reading the logits again is 2 x 206 MB), and in
    fp16 most of them would be 0 before a loss scale could save them.
    """

    @staticmethod
    def forward(ctx: Any, logits_p: Tensor, logits_q: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(logits_p, logits_q)
        divergence = logits_p.new_empty(logits_p.size(0), dtype=torch.float32)
        walk(logits_p, logits_q, divergence=divergence)
        return divergence.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:  # type: ignore[override]
        logits = ctx.saved_tensors
        gradients = [
            torch.empty_like(each, memory_format=torch.contiguous_format) if wanted else None
            for each, wanted in zip(logits, ctx.needs_input_grad, strict=True)
        ]
        walk(*logits, grad_p=gradients[0], grad_q=gradients[1], factor=grad)
        return tuple(gradients)


def check(device: torch.device, dtype: torch.dtype) -> None:
    """Compile and run once: whatever Triton lacks on this machine shows here.

    Raises:
        RuntimeError: Triton is older than 3.5, or computes something else than torch.
        Exception: whatever Triton raises.
    """
    numbers = tuple(int(number) for number in triton.__version__.split(".")[:2])
    if numbers < OLDEST_TRITON:
        raise RuntimeError(f"version {triton.__version__}, and 3.5 is the oldest known to work")
    logits = torch.tensor([[0.0, 1.0, 3.0], [2.0, 0.0, 1.0]], device=device, dtype=dtype)
    other = logits.flip(0)
    divergence, gradient = logits.new_empty(2, dtype=torch.float32), torch.empty_like(logits)
    losses, correct = torch.empty(2, 2, device=device), torch.zeros(2, device=device).bool()
    targets = torch.tensor([2, 1], device=device)
    asked = CrossEntropies(targets, -1, (1.0, 0.0), 1.0, 0.0, losses, correct)
    walk(logits, other, divergence=divergence, grad_p=gradient, cross_entropies=asked)

    log_p, log_q = logits.float().log_softmax(1), other.float().log_softmax(1)
    p, r = log_p.exp(), log_p - log_q
    terms = (p - log_q.exp()) * r
    nll = -log_p.gather(1, targets.unsqueeze(1)).squeeze(1)
    in_p = p * (r - (p * r).sum(1, keepdim=True)) + p - log_q.exp()
    in_p += p - torch.nn.functional.one_hot(targets, 3)
    got = [divergence, losses[0], losses[1], gradient.float(), correct]
    wanted = [terms.sum(1), nll, nll, in_p, targets.eq(2)]
    if not all(
        torch.allclose(one.float(), other.float(), rtol=0.02, atol=0.02)
        for one, other in zip(got, wanted, strict=True)
    ):
        raise RuntimeError("what it computes is wrong")
