"""The words of the built-in language: tables, and the forms that follow from them.

All tasks and the pre-training text draw on these same words, so what one of them
teaches about a word (its topic, its number, whether it is kind or unkind) is of use
to the others.
"""

from typing import NamedTuple

__all__ = ["ADJECTIVES", "NOUNS", "TOPICS", "VERBS", "Adjective", "Noun", "words"]


class Noun(NamedTuple):
    """``twin`` names its synonym; people have none."""

    singular: str
    topic: str
    person: bool
    twin: str = ""

    @property
    def plural(self) -> str:
        hissing = self.singular.endswith(("ch", "sh", "s", "x"))
        return self.singular + ("es" if hissing else "s")

    def form(self, plural: bool) -> str:
        return self.plural if plural else self.singular


class Adjective(NamedTuple):
    """Words of one ``scale`` are synonyms (``kind`` equal) or antonyms (``kind`` differs)."""

    word: str
    scale: str
    kind: bool


_PEOPLE = {
    "food": "cook waiter baker guest",
    "music": "singer drummer pianist dancer",
    "travel": "pilot driver tourist porter",
    "sport": "runner coach goalkeeper referee",
}
# Pairs of synonyms.
_THINGS = {
    "food": "soup/broth cake/tart stew/casserole",
    "music": "song/tune concert/recital guitar/lute",
    "travel": "train/railcar hotel/inn trip/journey",
    "sport": "match/game race/sprint stadium/arena",
}
_SCALES = {
    "quality": ("lovely charming", "awful dreadful"),
    "interest": ("lively exciting", "dull boring"),
    "wit": ("clever bright", "foolish silly"),
    "manners": ("polite friendly", "rude nasty"),
    "order": ("clean tidy", "dirty messy"),
    "worth": ("useful helpful", "useless worthless"),
}
TOPICS = tuple(_PEOPLE)
# Regular verbs: help, helps, helped.  In running text the kind go with the kind.
KIND_VERBS = ("praise", "help", "thank", "greet")
UNKIND_VERBS = ("blame", "mock", "avoid", "offend")
VERBS = (*KIND_VERBS, *UNKIND_VERBS, "visit", "watch", "follow", "remember")


def _nouns() -> list[Noun]:
    people = [Noun(w, topic, True) for topic in TOPICS for w in _PEOPLE[topic].split()]
    pairs = [(topic, pair.split("/")) for topic in TOPICS for pair in _THINGS[topic].split()]
    things = [Noun(w, topic, False, t) for topic, (a, b) in pairs for w, t in ((a, b), (b, a))]
    return people + things


def _adjectives() -> list[Adjective]:
    return [
        Adjective(word, scale, kind)
        for scale, (good, bad) in _SCALES.items()
        for kind, group in ((True, good), (False, bad))
        for word in group.split()
    ]


NOUNS = _nouns()
ADJECTIVES = _adjectives()


def present(verb: str, plural: bool) -> str:
    """help, helps; watch, watches."""
    if plural:
        return verb
    return verb + ("es" if verb.endswith(("ch", "sh")) else "s")


def past(verb: str) -> str:
    """The past form, which is also the participle."""
    return verb + ("d" if verb.endswith("e") else "ed")


def be(tense: str, plural: bool) -> list[str]:
    """The verb to be; in the future a negation stands between its two words."""
    forms = {
        "past": ["were" if plural else "was"],
        "present": ["are" if plural else "is"],
        "future": ["will", "be"],
    }
    return forms[tense]


NEGATIONS = ("not", "never", "hardly")
INTENSIFIERS = ("very", "really", "quite")
DETERMINERS = ("the", "my", "our", "your")
PREPOSITIONS = ("near", "behind", "beside", "with")
TENSES = ("past", "present", "future")
TIMES = {"past": "yesterday", "present": "today", "future": "tomorrow"}
_OTHERS = "will be is are was were and but although that who by it in other words , ."


def words() -> list[str]:
    """Every word there is, sorted: the dictionary of the tiny model."""
    nouns = [form for noun in NOUNS for form in (noun.singular, noun.plural)]
    verbs = [f for v in VERBS for f in (v, present(v, False), past(v))]
    small = [*NEGATIONS, *INTENSIFIERS, *DETERMINERS, *PREPOSITIONS, *TIMES.values()]
    adjectives = [adjective.word for adjective in ADJECTIVES]
    return sorted({*nouns, *verbs, *small, *adjectives, *_OTHERS.split()})
