"""ROUGE of one pair, by hand and by what the official script printed; files of 13 pairs."""

import re

import numpy as np
import pytest

from rxf.lab.paired_files import read_pairs
from rxf.lab.rouge import score_pairs
from rxf.lab.rouge.bootstrap import estimates
from rxf.lab.rouge.scores import COLUMNS, MEASURES, PairScorer
from rxf.lab.rouge.stemmer import stem
from rxf.lab.rouge.words import Rouge155Tokenizer

REFERENCES = """\
The children went to the half-built house . They saw three mice there
The governmental plan was the best one in years
Women chose better wages over longer holidays
A car park in east Belfast has been closed
Snow fell on 1,000 homes in the north . Roads were shut . Nobody was hurt

She has written a café guide - in Welsh
The men took the knives and ran
Prices are rising faster than wages , the bank says
He is dying , his wife says
Two boys stole a sheep and sold its wool
The court has thrown out the appeal . It said that the evidence was weak
Engineers are testing the bridges again
"""
SUMMARIES = """\
Three mice were seen in a half built house by a child . The children go there
The government has a good plan for this year
A woman chooses a better wage and a longer holiday
East Belfast car park is closed
Roads shut . Snow falls on thousands of homes . 1000 homes in the north are hit
Something was written
A writer wrote a caf guide in Wales
A man takes a knife and runs
The bank says prices rise faster than the wage and faster than ever

Two boys who stole sheep sold the wool , and two boys sold wool
The evidence was weak , the court said . The appeal was thrown out
The engineer tests a bridge
"""
# What ROUGE-1.5.5.pl -c 95 -r 1000 -n 2 -m -d printed for these, one sentence a line, with
# its exception table built from adj, adv, noun, verb in this order (Perl 5.36).
OFFICIAL_AVERAGES = """\
ROUGE-1 Average_R: 0.53651 (95%-conf.int. 0.37821 - 0.67457)
ROUGE-1 Average_P: 0.51711 (95%-conf.int. 0.36248 - 0.66016)
ROUGE-1 Average_F: 0.51818 (95%-conf.int. 0.36603 - 0.64877)
ROUGE-2 Average_R: 0.24727 (95%-conf.int. 0.14423 - 0.35901)
ROUGE-2 Average_P: 0.23436 (95%-conf.int. 0.13187 - 0.34490)
ROUGE-2 Average_F: 0.23621 (95%-conf.int. 0.13664 - 0.33751)
ROUGE-L Average_R: 0.45916 (95%-conf.int. 0.32515 - 0.57728)
ROUGE-L Average_P: 0.43385 (95%-conf.int. 0.30918 - 0.54115)
ROUGE-L Average_F: 0.43985 (95%-conf.int. 0.31828 - 0.54331)
"""
OFFICIAL_F = {
    "ROUGE-1": [0.62069, 0.44444, 0.47059, 0.66667, 0.6, 0, 0.625, 0.42857, 0.72727, 0, 0.63636,
                0.84615, 0.72727],
    "ROUGE-2": [0.37037, 0.125, 0.26666, 0.30769, 0.35714, 0, 0.57143, 0.16667, 0.4, 0, 0.1,
                0.5, 0],
    "ROUGE-L": [0.62069, 0.44444, 0.47059, 0.4, 0.6, 0, 0.625, 0.42857, 0.45455, 0, 0.63636,
                0.61539, 0.54545],
}  # fmt: skip


def rouge(reference, summary, measure="ROUGE-1", **settings):
    """R, P and F of one pair; a list of references is several."""
    references = [reference] if isinstance(reference, str) else reference
    scores = PairScorer(**settings).score(references, summary)
    start = 3 * list(MEASURES).index(measure)
    return tuple(scores[start : start + 3])


@pytest.fixture(scope="module")
def official_pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "a.ref").write_text(REFERENCES, encoding="utf-8")
    (folder / "a.hyp").write_text(SUMMARIES, encoding="utf-8")
    return read_pairs(folder / "a.ref", folder / "a.hyp")


def test_every_pair_is_the_official_scripts(official_pairs):
    scores = score_pairs(official_pairs, PairScorer())
    for measure, expected in OFFICIAL_F.items():
        column = COLUMNS.index(f"R{measure[-1]}_F")
        assert scores[:, column].tolist() == expected, measure


def test_averages_and_intervals_are_the_official_scripts(official_pairs):
    found = estimates(score_pairs(official_pairs, PairScorer()))
    expected = [tuple(map(float, re.findall(r"0\.\d{5}", line)))
                for line in OFFICIAL_AVERAGES.splitlines()]  # fmt: skip
    assert [tuple(estimate) for estimate in found] == expected


