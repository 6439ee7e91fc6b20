"""Figures of runs and probes against figures worked out by hand; tables in every form."""

import csv
import io
import re
from typing import Any

import pytest

from rxf.errors import UserError
from rxf.lab.report import tables
from rxf.lab.report.contents import Choices, Report, build
from rxf.lab.report.records import Found, checked_runs
from rxf.lab.report.scores import all_scores, has_failed, run_scores
from rxf.lab.report.summary import compare, summarise
from tests.lab.report.made_up import BASELINE, record

RECORDS = [
    record("r3f", 1, 90.0),
    record("r3f", 2, None, None, error="ValueError: no"),
    record("r3f", 3, 86.0),
    record("plain", 1, 80.0, 0.010),
    record("plain", 2, 84.0, 0.030),
    record("plain", 3, 50.0, 0.020),
    record("plain", 4, 70.0, 0.040, peak_mib=500.0),
]


def built(*records: dict[str, Any], choices: Choices = Choices()) -> Report:  # noqa: B008
    return build("title", Found(list(records), {}, []), choices)


def test_figures_by_hand() -> None:
    (scores,) = run_scores(RECORDS, "plain")
    plain, r3f = summarise(scores, "plain", (1, 2, 5))
    # 50, 70, 80, 84: median 75; mean 71, squares 441 + 1 + 81 + 169 = 692, over 3 = 230.667.
    assert (plain.method, plain.n, plain.values, plain.median) == ("plain", 4, 4, 75.0)
    assert (plain.mean, plain.minimum, plain.maximum, plain.failed) == (71.0, 50.0, 84.0, 1)
    assert plain.sd == pytest.approx(15.18772, abs=1e-5)
    assert (plain.seconds, plain.seconds_ratio) == (pytest.approx(0.025), 1.0)
    assert (plain.mib, plain.mib_ratio) == (400.0, 1.0)
    # Best of 2 of the six choices: 84 three times, 80 twice, 70 once.
    assert plain.best_of == {1: 71.0, 2: pytest.approx((3 * 84 + 2 * 80 + 70) / 6), 5: None}
    # 90 and 86; the run with an error is in n and among the failed only.
    assert (r3f.n, r3f.values, r3f.median, r3f.maximum, r3f.failed) == (3, 2, 88.0, 90.0, 1)
    assert r3f.sd == pytest.approx(8**0.5)
    assert r3f.seconds_ratio == pytest.approx(0.8)


def test_comparison_by_hand() -> None:
    """Seeds 1 and 3: 90 against 80 and 86 against 50; r3f has no value for seed 2."""
    (scores,) = run_scores(RECORDS, "plain")
    (found,) = compare(scores, "plain")
    assert (found.method, found.pairs, found.difference) == ("r3f", 2, 23.0)
    assert found.interval == (10.0, 36.0)
    assert (found.ahead, found.ties, found.p, found.probability) == (2, 0, 0.5, 1.0)


def test_where_lower_is_better_less_is_an_improvement() -> None:
    runs = [
        record(m, s, v, maximize=False, metric="loss", baseline=None)
        for m, values in (("plain", (2.0, 3.0)), ("r3f", (1.0, 3.0)))
        for s, v in enumerate(values)
    ]
    (scores,) = run_scores(runs, "plain")
    (found,) = compare(scores, "plain")
    assert (found.difference, found.ahead, found.ties) == (-0.5, 1, 1)
    # 1 is below 2 and 3, 3 ties with 3: (2 + 0.5) of 4.
    assert found.probability == 0.625
    assert summarise(scores, "plain", (2,))[0].best_of == {2: 2.0}


def test_one_run_has_no_deviation_and_no_value_no_figures() -> None:
    (scores,) = run_scores([record("plain", 1, 80.0)], "plain")
    (one,) = summarise(scores, "plain", (5,))
    assert (one.median, one.sd, one.median_interval, one.mean_interval) == (80.0, None, None, None)
    (scores,) = run_scores([record("plain", 1, None, None, error="x", peak_mib=None)], "plain")
    (none,) = summarise(scores, "plain", (5,))
    assert (none.mean, none.median, none.minimum, none.seconds, none.mib) == (None,) * 5
    assert none.failed == none.n == 1


