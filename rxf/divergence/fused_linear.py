"""The generation loss of two branches, straight from decoder features: no full logits.

Shapes: N positions that take part, d features, V vocabulary.

With a vocabulary of 50,000 the loss costs more than the layers above it: logits,
log-probabilities and their gradients, each N x V, for both branches.  Here the positions
are walked in chunks.  A chunk's logits are made, turned into the gradient of the loss in
place, multiplied into the gradients of features and projection, and overwritten by the next
chunk.  The gradients are thus ready when the forward pass ends, and the backward pass only
scales them: no logits are kept, and none is computed twice.
"""

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from rxf.divergence.fast_path import triton_kernel
from rxf.divergence.products import times_transposed

__all__ = ["FusedLoss", "fused_linear_ce_kl"]

# Logits that exist at a time, both branches together.  Large enough that the matrix products
# run at full speed, small beside the gradient of a 50,000-word projection.
CHUNK_ELEMENTS = 2**24
# Logits of one branch that are worked on at a time, on a CPU: they and what is derived from
# them stay in its cache.  Smaller blocks are no faster, and suffer where cores are shared.
BLOCK_ELEMENTS = 2**20
# fp16 has nothing below 6e-8, and most probabilities of a large vocabulary lie around there.
# Eight is what still leaves room for a chunk's sum in the gradient of the projection.
FP16_SCALE = 8.0


class FusedLoss(NamedTuple):
    """What :func:`fused_linear_ce_kl` computes: scalars in float32 (float64 for float64 input).

    Attributes:
        loss: weighted label-smoothed cross-entropies plus ``kl_weight`` times ``symm_kl``; the
            only one with a gradient.
        nll: negative log-likelihood of the targets in nats, summed, weighted likewise.
        symm_kl: KL(P||Q) + KL(Q||P) in nats, summed.
        correct: how many targets are the clean branch's most probable word; None where that
            was not asked for.
    """

    loss: Tensor
    nll: Tensor
    symm_kl: Tensor
    correct: Optional[Tensor]


@dataclass(frozen=True)
class _Settings:
    """The numbers of one call; ``dtype`` is that of the matrix products."""

    label_smoothing: float
    kl_weight: float
    ce_weights: tuple[float, float]
    ignore_index: int
    noised_gradient: bool
    count_correct: bool
    chunk_size: Optional[int]
    dtype: torch.dtype


def fused_linear_ce_kl(
    clean: Tensor,
    noised: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    ignore_index: int,
    label_smoothing: float = 0.0,
    kl_weight: float = 1.0,
    ce_weights: tuple[float, float] = (1.0, 0.0),
    keep: Optional[Tensor] = None,
    noised_gradient: bool = True,
    noised_weight: Optional[Tensor] = None,
    count_correct: bool = False,
    chunk_size: Optional[int] = None,
) -> FusedLoss:
    """Cross-entropy of one or both branches plus a symmetric KL between them.

    With ``z = clean @ weight.T``, ``z' = noised @ weight.T``, p and q their softmax, y the
    target, e the label smoothing, V the size of the vocabulary and (c, c') ``ce_weights``::

        CE(p) = sum_i (1 - e - e/(V-1)) * -log p_i[y_i] + e/(V-1) * sum_v -log p_i[v]
        loss = c * CE(p) + c' * CE(q) + kl_weight * sum_i [KL(p_i || q_i) + KL(q_i || p_i)]

    The backward pass may be run once; scaling ``loss`` afterwards is fine.

    Args:
        clean: decoder features of the clean branch, shape (..., d), any floating dtype and
            strides.
        noised: of the noised branch, the same shape and dtype.
        weight: the output projection, shape (V, d), the same dtype; tied or not.
        targets: indices into the vocabulary, shape (...).
        ignore_index: at a position with this target (padding) there is no cross-entropy.
        label_smoothing: e, spread over the vocabulary as fairseq spreads it.
        kl_weight: of the divergence.
        ce_weights: of the two branches' cross-entropies.
        keep: bool, shape (...): positions that take part; the others are left out before
            the projection.  Without it those whose target is not ``ignore_index``.  Where
            one of them is kept, it adds to the divergence alone.
        noised_gradient: False gives no gradient, to the projection neither, through the
            noised branch.
        noised_weight: another projection for the noised branch, shape (V, d) and the same
            dtype; with ``noised_gradient=False`` only.
        count_correct: also count correct predictions; on a CPU torch's argmax takes longer
            than everything else that is done with a logit.
        chunk_size: positions at a time; chosen by the size of the vocabulary if None.

    Raises:
        ValueError: shapes that do not belong together, or a chunk of no position.

    Source: Aghajanyan et al. 2020 (arXiv 2008.03156), equations (3) and (4), with the
    label-smoothed loss of generation.  Under autocast the products run in its dtype; sums
    over the vocabulary are taken in float32 everywhere.
    """
    _check(clean, noised, weight, targets, keep)
    if noised_weight is not None:
        _check_noised_weight(noised_weight, weight, noised_gradient)
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size {chunk_size}: must be 1 or more")
    kept = targets.ne(ignore_index) if keep is None else keep
    rows = kept.reshape(-1).nonzero().squeeze(1)
    settings = _Settings(
        label_smoothing,
        kl_weight,
        ce_weights,
        ignore_index,
        noised_gradient,
        count_correct,
        chunk_size,
        _product_dtype(clean),
    )
    width = clean.size(-1)
    loss, nll, symm_kl, correct = _FusedLinearCeKl.apply(
        clean.reshape(-1, width).index_select(0, rows),
        noised.reshape(-1, width).index_select(0, rows),
        weight,
        targets.reshape(-1).index_select(0, rows),
        noised_weight,
        settings,
    )
    return FusedLoss(loss, nll, symm_kl, correct)


