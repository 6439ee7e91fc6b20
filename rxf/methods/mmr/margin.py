"""How close together the class centres of a batch lie."""

import torch
from torch import Tensor

__all__ = ["margin_penalty"]


def margin_penalty(features: Tensor, targets: Tensor, num_classes: int) -> Tensor:
    """The mean of 1 / (1 + ||c_a - c_b||) over the pairs of classes that the batch holds.

    c_a is the mean of the features of class a, and the norm is Euclidean.  Classes that the
    batch lacks are in no pair.  Centres that coincide give 1 and no gradient, since there is
    no direction to push them in.

    Args:
        features: shape (B, d), any floating dtype.
        targets: class of each row, shape (B,), int64, each in [0, num_classes).
        num_classes: C.

    Returns:
        A float32 scalar in [0, 1]; 0, without gradient, where the batch holds one class.

    Source: our reading of Fu et al. 2023, whose equation could not be seen: see README.md.
    """
    # Autocast would take the sums in half precision.
    with torch.autocast(features.device.type, enabled=False):
        # As one_hot, which reads the targets back to check them.
        classes = torch.arange(num_classes, device=targets.device)
        member = (targets.unsqueeze(1) == classes).float()
        rows = member.sum(0)
        centres = (member.T @ features.float()) / rows.clamp_min(1.0).unsqueeze(1)
        # pdist gives 0, and not NaN, as the gradient at distance 0.
        closeness = 1 / (1 + torch.pdist(centres))
    first, second = torch.triu_indices(num_classes, num_classes, 1, device=features.device)
    present = rows > 0
    pairs = (present[first] & present[second]).float()
    return (pairs * closeness).sum() / pairs.sum().clamp_min(1.0)
