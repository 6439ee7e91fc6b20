"""Random perturbations of embeddings: where the numbers come from, and how they are added."""

import hashlib
from typing import Optional

import torch
from torch import Tensor

__all__ = ["NOISE_TYPES", "NoiseStream", "add_noise", "share_changed"]

NOISE_TYPES = ("uniform", "normal")


class NoiseStream:
    """Noise drawn on the model's device, apart from every other random stream.

    fairseq's trainer sets torch's seed to ``--seed`` plus the number of updates before
    every update, on every rank alike.  Each draw is seeded from that number, the rank, how
    many draws there were since it changed (the micro-batches of the update) and
    ``noise_seed``.  So the noise is the same after a resume without any state to save,
    differs between ranks and micro-batches, and neither takes from nor gives to dropout's
    stream.

    Args:
        noise_seed: another value gives other noise for the same ``--seed``.
    """

    def __init__(self, noise_seed: int = 0) -> None:
        self.noise_seed = noise_seed
        self._generators: dict[torch.device, torch.Generator] = {}
        self._trainer_seed: Optional[int] = None
        self._draws = 0

    def draw(self, like: Tensor, noise_type: str, eps: float) -> Tensor:
        """N(0, eps^2) or U(-eps, eps), independently for each element.

        Args:
            like: gives shape and device.
            noise_type: "normal" or "uniform".
            eps: standard deviation of the normal, half width of the uniform.

        Returns:
            A float32 tensor of ``like``'s shape, without gradient.
        """
        noise = torch.empty(like.shape, dtype=torch.float32, device=like.device)
        generator = self._next_generator(like.device)
        if noise_type == "normal":
            return noise.normal_(generator=generator).mul_(eps)
        return noise.uniform_(-1.0, 1.0, generator=generator).mul_(eps)

    def _next_generator(self, device: torch.device) -> torch.Generator:
        trainer_seed = torch.initial_seed()
        self._draws = self._draws + 1 if trainer_seed == self._trainer_seed else 0
        self._trainer_seed = trainer_seed
        if device not in self._generators:
            self._generators[device] = torch.Generator(device=device)
        key = (trainer_seed, _data_parallel_rank(), self._draws, self.noise_seed)
        # A hash, since generators seeded with neighbouring numbers may start alike.
        digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
        return self._generators[device].manual_seed(int.from_bytes(digest, "little") >> 1)


def _data_parallel_rank() -> int:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return 0
    from fairseq.distributed.utils import get_data_parallel_rank

    return int(get_data_parallel_rank())


def add_noise(embeddings: Tensor, noise: Tensor, padding_mask: Tensor) -> Tensor:
    """``embeddings + noise``, summed in float32 and returned in the embeddings' dtype.

    Args:
        embeddings: B x T x d, any floating dtype.
        noise: B x T x d, float32.
        padding_mask: B x T, True at padding, which gets no noise.
    """
    noise = noise.masked_fill(padding_mask.unsqueeze(-1), 0.0)
    return (embeddings + noise).to(embeddings.dtype)


def share_changed(clean: Tensor, noised: Tensor, padding_mask: Tensor) -> Tensor:
    """Share of the coordinates outside padding that differ, as a float32 scalar.

    At ``eps`` 1e-5 half precision rounds most of the noise away: this says how much is left.
    """
    kept = ~padding_mask.unsqueeze(-1)
    changed = ((clean != noised) & kept).sum(dtype=torch.float32)
    return changed / (kept.sum(dtype=torch.float32) * clean.size(-1)).clamp_min(1.0)
