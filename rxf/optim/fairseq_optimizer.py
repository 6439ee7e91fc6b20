"""The fairseq side of an optimizer of ours: a thin shell, since AMP goes past it."""

from collections.abc import Iterable
from typing import Any

from fairseq.optim import FairseqOptimizer
from torch import Tensor, nn

from rxf.optim.component_adam import ComponentAdam
from rxf.optim.settings import ComponentAdamConfig, betas
from rxf.parameters.training import building

__all__ = ["ComponentOptimizer"]


class ComponentOptimizer(FairseqOptimizer):
    """What fairseq builds for ``--optimizer``; subclasses name their ``kind``.

    Raises:
        UserError: a setting means nothing, or the parameters cannot be told by name.
    """

    kind: type[ComponentAdam]

    def __init__(self, cfg: ComponentAdamConfig, params: Iterable[Tensor]) -> None:
        super().__init__(cfg)
        params = list(params)
        self._optimizer = self.kind(cfg, params, building(params))

    @property
    def optimizer_config(self) -> dict[str, Any]:
        """torch's names for what a checkpoint may be overruled by; part of fairseq's interface."""
        return {
            "lr": self.cfg.lr[0],
            "betas": betas(self.cfg),
            "eps": self.cfg.adam_eps,
            "weight_decay": self.cfg.weight_decay,
        }

    def all_reduce_grads(self, module: nn.Module) -> None:
        """Reduce the gradients of ``module``, if that is not done yet.

        fairseq's own DDP makes zeros of gradients that are not there, so it is noted before.
        The model comes first of an update, then the criterion.
        """
        if hasattr(module, "all_reduce_grads") and self._optimizer.training.is_model(module):
            self._optimizer.note_gradients()
        super().all_reduce_grads(module)
