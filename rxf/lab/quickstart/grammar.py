"""A small language with six labelled tasks and running text; all follows from a seed.

Made so that what a pre-trained model knows can be seen to help, to transfer and to be
lost: the tasks share words and constructions, none is solved by looking for one word,
and a few hundred rows do not cover the words in all their uses.

=============  ======================================================================
task           what it needs
=============  ======================================================================
polarity       which adjectives are kind, what a negation turns round (but not an
               intensifier), and which of two clauses carries the verdict: the one
               after "but", the one without "although"
agreement      number of nouns and verbs; the head of the subject, not the nearer noun
topic          the field of each noun: two of three nouns decide
tense          verb forms; the main clause, not the relative clause within it
agent          who acts, the person named first or second: active, passive, clefts
paraphrase     two sentences: whether the subjects are the same or synonyms, and as many
               negations as the change of adjective asks for; the hardest of them
=============  ======================================================================

Labels are balanced.  No row stands twice, in one split or in two.  The running text
for pre-training is made of paragraphs that keep to one topic, one opinion and one
tense, with restatements ("in other words"), so that topic, kindness, synonymy, number
and tense can all be learned from filling in words; it holds no labels.
"""

import random
from collections.abc import Sequence
from typing import Callable, NamedTuple, Optional

from rxf.lab.quickstart import lexicon
from rxf.lab.quickstart.lexicon import (
    ADJECTIVES,
    KIND_VERBS,
    NOUNS,
    TOPICS,
    UNKIND_VERBS,
    VERBS,
    Adjective,
    Noun,
)

__all__ = ["TASKS", "Example", "Task", "paragraphs", "task_rows"]

Words = list[str]

# As in real text the plain statement is the common one, so that the company a word
# keeps tells its kindness.  The tasks negate more often.
NEGATIONS_IN_TEXT = 0.15


class Example(NamedTuple):
    label: str
    text: str
    second: Optional[str] = None


class Task(NamedTuple):
    """``make(rng, label)`` gives one row that bears the label."""

    name: str
    labels: tuple[str, ...]
    make: Callable[[random.Random, str], Example]
    is_pair: bool = False


class Phrase(NamedTuple):
    """A noun phrase: its words, and what the verb must agree with."""

    words: Words
    plural: bool


def _pick_noun(rng: random.Random, topic: Optional[str], person: Optional[bool] = None) -> Noun:
    fits = [
        noun
        for noun in NOUNS
        if topic in (None, noun.topic) and (person is None or noun.person == person)
    ]
    return rng.choice(fits)


def _phrase(rng: random.Random, noun: Noun, plural: Optional[bool] = None) -> Phrase:
    plural = rng.random() < 0.5 if plural is None else plural
    return Phrase([rng.choice(lexicon.DETERMINERS), noun.form(plural)], plural)


def _attached(rng: random.Random, head: Phrase, noun: Noun) -> Phrase:
    """``head`` with a second noun between it and the verb: "the keys near my door"."""
    other = _phrase(rng, noun)
    return Phrase([*head.words, rng.choice(lexicon.PREPOSITIONS), *other.words], head.plural)


def _is(
    rng: random.Random, subject: Phrase, adjective: str, negated: bool, tense: str = "present"
) -> Words:
    """ "the soup is not dull": where there is no negation an intensifier may stand."""
    first, *rest = lexicon.be(tense, subject.plural)
    if negated:
        return [*subject.words, first, rng.choice(lexicon.NEGATIONS), *rest, adjective]
    stress = [rng.choice(lexicon.INTENSIFIERS)] if rng.random() < 0.5 else []
    return [*subject.words, first, *rest, *stress, adjective]


def _opinion(
    rng: random.Random,
    kind: bool,
    topic: Optional[str] = None,
    tense: str = "present",
    negations: float = 0.4,
) -> Words:
    """A clause that is kind or unkind on the whole, at times by a negation."""
    negated = rng.random() < negations
    adjective = rng.choice([a for a in ADJECTIVES if a.kind == (kind != negated)])
    subject = _phrase(rng, _pick_noun(rng, topic))
    if rng.random() < 0.3:
        subject = _attached(rng, subject, _pick_noun(rng, topic))
    return _is(rng, subject, adjective.word, negated, tense)


def _two_opinions(
    rng: random.Random,
    kind: bool,
    topic: Optional[str] = None,
    tense: str = "present",
    negations: float = 0.4,
) -> Words:
    """Two clauses; the verdict is the main clause's, or both agree."""
    main = _opinion(rng, kind, topic, tense, negations)
    other = _opinion(rng, not kind, topic, tense, negations)
    agreeing = _opinion(rng, kind, topic, tense, negations)
    return rng.choice(
        [
            [*agreeing, "and", *main],
            [*other, "but", *main],
            [*main, "although", *other],
            ["although", *other, ",", *main],
        ]
    )


