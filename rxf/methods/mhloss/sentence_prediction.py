"""``--criterion sentence_prediction_mhloss``: MHLoss for classification and regression."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.criterions import register_criterion
from torch import Tensor, nn

from rxf.classification import Predictions, SentenceCriterion, SentenceCriterionConfig
from rxf.errors import UserError, check_number
from rxf.fairseq_fixes.criterion_hooks import require_hooks
from rxf.forward import unwrapped
from rxf.forward.catching import caught_inputs
from rxf.methods.mhloss.heads import copy_mean, new_heads

__all__ = ["SentencePredictionMHLossConfig", "SentencePredictionMHLossCriterion"]

logger = logging.getLogger(__name__)


@dataclass
class SentencePredictionMHLossConfig(SentenceCriterionConfig):
    """Flags of ``sentence_prediction_mhloss``."""

    mhloss_heads: int = field(
        default=5, metadata={"help": "linear heads that are trained at once, and then averaged"}
    )


@register_criterion("sentence_prediction_mhloss", dataclass=SentencePredictionMHLossConfig)
class SentencePredictionMHLossCriterion(SentenceCriterion):
    """The task loss averaged over H linear heads on the same features.

    The heads stand in for ``out_proj``, the last layer of the model's classification head, and
    share what is below it.  They are parameters of this criterion.  ``out_proj`` itself is
    frozen and holds their mean: as of each update the model is a plain one with one head, in
    validation and in every checkpoint.

    Attributes:
        heads: empty until :meth:`build_for`.

    Source: our reading of Fu et al. 2023, see README.md.

    Raises:
        UserError: ``--mhloss-heads`` below 1, or no fix ``criterion-hooks``; before training, a
            model whose head does not end in a plain linear layer.
    """

    def __init__(self, cfg: SentencePredictionMHLossConfig, task: Any) -> None:
        super().__init__(cfg, task)
        check_number("--mhloss-heads", cfg.mhloss_heads, cfg.mhloss_heads >= 1, "of 1 or more")
        require_hooks("sentence_prediction_mhloss")
        self.heads = nn.ModuleList()

    def build_for(self, model: nn.Module) -> None:
        """Make the heads in the shape of the model's; called by the trainer."""
        self._require_head(model)
        out_proj = self._plain_out_proj(model)
        # The trainer's --seed before the first update, on every rank alike.
        self.heads = new_heads(self.cfg.mhloss_heads, out_proj, torch.initial_seed())
        out_proj.requires_grad_(False)

    def before_epoch(self, trainer: Any, epoch: int) -> None:
        """The weights are loaded: the model's own head becomes the mean."""
        self._average_into(trainer.get_model())

    def after_update(self, trainer: Any) -> None:
        """The heads have changed, and so has their mean."""
        self._average_into(trainer.get_model())

    def predict(self, model: nn.Module, sample: dict[str, Any]) -> Predictions:
        """See the base class; validation takes the plain path, on the mean of the heads."""
        if not model.training:
            return super().predict(model, sample)
        inner = unwrapped(model)
        if not len(self.heads):
            raise RuntimeError("no heads: call build_for, or train by the trainer")
        with caught_inputs(self._out_proj(inner)) as caught:
            self.logits(model, sample["net_input"])
        branches = tuple(head(caught[0]) for head in self.heads)
        return Predictions(torch.stack(branches).mean(0), branches=branches)

    def load_state_dict(  # type: ignore[override]
        self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        """As torch's, but heads of another number or shape are left in the file."""
        own = self.state_dict()
        if _shapes(state_dict) == _shapes(own):
            return super().load_state_dict(state_dict, *args, **kwargs)
        logger.info(
            f"the heads in the checkpoint are not the {len(self.heads)} of --mhloss-heads, or "
            "have other outputs: the initial values are kept (a run that is to go on needs the "
            "same --mhloss-heads)"
        )
        return super().load_state_dict(own, *args, **kwargs)

    def _out_proj(self, model: nn.Module) -> Any:
        heads: Any = model.classification_heads
        return getattr(heads[self.classification_head_name], "out_proj", None)

    def _plain_out_proj(self, model: nn.Module) -> nn.Linear:
        layer = self._out_proj(model)
        if type(layer) is nn.Linear and _computes_by_its_weight(layer):
            return layer
        raise UserError(
            f"--criterion sentence_prediction_mhloss averages plain linear heads, which out_proj "
            f"of --classification-head-name {self.classification_head_name} is not: leave out "
            "--spectral-norm-classification-head, --quant-noise-pq and --ddp-backend fully_sharded"
        )

    def _average_into(self, model: nn.Module) -> None:
        copy_mean(self.heads, self._out_proj(unwrapped(model)))


def _computes_by_its_weight(layer: nn.Linear) -> bool:
    """Else the mean of such layers is not the mean of what they compute."""
    hooked = layer._forward_pre_hooks or layer._forward_hooks
    return "weight" in layer._parameters and not hooked


def _shapes(state_dict: Mapping[str, Any]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state_dict.items() if isinstance(value, Tensor)}