@pytest.mark.parametrize(
    ("best", "failed"), [(50.0, True), (49.0, True), (50.004, True), (50.1, False)]
)
def test_a_run_at_or_below_the_baseline_has_failed(best: float, failed: bool) -> None:
    assert has_failed(record("plain", 1, best)) is failed
    assert has_failed(record("plain", 1, 100 - best, maximize=False)) is failed
    assert not has_failed(record("plain", 1, best, baseline=None))


def test_a_run_that_stopped_late_has_failed_however_good() -> None:
    assert has_failed(record("plain", 1, 90.0, error="killed"))


def test_the_last_validation_can_be_taken_instead_of_the_best() -> None:
    runs = [record("plain", 1, 80.0, last=60.0)]
    report = built(*runs, choices=Choices(value="last"))
    assert report.summaries[0].median == 60.0
    assert any("last validation" in note for note in report.notes)


def test_other_settings_of_a_method_are_a_method_of_their_own() -> None:
    warnings: list[str] = []
    other = record("r3f", 1, 60.0, method_flags={"r3f_lambda": 5})
    runs = checked_runs([RECORDS[0], other], warnings)
    assert [run["method"] for run in runs] == ["r3f", "r3f#2"]
    assert "r3f#2 on polarity" in warnings[0] and '"r3f_lambda": 5' in warnings[0]


def test_of_a_seed_that_was_run_twice_the_later_run_counts() -> None:
    warnings: list[str] = []
    early = record("plain", 1, 60.0, ended="2026-01-01T00:00:00", folder="a")
    late = record("plain", 1, 70.0, ended="2026-02-01T00:00:00", folder="b")
    (kept,) = checked_runs([late, early], warnings)
    assert kept["best"] == 70.0
    assert warnings == ["a: seed 1 of plain on polarity stands in b too: the later one is taken"]


def test_one_task_has_one_metric() -> None:
    with pytest.raises(UserError, match="polarity is scored by mcc here and by accuracy in"):
        checked_runs([RECORDS[0], record("plain", 1, 3.0, metric="mcc")], [])


# -------------------------------------------------------------------------------- probes


def probed(method: Any, seed: Any, value: float, **more: Any) -> dict[str, Any]:
    return {"method": method, "seed": seed, "value": value, "baseline": None, "folder": "x", **more}


def test_the_pretrained_model_stands_beside_each_source() -> None:
    common = {"task": "CoLA", "metric": "mcc"}
    rows = [
        probed("plain", 1, 20.0, checkpoint="a", source="SST-2", **common),
        probed("plain", 1, 30.0, checkpoint="b", source="RTE", **common),
        probed(None, None, 10.0, checkpoint="pretrained", source=None, **common),
    ]
    found = all_scores(Found([], {"generalization": rows}, []), "plain")
    assert [group.item for group in found] == ["CoLA, after SST-2", "CoLA, after RTE"]
    for group, value in zip(found, (20.0, 30.0), strict=True):
        assert list(group.methods) == ["pretrained", "plain"]
        assert [runs[0].value for runs in group.methods.values()] == [10.0, value]
    # A checkpoint without a seed is compared with none.
    assert compare(found[0], "plain") == []


def test_of_a_measure_of_the_representation_neither_way_is_better() -> None:
    rows = [
        probed(method, seed, value, checkpoint=f"{method}{seed}", measure="cka", layer=2, unit="1")
        for method, values in (("plain", (0.5, 0.6)), ("r3f", (0.7, 0.6)))
        for seed, value in enumerate(values)
    ]
    (scores,) = all_scores(Found([], {"collapse": rows}, []), "plain")
    assert (scores.item, scores.unit, scores.direction) == ("cka, layer 2", "", 0)
    (found,) = compare(scores, "plain")
    assert (found.ahead, found.ties, found.probability) == (1, 1, 0.875)
    assert summarise(scores, "plain", (2,))[0].best_of == {2: None}
    report = build("title", Found([], {"collapse": rows}, []), Choices())
    assert report.sections[0].tables == []
    assert "P(greater) [95 %]" in report.sections[0].details[1].header


def test_two_chains_are_not_drawn_as_one() -> None:
    rows = [
        probed("plain", seed, 80.0, step=1, trained_on=task, probed="SST-2", metric="accuracy")
        for seed, task in enumerate(("QNLI", "MRPC"))
    ]
    with pytest.raises(UserError, match="step 1 trains on MRPC here and on QNLI in x"):
        all_scores(Found([], {"degradation": rows}, []), "plain")


