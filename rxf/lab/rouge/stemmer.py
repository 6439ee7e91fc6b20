"""The Porter stemmer in the variant of ROUGE-1.5.5.

Porter (1980), *An algorithm for suffix stripping*, with the author's later changes (`bli`,
`logi`) and one of ROUGE's own: in step 4 `ment`, `ent` and `ion` are tried on what the other
suffixes left, so "governmental" becomes "govern" and meets "government".  No library has
that, hence this file.
"""

from functools import lru_cache

__all__ = ["stem"]

STEP_2 = {
    "ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize",
    "bli": "ble", "alli": "al", "entli": "ent", "eli": "e", "ousli": "ous", "ization": "ize",
    "ation": "ate", "ator": "ate", "alism": "al", "iveness": "ive", "fulness": "ful",
    "ousness": "ous", "aliti": "al", "iviti": "ive", "biliti": "ble", "logi": "log",
}  # fmt: skip
STEP_3 = {
    "icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": "",
}  # fmt: skip
STEP_4 = [
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ou", "ism", "ate", "iti",
    "ous", "ive", "ize",
]  # fmt: skip


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """The stem of a word of lower-case ASCII letters and digits; a digit is a consonant."""
    if len(word) < 3:
        return word
    word = _past_and_gerund(_plural(word))
    if word.endswith("y") and "v" in _shape(word[:-1]):
        word = word[:-1] + "i"
    word = _replace(word, STEP_2)
    word = _replace(word, STEP_3)
    return _final_letters(_long_suffixes(word))


def _shape(text: str) -> str:
    """One ``c`` or ``v`` a letter; y is a vowel behind a consonant."""
    shape = ""
    for letter in text:
        vowel = letter in "aeiou" or (letter == "y" and shape.endswith("c"))
        shape += "v" if vowel else "c"
    return shape


def _measure(text: str) -> int:
    """Porter's m: how often a consonant follows a vowel."""
    return _shape(text).count("vc")


def _is_short(text: str) -> bool:
    """Consonants, one vowel and one consonant, as in "hop": such a stem keeps its e."""
    ending = text[-1:]
    return _shape(text).lstrip("c") == "vc" and _shape(text)[0] == "c" and ending not in "wxy"


def _plural(word: str) -> str:
    if word.endswith(("sses", "ies")):
        return word[:-2]
    if word.endswith("s") and not word.endswith("ss"):
        return word[:-1]
    return word


def _past_and_gerund(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for suffix in ("ed", "ing"):
        if word.endswith(suffix):
            rest = word.removesuffix(suffix)
            return _mend(rest) if "v" in _shape(rest) else word
    return word


def _mend(word: str) -> str:
    """What "hopping", "hoping" and "sized" have left becomes "hop", "hope" and "size"."""
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if word[-2:-1] == word[-1] and word[-1] not in "aeiouylsz":
        return word[:-1]
    return word + "e" if _is_short(word) else word


def _replace(word: str, table: dict[str, str]) -> str:
    """Replace the longest suffix of ``table``, if what stands before it has m > 0."""
    suffix = _longest(word, table)
    if suffix and _measure(word.removesuffix(suffix)) > 0:
        return word.removesuffix(suffix) + table[suffix]
    return word


def _long_suffixes(word: str) -> str:
    word = _strip(word, _longest(word, STEP_4))
    word = _strip(word, "ment")
    if word.endswith("ent"):
        return _strip(word, "ent")
    return _strip(word, "ion") if word.endswith(("sion", "tion")) else word


def _longest(word: str, suffixes: "dict[str, str] | list[str]") -> str:
    return max((suffix for suffix in suffixes if word.endswith(suffix)), key=len, default="")


def _strip(word: str, suffix: str) -> str:
    """Take ``suffix`` away, if the word has it and what stands before it has m > 1."""
    rest = word.removesuffix(suffix)
    return rest if word.endswith(suffix) and _measure(rest) > 1 else word


def _final_letters(word: str) -> str:
    rest = word[:-1]
    if word.endswith("e") and (_measure(rest) > 1 or (_measure(rest) == 1 and not _is_short(rest))):
        word = rest
    return word[:-1] if word.endswith("ll") and _measure(word) > 1 else word
