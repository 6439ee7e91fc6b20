"""What every ``label_smoothed_cross_entropy_*`` criterion here shares: positions and losses."""

from rxf.generation.criterion import GenerationCriterion, Pair, Positions

__all__ = ["GenerationCriterion", "Pair", "Positions"]