@pytest.mark.parametrize(
    "text, words",
    [
        ("A half-built House", ["a", "half", "built", "house"]),
        ("1,000 homes' U.S. don't", ["1", "000", "homes", "u", "s", "don", "t"]),
        ("café naïve — ´ ``quoted''", ["caf", "na", "ve", "quoted"]),
        # The Kelvin sign, whose lower case is k, and a Turkish capital.
        ("\u212a \u0130 a_b\tc\rd", ["a", "b", "c", "d"]),
        ("", []),
    ],
)
def test_words(text, words):
    assert Rouge155Tokenizer(stemming=False).tokenize(text) == words


@pytest.mark.parametrize(
    "word, base",
    [
        ("went", "go"),
        ("children", "child"),
        ("dying", "die"),
        # In two of the lists: the later one wins.
        ("better", "well"),
        # The base form is not stemmed, and the word itself is.
        ("mice", "mouse"),
        ("mouse", "mous"),
        # Three letters are neither looked up nor stemmed.
        ("men", "men"),
        ("was", "was"),
        ("houses", "hous"),
    ],
)
def test_irregular_forms_come_before_the_stemmer(word, base):
    assert Rouge155Tokenizer().tokenize(word.upper()) == [base]


@pytest.mark.parametrize(
    "word, expected",
    [
        # From Porter's paper.
        ("caresses", "caress"), ("ponies", "poni"), ("feed", "feed"), ("agreed", "agre"),
        ("plastered", "plaster"), ("bled", "bled"), ("motoring", "motor"), ("sing", "sing"),
        ("conflated", "conflat"), ("hopping", "hop"), ("falling", "fall"), ("filing", "file"),
        ("failing", "fail"), ("happy", "happi"), ("sky", "sky"), ("relational", "relat"),
        ("vietnamization", "vietnam"), ("triplicate", "triplic"), ("hopeful", "hope"),
        ("adjustable", "adjust"), ("replacement", "replac"), ("adoption", "adopt"),
        ("controll", "control"), ("rate", "rate"), ("cease", "ceas"), ("probate", "probat"),
        # Porter's later changes.
        ("possibly", "possibl"), ("archaeology", "archaeolog"),
        # ROUGE's own: one suffix of step 4 after the other.
        ("governmental", "govern"), ("government", "govern"),
        # A y in front is a consonant, and a digit is one.
        ("yelling", "yell"), ("1990s", "1990"),
    ],
)  # fmt: skip
def test_stem(word, expected):
    assert stem(word) == expected


def test_stemming_can_be_turned_off():
    assert rouge("he went", "he goes") == (1, 1, 1)
    assert rouge("he went", "he goes", stemming=False) == (0.5, 0.5, 0.5)


def test_counts_are_clipped():
    # "the" counts once, as often as the reference has it.
    assert rouge("the cat", "the the the the") == (0.5, 0.25, 0.33333)
    assert rouge("the cat", "the the the the", "ROUGE-2") == (0, 0, 0)


def test_f_comes_from_rounded_recall_and_precision():
    reference = " ".join(f"r{n}" for n in range(27)) + " a b"
    summary = " ".join(f"s{n}" for n in range(17)) + " b a"
    # 2 of 29 and 2 of 19: exactly 4/48 = 0.083333, but the script prints 0.08334.
    assert rouge(reference, summary) == (0.06897, 0.10526, 0.08334)


def test_a_bigram_reaches_over_the_end_of_a_sentence():
    assert rouge("a b . c d", "b c", "ROUGE-2") == (0.33333, 1, 0.5)


def test_rouge_l_is_the_union_over_the_summarys_sentences():
    # Lin 2004, 3.2: LCS w1 w2 with the one and w1 w3 w5 with the other sentence: 4 of 5 words.
    found = rouge("w1 w2 w3 w4 w5", "w1 w2 w6 w7 w8 . w1 w3 w8 w9 w5", "ROUGE-L")
    assert found == (0.8, 0.4, 0.53333)


def test_rouge_l_adds_up_the_references_sentences():
    # w1 w2 of the first sentence, w5 w6 of the second; the order of sentences does not matter.
    found = rouge("w1 w2 w3 . w4 w5 w6", "w5 w7 w6 . w1 w2", "ROUGE-L")
    assert found == (0.66667, 0.8, 0.72727)
    # As one sentence the longest common subsequence is two words.
    assert rouge("w1 w2 w3 . w4 w5 w6", "w5 w7 w6 . w1 w2", "ROUGE-L", eos="|")[0] == 0.33333