def _check(
    clean: Tensor, noised: Tensor, weight: Tensor, targets: Tensor, keep: Optional[Tensor]
) -> None:
    if clean.shape != noised.shape or clean.shape[:-1] != targets.shape:
        raise ValueError(
            f"clean {tuple(clean.shape)}, noised {tuple(noised.shape)} and targets "
            f"{tuple(targets.shape)} must have the same positions, and the first two one width"
        )
    if weight.dim() != 2 or weight.size(1) != clean.size(-1):
        raise ValueError(f"weight {tuple(weight.shape)} must be (V, {clean.size(-1)})")
    if keep is not None and (keep.shape != targets.shape or keep.dtype is not torch.bool):
        raise ValueError(f"keep must be bool of shape {tuple(targets.shape)}")


def _check_noised_weight(noised_weight: Tensor, weight: Tensor, noised_gradient: bool) -> None:
    if noised_gradient:
        raise ValueError("noised_weight: that branch has no gradient, pass noised_gradient=False")
    if noised_weight.shape != weight.shape:
        raise ValueError(
            f"noised_weight {tuple(noised_weight.shape)}: {tuple(weight.shape)} wanted"
        )


def _product_dtype(features: Tensor) -> torch.dtype:
    device = features.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return features.dtype


class _FusedLinearCeKl(torch.autograd.Function):
    """Computes the gradients along with the value; see the module's docstring."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        clean: Tensor,
        noised: Tensor,
        weight: Tensor,
        targets: Tensor,
        noised_weight: Optional[Tensor],
        s: _Settings,
    ) -> tuple[Optional[Tensor], ...]:
        wanted = ctx.needs_input_grad[:3]
        with torch.autocast(clean.device.type, enabled=False):
            walk = _Walk(clean, noised, weight, targets, noised_weight, s, wanted)
            for start in range(0, clean.size(0), walk.chunk):
                walk.do(start)
        ctx.gradients = (walk.grad_clean, walk.grad_noised, walk.grad_weight)
        ctx.scale = walk.scale
        ctx.given = (clean.dtype, noised.dtype, weight.dtype)
        loss, *others = walk.sums()
        ctx.mark_non_differentiable(*(each for each in others if each is not None))
        return loss, *others

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor, *_: Tensor) -> tuple[Optional[Tensor], ...]:
        if ctx.gradients is None:
            raise RuntimeError("fused_linear_ce_kl: its backward pass may be run once")
        # Let go of here: autograd may then keep the tensors as the parameters' gradients.
        gradients, ctx.gradients = ctx.gradients, None
        factor = grad_loss / ctx.scale
        # On a GPU the question would wait for the device.
        as_it_is = factor.device.type == "cpu" and factor.item() == 1.0
        scaled = (
            gradient if gradient is None or as_it_is else gradient.mul_(factor)
            for gradient in gradients
        )
        given = (
            gradient if gradient is None else gradient.to(dtype)
            for gradient, dtype in zip(scaled, ctx.given, strict=True)
        )
        return (*given, None, None, None)


def _chunk_size(count: int, vocabulary: int) -> int:
    """Chunks of one size, so that no rest is left that costs as much as a whole one."""
    most = max(1, CHUNK_ELEMENTS // (2 * vocabulary))
    chunks = max(1, math.ceil(count / most))
    return max(1, math.ceil(count / chunks))


class _Walk:
    """One walk over the positions: the buffers that its chunks share, and what they add up to."""

    def __init__(
        self,
        clean: Tensor,
        noised: Tensor,
        weight: Tensor,
        targets: Tensor,
        noised_weight: Optional[Tensor],
        settings: _Settings,
        wanted: tuple[bool, ...],
    ) -> None:
        count, width = clean.shape
        self.settings = settings
        self.targets = targets
        self.features = (clean.to(settings.dtype), noised.to(settings.dtype))
        self.weight = weight.to(settings.dtype)
        self.noised_weight = None if noised_weight is None else noised_weight.to(settings.dtype)
        vocabulary = self.weight.size(0)
        self.chunk = settings.chunk_size or _chunk_size(count, vocabulary)

        self.kernel = triton_kernel(*self.features, self.weight, vocabulary=vocabulary)

        # A branch without gradient has none at all, so that half of the products is left out.
        through_noised = settings.noised_gradient
        self.through = (wanted[0] or wanted[2], through_noised and (wanted[1] or wanted[2]))
        exact = torch.promote_types(settings.dtype, torch.float32)
        self.exact = exact
        self.scale = FP16_SCALE if settings.dtype is torch.float16 else 1.0

        def buffer(want: bool, *shape: int) -> Optional[Tensor]:
            return clean.new_zeros(shape, dtype=exact) if want else None

        self.grad_clean = buffer(wanted[0], count, width)
        self.grad_noised = buffer(wanted[1] and through_noised, count, width)
        self.grad_weight = buffer(wanted[2], vocabulary, width)
        self.rows = clean.new_zeros(3, count, dtype=exact)  # cross-entropy, nll, divergence
        self.correct: Optional[Tensor] = None
        if settings.count_correct:
            self.correct = torch.zeros(count, dtype=torch.bool, device=clean.device)

    def do(self, start: int) -> None:
        """One chunk: logits, losses, and the gradients of features and projection."""
        end = min(start + self.chunk, self.targets.size(0))
        count = end - start
        inputs = torch.cat([branch[start:end] for branch in self.features])
        logits = self._logits(inputs, count)
        step = count
        if logits.device.type == "cpu":
            step = max(1, BLOCK_ELEMENTS // logits.size(1))
        for first in range(0, count, step):
            last = min(first + step, count)
            clean, noised = logits[first:last], logits[count + first : count + last]
            rows = slice(start + first, start + last)
            if self.kernel is None:
                self._block(clean, noised, rows)
            else:
                self._block_by_kernel(self.kernel, clean, noised, rows)
        self._multiply(inputs, logits, start, end)

    def _logits(self, inputs: Tensor, count: int) -> Tensor:
        if self.noised_weight is None:
            # One product for both branches: the projection is then read once.
            return times_transposed(inputs, self.weight)
        clean = times_transposed(inputs[:count], self.weight)
        return torch.cat([clean, times_transposed(inputs[count:], self.noised_weight)])

    def _multiply(self, inputs: Tensor, logits: Tensor, start: int, end: int) -> None:
        """From the gradient of the logits, which stands in their place, to those wanted."""
        count = end - start
        branches = ((self.grad_clean, slice(0, count)), (self.grad_noised, slice(count, None)))
        for gradient, part in branches:
            if gradient is not None:
                gradient[start:end] = times_transposed(logits[part], self.weight.t())
        if self.grad_weight is None:
            return
        part = slice(None) if self.through[1] else slice(0, count)
        if self.grad_weight.dtype is logits.dtype:
            self.grad_weight.addmm_(logits[part].t(), inputs[part])
        else:
            self.grad_weight += torch.mm(logits[part].t(), inputs[part])

    def _block(self, clean: Tensor, noised: Tensor, rows: slice) -> None:
        """Losses of some rows; their logits, R x V, are overwritten by their gradients."""
        targets = self.targets[rows]
        ignored = targets.eq(self.settings.ignore_index)
        has_target = (~ignored).to(self.exact).unsqueeze(1)
        at_target = targets.masked_fill(ignored, 0).unsqueeze(1)
        log_p = torch.log_softmax(clean, dim=-1, dtype=self.exact)
        log_q = torch.log_softmax(noised, dim=-1, dtype=self.exact)
        if self.correct is not None:
            self.correct[rows] = (log_p.argmax(dim=-1) == targets) & ~ignored
        for log_probabilities, share in zip((log_p, log_q), self.settings.ce_weights, strict=True):
            if share:
                self._cross_entropy(log_probabilities, at_target, has_target * share, rows)

        working = clean.dtype is self.exact
        p = torch.exp(log_p, out=clean) if working else log_p.exp()
        q = torch.exp(log_q, out=noised) if working else log_q.exp()
        ratio = log_p.sub_(log_q)
        # (p - q) * ratio has no negative term, so that a small divergence keeps its digits.
        difference = torch.sub(p, q, out=log_q)
        divergence = torch.linalg.vecdot(difference, ratio).unsqueeze(1)
        self.rows[2, rows] = divergence.squeeze(1)
        forward_kl = torch.linalg.vecdot(p, ratio).unsqueeze(1)
        w = self.settings.kl_weight
        in_p, in_q = (has_target * share for share in self.settings.ce_weights)
        if self.through[1]:
            inner = torch.sub(in_q + (forward_kl - divergence) * w, ratio, alpha=w)
            q.mul_(inner).sub_(difference, alpha=w)
            self._subtract_targets(q, at_target, in_q, self.settings.ce_weights[1])
        if self.through[0]:
            inner = torch.add(in_p - w * forward_kl, ratio, alpha=w)
            p.mul_(inner).add_(difference, alpha=w)
            self._subtract_targets(p, at_target, in_p, self.settings.ce_weights[0])
        if not working:
            clean.copy_(p.mul_(self.scale))
            noised.copy_(q.mul_(self.scale))

    def _block_by_kernel(
        self, kernel: ModuleType, clean: Tensor, noised: Tensor, rows: slice
    ) -> None:
        """The same in one walk over the logits."""
        at_target, elsewhere = self._shares(clean.size(1))
        cross_entropies = kernel.CrossEntropies(
            targets=self.targets[rows],
            ignore_index=self.settings.ignore_index,
            weights=self.settings.ce_weights,
            at_target=at_target,
            elsewhere=elsewhere,
            losses=self.rows[:2, rows],
            correct=None if self.correct is None else self.correct[rows],
        )
        kernel.walk(
            clean,
            noised,
            divergence=self.rows[2, rows],
            grad_p=clean if self.through[0] else None,
            grad_q=noised if self.through[1] else None,
            kl_weight=self.settings.kl_weight,
            scale=self.scale,
            cross_entropies=cross_entropies,
        )

    def _cross_entropy(
        self, log_p: Tensor, at_target: Tensor, in_loss: Tensor, rows: slice
    ) -> None:
        """Add the losses of one branch; ``in_loss``, R x 1, is the weight of each row's."""
        nll = log_p.gather(1, at_target).neg_().mul_(in_loss).squeeze(1)
        at_target_share, elsewhere = self._shares(log_p.size(1))
        self.rows[1, rows] += nll
        self.rows[0, rows] += at_target_share * nll
        if elsewhere:
            everywhere = log_p.sum(dim=1).mul_(in_loss.squeeze(1))
            self.rows[0, rows] -= elsewhere * everywhere

    def _subtract_targets(
        self, grad: Tensor, at_target: Tensor, in_loss: Tensor, share: float
    ) -> None:
        if not share:
            return
        at_target_share, elsewhere = self._shares(grad.size(1))
        if elsewhere:
            grad.sub_(in_loss * elsewhere)
        grad.scatter_add_(1, at_target, in_loss * -at_target_share)

    def _shares(self, vocabulary: int) -> tuple[float, float]:
        """Weight of -log p at the target, and of every -log p, the target's included."""
        e = self.settings.label_smoothing
        elsewhere = e / (vocabulary - 1) if e else 0.0
        return 1.0 - e - elsewhere, elsewhere

    def sums(self) -> tuple[Optional[Tensor], ...]:
        """Loss, negative log-likelihood, divergence and, where asked for, correct predictions."""
        cross_entropy, nll, divergence = self.rows.sum(dim=1)
        loss = cross_entropy + self.settings.kl_weight * divergence
        return loss, nll, divergence, None if self.correct is None else self.correct.sum()
