"""A plugin on top of rxf whose criterions hold state, for ``--user-dir``."""

from typing import Any

import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.sentence_prediction import (
    SentencePredictionConfig,
    SentencePredictionCriterion,
)
from torch import nn

import rxf  # noqa: F401


@register_criterion("test_counting", dataclass=SentencePredictionConfig)
class CountingCriterion(SentencePredictionCriterion):
    """No parameters: a buffer and a plain number."""

    keep_in_fp32 = True

    def __init__(self, cfg: Any, task: Any) -> None:
        super().__init__(cfg, task)
        self.register_buffer("seen", torch.tensor(1.0001))
        self.calls = 0

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": self.calls}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.calls = state["calls"]

    def forward(self, model: nn.Module, sample: dict[str, Any], reduce: bool = True) -> Any:
        self.calls += 1
        self.seen += 1
        return super().forward(model, sample, reduce)


@register_criterion("test_learning", dataclass=SentencePredictionConfig)
class LearningCriterion(SentencePredictionCriterion):
    """A trained parameter, and a frozen one."""

    def __init__(self, cfg: Any, task: Any) -> None:
        super().__init__(cfg, task)
        self.weight = nn.Parameter(torch.tensor(1.0001))
        self.frozen = nn.Parameter(torch.tensor(3.0), requires_grad=False)

    def forward(self, model: nn.Module, sample: dict[str, Any], reduce: bool = True) -> Any:
        loss, size, log = super().forward(model, sample, reduce)
        return loss * self.weight, size, log