def _polarity(rng: random.Random, label: str) -> Example:
    return _row(label, _two_opinions(rng, label == "positive"))


def _action(rng: random.Random, verb: str, tense: str, plural: bool) -> Words:
    if tense == "future":
        return ["will", verb]
    return [lexicon.past(verb) if tense == "past" else lexicon.present(verb, plural)]


def _agreement(rng: random.Random, label: str) -> Example:
    """The nearer noun's number is drawn by itself, so it says nothing about the label."""
    topic = rng.choice(TOPICS)
    acting = rng.random() < 0.5
    noun = _pick_noun(rng, topic, True if acting else None)
    head = _phrase(rng, noun)
    subject = _attached(rng, head, _pick_noun(rng, topic))
    shown = Phrase(subject.words, head.plural == (label == "acceptable"))
    if acting:
        verb = _action(rng, rng.choice(VERBS), "present", shown.plural)
        return _row(label, [*subject.words, *verb, *_phrase(rng, _pick_noun(rng, topic)).words])
    adjective = rng.choice(ADJECTIVES).word
    return _row(label, _is(rng, shown, adjective, rng.random() < 0.5))


def _topic(rng: random.Random, label: str) -> Example:
    other = rng.choice([topic for topic in TOPICS if topic != label])
    topics = [label, label, other]
    rng.shuffle(topics)
    # Someone acts, so the first is a person.
    nouns = [_pick_noun(rng, topic, place == 0 or None) for place, topic in enumerate(topics)]
    head, near, last = (_phrase(rng, noun) for noun in nouns)
    link = rng.choice(lexicon.PREPOSITIONS)
    verb = _action(rng, rng.choice(VERBS), rng.choice(lexicon.TENSES), head.plural)
    return _row(label, [*head.words, link, *near.words, *verb, *last.words])


def _tense(rng: random.Random, label: str) -> Example:
    """Subject, object or both carry a relative clause, in any tense."""
    topic = rng.choice(TOPICS)
    subject = _phrase(rng, _pick_noun(rng, topic, True))
    target = _phrase(rng, _pick_noun(rng, topic, True))
    asides = rng.choice([(True, False), (False, True), (True, True)])
    before, after = (
        _aside(rng, whose, topic) if there else []
        for whose, there in zip((subject, target), asides, strict=True)
    )
    main = _action(rng, rng.choice(VERBS), label, subject.plural)
    return _row(label, [*subject.words, *before, *main, *target.words, *after])


def _aside(rng: random.Random, whose: Phrase, topic: str) -> Words:
    action = _action(rng, rng.choice(VERBS), rng.choice(lexicon.TENSES), whose.plural)
    return ["who", *action, *_phrase(rng, _pick_noun(rng, topic)).words]


def _who_acts(
    rng: random.Random, first: bool, topic: str, tense: str, verbs: Sequence[str] = VERBS
) -> Words:
    """Two people; ``first`` says whether the one named first acts."""
    one = _phrase(rng, _pick_noun(rng, topic, True))
    two = _phrase(rng, _pick_noun(rng, topic, True))
    verb = rng.choice(verbs)
    lead = ["it", *lexicon.be(tense, False), *one.words, "that"]
    if first:
        active = [*_action(rng, verb, tense, one.plural), *two.words]
        return rng.choice([[*one.words, *active], [*lead, *active]])
    passive = [*lexicon.be(tense, one.plural), lexicon.past(verb), "by", *two.words]
    turned = [*two.words, *_action(rng, verb, tense, two.plural)]
    return rng.choice([[*one.words, *passive], [*lead, *turned], [*lead, *passive]])


def _agent(rng: random.Random, label: str) -> Example:
    """Another clause goes before or after, in which either may act."""
    topic, tense = rng.choice(TOPICS), rng.choice(lexicon.TENSES)
    main = _who_acts(rng, label == "first", topic, tense)
    other = _who_acts(rng, rng.random() < 0.5, topic, tense)
    return _row(label, rng.choice([["although", *other, ",", *main], [*main, "although", *other]]))


def _twin_of(noun: Noun) -> Noun:
    return next((n for n in NOUNS if n.singular == noun.twin), noun)


def _fellow(rng: random.Random, adjective: Adjective, kind: bool) -> str:
    """A word of the same scale."""
    fits = [a for a in ADJECTIVES if a.scale == adjective.scale and a.kind == kind]
    return rng.choice(fits).word


