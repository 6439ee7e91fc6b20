"""Statistics against figures worked out by hand; tables, files and the picture."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rxf.lab.quickstart import picture, report

BASELINE = 50.0


def record(method: str, seed: int, best: Any, pace: Any = 0.02, **more: Any) -> dict[str, Any]:
    status = "failed" if "error" in more else "finished"
    return {
        "task": "polarity",
        "metric": "accuracy",
        "method": method,
        "seed": seed,
        "best": best,
        "last": best,
        "status": status,
        "error": None,
        "seconds_per_update": pace,
        "wall_seconds": 3.0,
        **more,
    }


RECORDS = [
    record("plain", 1, 80.0, 0.010),
    record("plain", 2, 84.0, 0.030),
    record("plain", 3, 50.0, 0.020),
    record("plain", 4, 70.0, 0.040),
    record("r3f", 1, 90.0),
    record("r3f", 2, None, None, error="ValueError: no"),
    record("r3f", 3, 86.0),
]


def test_statistics_by_hand() -> None:
    plain, r3f = report.summarise(RECORDS, BASELINE)
    # 50, 70, 80, 84: median 75; mean 71, squares 441 + 1 + 81 + 169 = 692, over 3 = 230.667.
    assert (plain.method, plain.n, plain.median, plain.maximum) == ("plain", 4, 75.0, 84.0)
    assert plain.sd == pytest.approx(15.18772, abs=1e-5)
    assert plain.failed == 1
    assert plain.seconds_per_update == pytest.approx(0.025)
    # 90 and 86; the run with an error is in n and among the failed only.
    assert (r3f.n, r3f.median, r3f.maximum, r3f.failed) == (3, 88.0, 90.0, 1)
    assert r3f.sd == pytest.approx(8**0.5)


def test_one_seed_has_no_deviation_and_no_value_no_figures() -> None:
    (one,) = report.summarise([record("plain", 1, 80.0)], BASELINE)
    assert (one.median, one.maximum, one.sd) == (80.0, 80.0, None)
    (none,) = report.summarise([record("plain", 1, None, None, error="x")], BASELINE)
    assert (none.median, none.maximum, none.sd, none.seconds_per_update) == (None,) * 4
    assert none.failed == none.n == 1


@pytest.mark.parametrize(
    ("best", "failed"), [(50.0, True), (49.0, True), (50.004, True), (50.1, False)]
)
def test_a_run_at_or_below_the_baseline_has_failed(best: float, failed: bool) -> None:
    assert report.has_failed(record("plain", 1, best), BASELINE) is failed


def test_a_run_that_stopped_late_has_failed_however_good() -> None:
    assert report.has_failed(record("plain", 1, 90.0, error="killed"), BASELINE)


def test_tables_show_the_figures() -> None:
    summaries = report.summarise(RECORDS, BASELINE)
    lines = report.terminal(summaries).splitlines()
    assert lines[2].split() == ["plain", "4", "75.0", "84.0", "15.19", "1", "of", "4", "0.025"]
    assert len({len(line) for line in lines}) == 1
    assert "| r3f | 3 | 88.0 | 90.0 | 2.83 | 1 of 3 | 0.020 |" in report.markdown(summaries)
    assert "3 seeds" in report.caution(summaries)


def test_files(tmp_path: Path) -> None:
    summaries = report.summarise(RECORDS, BASELINE)
    report.write_files(tmp_path, RECORDS, summaries, {"baseline": BASELINE}, "a note")
    everything = json.loads((tmp_path / "results.json").read_text())
    assert everything["summary"][0]["median"] == 75.0
    assert len(everything["runs"]) == len(RECORDS)
    with (tmp_path / "results.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [row["failed"] for row in rows] == [str(i in (2, 5)) for i in range(len(rows))]
    assert rows[5]["error"] == "ValueError: no"
    assert (tmp_path / "results.md").read_text().endswith("a note\n")


def test_picture(tmp_path: Path) -> None:
    summaries = report.summarise(RECORDS, BASELINE)
    path = tmp_path / "results.png"
    picture.draw(path, RECORDS, summaries, BASELINE, "polarity", "accuracy")
    with Image.open(path) as image:
        assert image.width > 900 and image.height > 400
        colours = {colour for _, colour in image.convert("RGB").getcolors(10**7) or []}
    # The colours of both methods, and of the run that failed.
    assert {(0, 114, 178), (230, 159, 0), (213, 94, 0)} <= colours
