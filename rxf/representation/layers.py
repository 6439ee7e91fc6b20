"""One layer of two models on the same tokens, batch by batch."""

from typing import NamedTuple

from torch import Tensor

from rxf.representation.measures import anisotropy, cka, covariance, effective_rank
from rxf.representation.moments import Cosines, CrossMoments, Directions

__all__ = ["LayerComparison", "LayerMeasures"]


class LayerMeasures(NamedTuple):
    """What became of a layer.

    Attributes:
        cka: to the pre-trained layer, see :func:`~rxf.representation.measures.cka`.
        cosine: mean cosine of a token's vector to its pre-trained one.
        effective_rank: in dimensions.
        anisotropy: mean cosine of the vectors of different tokens.
    """

    cka: float
    cosine: float
    effective_rank: float
    anisotropy: float


class LayerComparison:
    """Takes batches of vectors, keeps sums only."""

    def __init__(self) -> None:
        self._before, self._after = CrossMoments(), CrossMoments()
        self._both = CrossMoments()
        self._directions = Directions()
        self._cosines = Cosines()

    def add(self, before: Tensor, after: Tensor) -> None:
        """Add a batch.

        Args:
            before: pre-trained vectors, shape (n, d), of any floating dtype.
            after: those of the same tokens now, of the same shape.
        """
        self._before.add(before, before)
        self._after.add(after, after)
        self._both.add(before, after)
        self._directions.add(after)
        self._cosines.add(before, after)

    def measures(self) -> LayerMeasures:
        """Of all that was added; there must be 4 tokens or more."""
        return LayerMeasures(
            cka(self._before, self._after, self._both),
            self._cosines.mean(),
            effective_rank(covariance(self._after)),
            anisotropy(self._directions),
        )
