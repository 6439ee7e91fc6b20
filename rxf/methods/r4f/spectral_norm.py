"""A linear layer that divides its weight by the weight's largest singular value."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["SpectralNormLinear", "leading_singular_vectors"]

# The power of the Gram matrix that is taken is 2 to this number.  Where the two largest
# singular values lie a share g apart, the value found is below the largest by a share of
# about g * exp(-4 * 2**10 * g), less than 1e-4 whatever g is.
SQUARINGS = 10


@torch.no_grad()
def leading_singular_vectors(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors u, v with u' W v the largest singular value of W.

    Power iteration on the smaller Gram matrix, many steps at once: squaring it ten times
    gives its 1024th power.  So the answer depends on W alone and not on a vector kept from
    earlier updates, which would lag behind for hundreds of updates where another singular
    value overtakes the largest; and nothing needs to be saved.

    Args:
        weight: m x n, any floating dtype; computed in float32 (float64 stays).

    Returns:
        u of shape (m,), v of shape (n,), float32 or float64.  For a zero matrix both are 0.
    """
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
    weight = weight / weight.abs().max().clamp_min(1e-30)  # the Gram matrix must not overflow
    wide = weight.size(0) <= weight.size(1)
    gram = weight @ weight.t() if wide else weight.t() @ weight
    for _ in range(SQUARINGS):
        gram = gram / gram.norm().clamp_min(1e-30)
        gram = gram @ gram
    # Every column of the power points along the leading vector; take the longest.
    longest = gram.norm(dim=0).argmax().view(1)
    vector = _unit(gram.index_select(1, longest).squeeze(1))
    if wide:
        v = _unit(weight.t() @ vector)
        return _unit(weight @ v), v
    u = _unit(weight @ vector)
    return u, _unit(weight.t() @ u)


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm().clamp_min(1e-30)


class SpectralNormLinear(nn.Module):
    """``y = x (W / sigma)' + b``, sigma the largest singular value of W.

    Gradients go through sigma, as in Miyato et al. 2018 (arXiv 1802.05957) with u and v held
    fixed.  The vectors are found anew when the layer is built, loaded, cast or moved, once
    before each update (fairseq's ``set_num_updates``) and on the way into evaluation, so that
    all forward passes of an update see the same sigma.

    The parameter is called ``weight_orig`` and comes after ``bias``, as torch's
    ``spectral_norm`` has it: checkpoints and optimizer states of fairseq's own
    ``--spectral-norm-classification-head`` fit.  u and v are not saved: they follow from W.

    Args:
        linear: the layer to take weight and bias from; it must not be used afterwards.
    """

    weight_u: Tensor
    weight_v: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self.bias = linear.bias
        self.weight_orig = linear.weight
        u, v = leading_singular_vectors(self.weight_orig)
        self.register_buffer("weight_u", u, persistent=False)
        self.register_buffer("weight_v", v, persistent=False)
        self._update = -1

    def refresh(self) -> None:
        """Find u and v of the weight as it is now."""
        u, v = leading_singular_vectors(self.weight_orig)
        self.weight_u, self.weight_v = u, v

    def normalized_weight(self) -> Tensor:
        """W / sigma, shape (out, in), in float32 or wider, with gradient to W."""
        with torch.autocast(self.weight_orig.device.type, enabled=False):
            weight = self.weight_orig.to(self.weight_u.dtype)
            sigma = torch.dot(self.weight_u, weight @ self.weight_v)
            return weight / sigma.clamp_min(1e-12)

    def forward(self, x: Tensor) -> Tensor:
        """x of shape (..., in) to (..., out), in x's dtype."""
        return F.linear(x, self.normalized_weight().to(x.dtype), self.bias)

    def set_num_updates(self, num_updates: int) -> None:
        """Called by fairseq before each micro-batch; acts on the first of an update."""
        if num_updates != self._update:
            self._update = num_updates
            self.refresh()

    def train(self, mode: bool = True) -> "SpectralNormLinear":
        """As in ``nn.Module``; evaluation sees the weight after the last update."""
        if self.training and not mode:
            self.refresh()
        return super().train(mode)

    def _apply(self, fn: Any, recurse: bool = True) -> "SpectralNormLinear":
        # half() must not round u and v, which stay in float32 on the weight's device.
        super()._apply(fn, recurse)
        self.refresh()
        return self

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.refresh()

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"