# -------------------------------------------------------------------------------- tables


def test_the_terminal_shows_the_figures() -> None:
    scores, comparison, cost = built(*RECORDS).sections[0].tables
    lines = tables.terminal(scores).splitlines()
    cells = re.split(r"  +", lines[3])
    # The ends of the mean's interval are resampled: only their place is sure.
    assert re.fullmatch(r"71\.0 \[5\d\.\d, 8\d\.\d\]", cells.pop(4))
    assert cells == [
        *("polarity", "plain", "4", "75.0 [50.0, 84.0]", "15.19"),
        *("50.0", "84.0", "-", "1 of 4"),
    ]
    assert lines[4].split()[:2] == ["r3f", "3"]
    assert "+23.00 [+10.00, +36.00]" in tables.terminal(comparison)
    assert "0.0250  1.00  " in re.sub(" {3,}", "  ", tables.terminal(cost))


def test_best_of_k_always_says_its_k() -> None:
    header = built(*RECORDS, choices=Choices(best_of=(2, 10))).sections[0].tables[0].header
    assert [cell for cell in header if "best" in cell] == ["best of 2", "best of 10"]
    assert "max of n" in header and "max" not in header
    line = tables.flat(built(*RECORDS).summaries[0])
    assert {name for name in line if "best" in name} == {"expected_best_of_5"}


def test_markdown_and_latex_escape_what_would_break_them() -> None:
    table = tables.Table("50 % of a_b", ("task", "method", "n"), [("a|b", "x_1 & {y}\\", "<1~^#$")])
    assert tables.markdown(table).splitlines()[-1] == r"| a\|b | x_1 & {y}\ | <1~^#$ |"
    lines = tables.latex(table).splitlines()
    assert r"\caption{50 \% of a\_b}" in lines
    assert (
        r"a\textbar{}b & x\_1 \& \{y\}\textbackslash{} & "
        r"\textless{}1\textasciitilde{}\textasciicircum{}\#\$ \\"
    ) in lines
    assert r"\begin{tabular}{llr}" in lines
    assert lines.index(r"\toprule") < lines.index(r"\midrule") < lines.index(r"\bottomrule")


def test_what_rounds_to_nothing_has_no_minus() -> None:
    assert tables._number(-0.004, 2) == "0.00"
    assert tables._number(-0.004, 2, "+") == "+0.00"
    assert tables._number(-0.04, 2) == "-0.04"


def test_the_csv_of_summaries_holds_every_figure() -> None:
    report = built(*RECORDS)
    text = tables.csv_text([tables.flat(summary) for summary in report.summaries])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows[0]["item"] == "polarity" and float(rows[0]["median"]) == 75.0
    assert float(rows[0]["baseline"]) == BASELINE
    low, high = report.summaries[0].mean_interval or (0.0, 0.0)
    assert (float(rows[0]["mean_interval_low"]), float(rows[0]["mean_interval_high"])) == (
        low,
        high,
    )


# --------------------------------------------------------------------------------- notes


@pytest.mark.parametrize(
    ("seeds", "told"), [(1, "1 seed a method: no"), (3, "3 seeds a method: too"), (10, None)]
)
def test_few_seeds_are_said_to_be_few(seeds: int, told: Any) -> None:
    runs = [record(m, s, 70.0 + s) for m in ("plain", "r3f") for s in range(seeds)]
    cautions = built(*runs).cautions
    assert (cautions == []) if told is None else cautions[0].startswith(told)
    fewer = built(*runs, record("r4f", 0, 70.0)).cautions
    assert fewer[0].startswith("1 seed of some methods" if seeds > 1 else "1 seed a method")


def test_the_notes_say_what_cannot_be_seen_in_the_table() -> None:
    notes = "\n".join(built(*RECORDS).notes)
    assert "best of its validations, a maximum" in notes
    assert "majority baseline (polarity 50.0)" in notes
    assert "1 of 3 of r3f on polarity" in notes
    assert "with 2 seeds it cannot be below 0.5." in notes
    unknown = "\n".join(built(record("plain", 1, 70.0, baseline=None)).notes)
    assert "No one majority baseline is known of polarity" in unknown
    assert "No method shares a seed with plain" in unknown