def _restated(
    rng: random.Random, same: bool, topic: str, tense: str, kind: Optional[bool] = None
) -> tuple[Words, Words]:
    """Two sentences that say the same of the same, or the opposite, or of another."""
    noun, plural = _pick_noun(rng, topic), rng.random() < 0.5
    adjective, negated = rng.choice(ADJECTIVES), rng.random() < 0.5
    if kind is not None:
        negated = rng.random() < NEGATIONS_IN_TEXT
        adjective = rng.choice([a for a in ADJECTIVES if a.kind == (kind != negated)])
    first = _is(rng, _phrase(rng, noun, plural), adjective.word, negated, tense)
    flipped = rng.random() < (0.5 if kind is None else NEGATIONS_IN_TEXT)
    other_subject = not same and rng.random() < 0.4
    meaning_kept = same or other_subject
    subject = rng.choice([noun, _twin_of(noun)])
    if other_subject:
        subject = rng.choice([n for n in NOUNS if n not in (noun, _twin_of(noun))])
    word = _fellow(rng, adjective, adjective.kind != flipped)
    again = negated != flipped if meaning_kept else negated == flipped
    return first, _is(rng, _phrase(rng, subject, plural), word, again, tense)


def _paraphrase(rng: random.Random, label: str) -> Example:
    first, second = _restated(rng, label == "same", rng.choice(TOPICS), "present")
    return Example(label, " ".join([*first, "."]), " ".join([*second, "."]))


def _row(label: str, words: Words) -> Example:
    return Example(label, " ".join([*words, "."]))


TASKS = {
    task.name: task
    for task in (
        Task("polarity", ("negative", "positive"), _polarity),
        Task("agreement", ("unacceptable", "acceptable"), _agreement),
        Task("topic", TOPICS, _topic),
        Task("tense", lexicon.TENSES, _tense),
        Task("agent", ("first", "second"), _agent),
        Task("paraphrase", ("different", "same"), _paraphrase, is_pair=True),
    )
}


def task_rows(task: Task, sizes: dict[str, int], seed: int = 1) -> dict[str, list[Example]]:
    """Rows of each split, labels balanced, no row twice anywhere.

    Args:
        task: one of :data:`TASKS`.
        sizes: number of rows of each split, such as ``{"train": 300, "valid": 300}``.
        seed: the same seed gives the same rows, on every machine and Python.
    """
    rng = random.Random(f"{seed}/{task.name}")
    seen: set[tuple[str, Optional[str]]] = set()
    splits = {}
    for split, size in sizes.items():
        rows = [_unseen(rng, task, place, seen) for place in range(size)]
        rng.shuffle(rows)
        splits[split] = rows
    return splits


def _unseen(rng: random.Random, task: Task, place: int, seen: set) -> Example:
    label = task.labels[place % len(task.labels)]
    while True:
        row = task.make(rng, label)
        if (row.text, row.second) not in seen:
            seen.add((row.text, row.second))
            return row


def _paragraph(rng: random.Random, sentences: int) -> str:
    """One topic, one tense, one opinion, told by clauses that all fit it on the whole."""
    topic, tense = rng.choice(TOPICS), rng.choice(lexicon.TENSES)
    kind = rng.random() < 0.5
    words: Words = []
    for _ in range(sentences):
        words += [*_sentence(rng, topic, tense, kind), "."]
    return " ".join(words)


def _sentence(rng: random.Random, topic: str, tense: str, kind: bool) -> Words:
    def restatement() -> Words:
        first, second = _restated(rng, True, topic, tense, kind)
        return [*first, ",", "in", "other", "words", *second]

    verbs = [v for v in VERBS if v not in (UNKIND_VERBS if kind else KIND_VERBS)]
    forms: list[Callable[[], Words]] = [
        lambda: _two_kindred(rng, kind, topic, tense),
        lambda: _opinion(rng, kind, topic, tense, negations=0),
        lambda: _two_opinions(rng, kind, topic, tense, NEGATIONS_IN_TEXT),
        restatement,
        lambda: [*_who_acts(rng, rng.random() < 0.5, topic, tense, verbs), lexicon.TIMES[tense]],
        lambda: _deed(rng, topic, tense, verbs),
    ]
    return rng.choices(forms, weights=(2, 2, 1, 2, 1, 1))[0]()


def _deed(rng: random.Random, topic: str, tense: str, verbs: Sequence[str]) -> Words:
    acting = _phrase(rng, _pick_noun(rng, topic, True))
    subject = _attached(rng, acting, _pick_noun(rng, topic))
    verb = _action(rng, rng.choice(verbs), tense, subject.plural)
    return [*subject.words, *verb, *_phrase(rng, _pick_noun(rng, topic)).words]


def _two_kindred(rng: random.Random, kind: bool, topic: str, tense: str) -> Words:
    """ "the soup is lovely and clean": in running text only, the plainest sign of kindness."""
    fits = [adjective.word for adjective in ADJECTIVES if adjective.kind == kind]
    one, two = rng.sample(fits, 2)
    subject = _phrase(rng, _pick_noun(rng, topic))
    return [*_is(rng, subject, one, False, tense), "and", two]


def paragraphs(count: int, seed: int = 1, sentences: int = 4) -> list[str]:
    """Running text for pre-training, one paragraph a line."""
    rng = random.Random(f"{seed}/paragraphs")
    return [_paragraph(rng, sentences) for _ in range(count)]
