"""ROUGE-1, ROUGE-2 and ROUGE-L of one example, with one reference or several.

The counting is `rouge-score`'s, whose ROUGE-Lsum is ROUGE-1.5.5's ROUGE-L: the union of the
longest common subsequences, clipped so that no word counts twice.  What is done here is what
that library leaves open: sentences, rounding, several references.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rouge_score.rouge_scorer import RougeScorer

from rxf.lab.rouge.words import Rouge155Tokenizer, split_sentences

__all__ = ["COLUMNS", "MEASURES", "MULTI_REF", "PairScorer", "PerReference"]

MEASURES = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeLsum"}
COLUMNS = [f"R{measure[-1]}_{letter}" for measure in MEASURES for letter in "RPF"]
ROUGE_1_F = COLUMNS.index("R1_F")
MULTI_REF = ("max", "jackknife", "average")


class PerReference(NamedTuple):
    """``scores`` in the order of :data:`COLUMNS`; ``words`` in the reference, and in the output."""

    scores: list[float]
    words: int
    output_words: int


class PairScorer:
    """Scores one example at a time.

    Args:
        stemming: ROUGE-1.5.5's ``-m``.
        eos: parts the sentences of a line.
        multi_ref: how several references make one score.  ``max``: those of the reference
            with the best ROUGE-1 F, as SciTLDR reports.  ``jackknife``: the mean of that over
            all sets that leave one reference out (Lin 2004).  ``average``: hits and words
            summed over the references, as ROUGE-1.5.5 itself does (its ``-f A``).
    """

    def __init__(self, stemming: bool = True, eos: str = ".", multi_ref: str = "max") -> None:
        self._tokenizer = Rouge155Tokenizer(stemming)
        self._scorer = RougeScorer(list(MEASURES.values()), tokenizer=self._tokenizer)
        self._eos = eos
        self._combine = {"max": _best, "jackknife": _jackknife, "average": _average}[multi_ref]

    def score(self, references: Sequence[str], output: str) -> list[float]:
        """Scores from 0 to 1 with five decimals, in the order of :data:`COLUMNS`."""
        return self._combine([self._score_one(reference, output) for reference in references])

    def _score_one(self, reference: str, output: str) -> PerReference:
        target = "\n".join(split_sentences(reference, self._eos))
        prediction = "\n".join(split_sentences(output, self._eos))
        found = self._scorer.score(target, prediction)
        scores: list[float] = []
        for name in MEASURES.values():
            scores += _rounded(found[name].recall, found[name].precision)
        words = [len(self._tokenizer.tokenize(text)) for text in (target, prediction)]
        return PerReference(scores, *words)


def _rounded(recall: float, precision: float) -> list[float]:
    """R, P and F; ROUGE-1.5.5 rounds R and P before it computes F, and each to five decimals."""
    recall, precision = _five(recall), _five(precision)
    both = 0.5 * precision + 0.5 * recall
    return [recall, precision, _five(precision * recall / both) if both else 0.0]


def _five(value: float) -> float:
    return float(f"{value:.5f}")


def _best(found: Sequence[PerReference]) -> list[float]:
    """Of equals the first."""
    return max(found, key=lambda one: one.scores[ROUGE_1_F]).scores


def _jackknife(found: Sequence[PerReference]) -> list[float]:
    if len(found) == 1:
        return _best(found)
    left_out = [_best([*found[:index], *found[index + 1 :]]) for index in range(len(found))]
    return [_five(mean) for mean in np.mean(left_out, axis=0)]


def _average(found: Sequence[PerReference]) -> list[float]:
    scores: list[float] = []
    for index, measure in enumerate(MEASURES):
        # A line of n words has n - 1 pairs of neighbours.
        fewer = 1 if measure == "ROUGE-2" else 0
        counts = [max(one.words - fewer, 0) for one in found]
        output_counts = [max(one.output_words - fewer, 0) for one in found]
        hits = sum(
            round(one.scores[3 * index] * count) for one, count in zip(found, counts, strict=True)
        )
        scores += _rounded(hits / max(sum(counts), 1), hits / max(sum(output_counts), 1))
    return scores
