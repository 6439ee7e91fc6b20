"""The noised branch's embeddings: one draw a batch, kept for as long as the batch lasts."""

from typing import Optional

import torch
from torch import Tensor

from rxf.forward import NoiseStream, add_noise, share_changed

__all__ = ["EmbeddingNoise"]


class EmbeddingNoise:
    """A perturbation for one batch; the same each time it is called for that batch.

    Args:
        stream: where the noise is drawn from.
        noise_type: "uniform" or "normal".
        eps: its scale, in the units of the embedding table.
        detach: start from embeddings cut off from the table, as the released criterion for
            sentences does; the one for generation does not.
    """

    def __init__(self, stream: NoiseStream, noise_type: str, eps: float, detach: bool) -> None:
        self.stream = stream
        self.noise_type = noise_type
        self.eps = eps
        self.detach = detach
        self.share_changed: Optional[Tensor] = None
        self._noise: Optional[Tensor] = None

    def __call__(self, embeddings: Tensor, padding_mask: Tensor) -> Tensor:
        """Noised embeddings, B x T x d, in the dtype of ``embeddings``."""
        if self._noise is None:
            self._noise = self.stream.draw(embeddings, self.noise_type, self.eps)
        start = embeddings.detach() if self.detach else embeddings
        noised = add_noise(start, self._noise, padding_mask)
        if embeddings.dtype != torch.float32 and self.eps > 0:
            self.share_changed = share_changed(start, noised, padding_mask).detach()
        return noised
