"""The part of R3F that is the same for sentences and for generation."""

from typing import Any, Optional

from torch import Tensor, nn

from rxf.forward import (
    NoiseStream,
    RoundingReport,
    require_two_branches,
    two_branches,
    unwrapped,
)
from rxf.forward.branches import Call
from rxf.methods.r3f.noising import EmbeddingNoise
from rxf.methods.r3f.settings import R3FConfig, branch_plan, check_settings

__all__ = ["NoisedBranches"]


class NoisedBranches:
    """Runs a batch through a model twice, the second time with noise on its embeddings.

    Args:
        cfg: the noise and pass flags.
        detach: see :class:`EmbeddingNoise`.

    Raises:
        UserError: settings that mean nothing, at construction; a model that cannot be given
            noised embeddings, at the first batch.
    """

    def __init__(self, cfg: R3FConfig, detach: bool) -> None:
        check_settings(cfg)
        self.stream = NoiseStream(cfg.r3f_noise_seed)
        self.plan = branch_plan(cfg)
        self._noise_type = str(cfg.noise_type)
        self._eps = cfg.eps
        self._detach = detach
        self._rounding = RoundingReport(f"--eps {cfg.eps}")
        self._checked: Optional[int] = None

    def __call__(
        self, model: nn.Module, net_input: dict[str, Any], call: Call
    ) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Outputs of the clean and of the noised branch, each with B rows, and what to log.

        Logged is, in half precision, ``noise_share``: the share of embedding coordinates
        that the noise changed, times B, since fairseq adds up micro-batches and ranks.
        """
        self._check(unwrapped(model))
        noise = EmbeddingNoise(self.stream, self._noise_type, self._eps, self._detach)
        clean, noised = two_branches(model, net_input, call, noise, self.plan)
        if noise.share_changed is None:
            return clean, noised, {}
        self._rounding.look_at(noise.share_changed, clean.dtype)
        return clean, noised, {"noise_share": noise.share_changed * clean.size(0)}

    def _check(self, model: nn.Module) -> None:
        if self._checked != id(model):
            require_two_branches(model, self.plan.one_pass)
            self._checked = id(model)
