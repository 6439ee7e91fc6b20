"""What every ``sentence_prediction_*`` criterion here shares: the task loss and the metrics."""

from rxf.classification.criterion import (
    DIVERGENCES,
    Predictions,
    SentenceCriterion,
    SentenceCriterionConfig,
)

__all__ = ["DIVERGENCES", "Predictions", "SentenceCriterion", "SentenceCriterionConfig"]
