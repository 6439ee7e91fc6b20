"""What every ``sentence_prediction_*`` criterion here shares: the task loss and the metrics."""

from rxf.classification.criterion import SentenceCriterion, SentenceCriterionConfig

__all__ = ["SentenceCriterion", "SentenceCriterionConfig"]
