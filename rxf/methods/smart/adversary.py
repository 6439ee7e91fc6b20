"""Finds the noise on a batch's embeddings that changes its predictions most."""

from typing import Any, Callable, Optional

import torch
from torch import Tensor, autograd, nn

from rxf.forward import (
    NoiseStream,
    RoundingReport,
    add_noise,
    perturbed_embeddings,
    replay_dropout,
    require_two_branches,
    share_changed,
    unwrapped,
)
from rxf.forward.branches import Call
from rxf.methods.smart.ascent import ascend, normalised, projected
from rxf.methods.smart.settings import SmartConfig

__all__ = ["Adversary"]

# (clean outputs, without gradient; noised outputs) -> their divergence, summed
Distance = Callable[[Tensor, Tensor], Tensor]
# fp16 has nothing below 6e-8, and the gradients of a divergence this small lie around there.
FP16_SCALE = 4096.0


class Adversary:
    """Runs a batch clean, and again under the noise that K steps of ascent lead to.

    Args:
        cfg: the flags.

    Raises:
        UserError: at the first batch, a model that cannot be given noised embeddings.
    """

    def __init__(self, cfg: SmartConfig) -> None:
        self.cfg = cfg
        self.stream = NoiseStream()
        self._rounding = RoundingReport(f"--smart-eps {cfg.smart_eps}")
        self._checked: Optional[int] = None

    def __call__(
        self, model: nn.Module, net_input: dict[str, Any], call: Call, distance: Distance
    ) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Outputs of the clean and of the adversarial pass, and what to log.

        Only the clean pass goes through DDP's wrapper, which knows one forward before each
        backward.  Logged is, in half precision, ``noise_share``: the share of embedding
        coordinates that the noise changed, times B.
        """
        inner = unwrapped(model)
        self._check(inner)
        noise = _Noise(self.stream, self.cfg.smart_sigma)
        replay = replay_dropout(net_input) if self.cfg.smart_share_dropout else _nothing
        clean = call(model, net_input)
        for _ in range(self.cfg.smart_steps):
            replay()
            self._step(inner, net_input, call, noise, lambda out: distance(clean.detach(), out))
        replay()
        with perturbed_embeddings(inner, noise.onto_table):
            noised = call(inner, net_input)
        return clean, noised, self._logged(noise, clean)

    def _step(
        self,
        model: nn.Module,
        net_input: dict[str, Any],
        call: Call,
        noise: "_Noise",
        distance: Callable[[Tensor], Tensor],
    ) -> None:
        with torch.enable_grad(), perturbed_embeddings(model, noise.onto_values):
            noised = call(model, net_input)
            scale = FP16_SCALE if noised.dtype is torch.float16 else 1.0
            (gradient,) = autograd.grad(scale * distance(noised), noise.leaf)
        moved = ascend(noise.leaf.detach(), gradient / scale, self.cfg.smart_eta)
        norm, eps = str(self.cfg.smart_norm), self.cfg.smart_eps
        bounded = normalised if self.cfg.smart_normalize else projected
        noise.move_to(bounded(moved, eps, norm))

    def _logged(self, noise: "_Noise", clean: Tensor) -> dict[str, Any]:
        if noise.share_changed is None:
            return {}
        self._rounding.look_at(noise.share_changed, clean.dtype)
        return {"noise_share": noise.share_changed * clean.size(0)}

    def _check(self, model: nn.Module) -> None:
        if self._checked != id(model):
            require_two_branches(model, one_pass=False)
            self._checked = id(model)


def _nothing() -> None:
    pass


class _Noise:
    """The noise of one batch, as what :func:`perturbed_embeddings` calls.

    Attributes:
        leaf: B x T x d, float32, 0 at padding; requires a gradient.
        share_changed: in half precision, of the last pass.
    """

    leaf: Tensor

    def __init__(self, stream: NoiseStream, sigma: float) -> None:
        self._stream = stream
        self._sigma = sigma
        self._drawn = False
        self.share_changed: Optional[Tensor] = None

    def onto_values(self, embeddings: Tensor, padding_mask: Tensor) -> Tensor:
        """In the ascent, which asks for the gradient of the noise alone."""
        if not self._drawn:
            self._drawn = True
            start = self._stream.draw(embeddings, "normal", self._sigma)
            self.move_to(start.masked_fill(padding_mask.unsqueeze(-1), 0.0))
        return add_noise(embeddings.detach(), self.leaf, padding_mask)

    def onto_table(self, embeddings: Tensor, padding_mask: Tensor) -> Tensor:
        """In the pass that is trained on, which reaches the embedding table too."""
        noised = add_noise(embeddings, self.leaf.detach(), padding_mask)
        if embeddings.dtype != torch.float32:
            self.share_changed = share_changed(embeddings, noised, padding_mask).detach()
        return noised

    def move_to(self, noise: Tensor) -> None:
        self.leaf = noise.detach().requires_grad_()
