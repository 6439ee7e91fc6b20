"""The matrix product of features and a projection, by the fastest library at hand."""

import torch
from torch import Tensor

__all__ = ["times_transposed"]


def times_transposed(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b.T`` of shape (N, M), for a of (N, K) and b of (M, K), in their dtype.

    On CPUs torch sends float32 products to MKL, which keeps its best code for one maker's
    processors: on an AMD EPYC oneDNN, which torch has as well, makes the generation loss 1.4
    times as fast (``benchmarks/RESULTS.md``).  ``torch.backends.mkldnn.flags(enabled=False)``
    switches it off.  No gradient flows through this.
    """
    if a.device.type == "cpu" and a.dtype is torch.float32 and _has_onednn():
        product: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
        return product
    return torch.mm(a, b.t())


def _has_onednn() -> bool:
    # The operator is what torch.compile calls for linear layers, and absent from some builds.
    there = torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
    return bool(there) and hasattr(torch.ops.mkldnn, "_linear_pointwise")