def test_rouge_l_counts_no_word_twice():
    # Both sentences of the reference have "w1" in common with the summary's only one.
    assert rouge("w1 w2 . w1 w3", "w1", "ROUGE-L") == (0.25, 1, 0.4)


@pytest.mark.parametrize("eos", [".", "<q>", "SEP"])
def test_eos_parts_sentences_between_spaces_only(eos):
    summary = f"w3 w4 {eos} w1 w2 {eos}"
    assert rouge("w1 w2 w3 w4", summary, "ROUGE-L", eos=eos) == (1, 1, 1)
    glued = summary.replace(f" {eos} ", f"{eos} ")
    assert rouge("w1 w2 w3 w4", glued, "ROUGE-L", eos=eos)[0] == 0.5


def test_an_empty_side_scores_0():
    for reference, summary in [("", "a b"), ("a b", ""), ("", ""), (" . ", "é")]:
        for measure in MEASURES:
            assert rouge(reference, summary, measure) == (0, 0, 0)


# To the summary "a b c d": ROUGE-1 F 1/4, 3/4 and 6/9; ROUGE-2 F 0, 0 and 4/7.
SEVERAL = ["d x y z", "c b a w", "a b c x y"]


def test_max_takes_all_measures_from_the_best_reference_by_rouge_1():
    assert rouge(SEVERAL, "a b c d") == (0.75, 0.75, 0.75)
    # The third reference has the better ROUGE-2.
    assert rouge(SEVERAL, "a b c d", "ROUGE-2") == (0, 0, 0)


def test_jackknife_is_the_mean_of_the_best_without_each():
    # Without the second reference the third is best (R 3/5, P 3/4), else the second.
    expected = tuple(round((2 * 0.75 + value) / 3, 5) for value in (0.6, 0.75, 0.66667))
    assert rouge(SEVERAL, "a b c d", multi_ref="jackknife") == pytest.approx(expected, abs=1e-5)
    one = rouge(SEVERAL[:1], "a b c d", multi_ref="jackknife")
    assert one == (0.25, 0.25, 0.25)


def test_average_sums_hits_and_words():
    # Hits 1, 3 and 3, reference words 4, 4 and 5, summary words 3 x 4.
    assert rouge(SEVERAL, "a b c d", multi_ref="average") == (0.53846, 0.58333, 0.56)
    # Hits 0, 0 and 2, pairs of neighbours 3, 3 and 4, in the summary 3 x 3.
    found = rouge(SEVERAL, "a b c d", "ROUGE-2", multi_ref="average")
    assert found == (0.2, 0.22222, 0.21053)


def test_the_interval_is_of_the_mean():
    generator = np.random.default_rng(1)
    scores = generator.normal(0.5, 0.1, size=(400, 2))
    for column, estimate in zip(scores.T, estimates(scores), strict=True):
        half = 1.96 * column.std() / 20
        assert estimate.average == pytest.approx(column.mean(), abs=5e-4)
        assert estimate.low == pytest.approx(column.mean() - half, abs=1.5e-3)
        assert estimate.high == pytest.approx(column.mean() + half, abs=1.5e-3)


# ----------------------------------------------------- 500 pairs with the official scores


@pytest.fixture(scope="module")
def xsum(shared_data):
    return read_pairs(shared_data / "rouge" / "xsum500.ref", shared_data / "rouge" / "xsum500.hyp")


@pytest.fixture(scope="module")
def xsum_scores(xsum):
    return score_pairs(xsum, PairScorer())


def test_500_pairs_are_the_official_scripts(xsum_scores, shared_data):
    table = shared_data / "rouge" / "xsum500.rouge155_m_per_pair.tsv"
    lines = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines()]
    assert lines[0] == ["line", *COLUMNS]
    official = np.array(lines[1:], dtype=float)[:, 1:]
    assert np.abs(xsum_scores - official).max() < 1e-6


@pytest.mark.parametrize("stemming", [True, False])
def test_averages_and_intervals_of_500_pairs(stemming, xsum, xsum_scores, shared_data):
    name = "rouge155_xsum500_stem.txt" if stemming else "rouge155_xsum500_nostem.txt"
    text = (shared_data / "rouge" / name).read_text(encoding="utf-8")
    scores = xsum_scores if stemming else score_pairs(xsum, PairScorer(stemming=False))
    official = [tuple(map(float, re.findall(r"0\.\d{5}", line))) for line in text.splitlines()]
    found = [tuple(estimate) for estimate in estimates(scores)]
    # A hundredth of a point: a fifth of what was asked for, to the averages and the intervals.
    assert np.abs(np.array(found) - np.array(official)).max() < 1e-4
