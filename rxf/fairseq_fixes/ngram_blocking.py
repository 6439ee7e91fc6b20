"""``--no-repeat-ngram-size`` blocks repeated n-grams without the CUDA extension too.

Symptom: without fairseq's compiled extension, which no wheel of 0.12.2 holds,
``--no-repeat-ngram-size 3`` blocks nothing.  The Python path takes the last tokens of the
whole buffer, which is still padding at every step but the last, for the last tokens of the
hypothesis.  Measured: 2 5 6 7 5 6 must ban 7 at size 3 and bans none.

Why this mends it: the Python path is replaced by one that looks at the tokens up to
``step`` only.  It never leaves the device, and needs no loop over hypotheses.  Where the
extension is usable fairseq calls that, as ever.

What counts as an n-gram is what the extension and the Python path of fairseq before 0.10
count: any ``size`` tokens in a row of the hypothesis, from the symbol that it starts with
(``</s>`` unless the task has another) over forced prefix tokens to the last one generated;
the source does not count.  Padding never stands among them.  At size 1 every token that the
hypothesis holds is banned, therefore also the ``</s>`` it starts with: no hypothesis can end
then and fairseq's search stops with an ``AssertionError``, with the extension as well; it is
said when the search is built.
"""

import logging
import math
from typing import Any, Callable

from fairseq.ngram_repeat_block import NGramRepeatBlock
from torch import Tensor

from rxf.fairseq_fixes import Fix
from rxf.fairseq_fixes.patching import replace, wrap

logger = logging.getLogger(__name__)


def _apply() -> None:
    replace(NGramRepeatBlock, "_no_repeat_ngram", _no_repeat_ngram)
    wrap(NGramRepeatBlock, "__init__", _init)


def _init(original: Callable, self: Any, no_repeat_ngram_size: int, *args: Any, **kw: Any) -> None:
    original(self, no_repeat_ngram_size, *args, **kw)
    if no_repeat_ngram_size == 1:
        logger.warning(
            "--no-repeat-ngram-size 1 bans every token of the hypothesis, the </s> that it starts "
            "with too, so that it cannot end: give 2 or more"
        )


# TorchScript compiles this with the generator: no keywords, plain types.
def _no_repeat_ngram(
    self: Any, tokens: Tensor, lprobs: Tensor, bsz: int, beam_size: int, step: int
) -> Tensor:
    """Set to -inf what would complete an n-gram that the hypothesis already holds.

    Args:
        tokens: (bsz * beam_size, length) int64; those after ``step`` are not looked at.
        lprobs: (bsz * beam_size, vocabulary) of any float type; changed in place.
        bsz: sentences.
        beam_size: hypotheses a sentence.
        step: position of the last token that each hypothesis holds.

    Returns:
        ``lprobs``.
    """
    size: int = self.no_repeat_ngram_size
    tail = step + 2 - size  # where an n-gram that ends with the next token starts
    if tail <= 0:
        return lprobs
    ngrams = tokens[:, : step + 1].unfold(1, size, 1)  # (rows, tail, size)
    begun = tokens[:, tail : step + 1].unsqueeze(1)  # (rows, 1, size - 1)
    repeats = ngrams[:, :, : size - 1].eq(begun).all(dim=2)
    # The smaller of +inf and what is there is what is there.  A boolean mask as an index
    # would make a GPU wait for the count of its hits.
    ceiling = lprobs.new_full(repeats.shape, math.inf).masked_fill_(repeats, -math.inf)
    return lprobs.scatter_reduce_(1, ngrams[:, :, size - 1], ceiling, "amin")


FIX = Fix(
    name="ngram-blocking",
    symptom="--no-repeat-ngram-size blocks nothing without the CUDA extension",
    reference="fairseq#5206, fairseq#4709",
    apply=_apply,
)
