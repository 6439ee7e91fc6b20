"""The page opened in headless Chromium: nothing in its console, every picture drawn."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest

from rxf.lab.report.command import report as run_report
from tests.lab.report.made_up import record, write_everything, write_run
from tests.lab.report.test_command import arguments

WIDTHS = {"phone": 360, "desktop": 1280}
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HOSTILE = "<script>alert(1)</script>&\"'"


def _chromium() -> Optional[str]:
    named = os.environ.get("RXF_CHROMIUM")
    known = ("chromium", "chromium-browser", "google-chrome")
    return named or next(filter(None, map(shutil.which, known)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = _chromium()
    if path is None:
        pytest.skip("no Chromium here: install it, or name it in RXF_CHROMIUM")
    with playwright.sync_playwright() as driver:
        # launch() makes a new empty profile each time.
        chromium = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs and probes of every kind, one run with markup in its names, one that is broken."""
    root = write_everything(tmp_path_factory.mktemp("page"))
    write_run(root, record("plain", 1, 70.0, task="hostile") | {"method": HOSTILE})
    (root / "broken").mkdir()
    (root / "broken" / "run.json").write_text("{")
    run_report(arguments(root, out=root / "out", format="html"))
    return root / "out" / "report.html"


class Opened:
    """A page, and all that its console and the network were asked for."""

    def __init__(self, browser: Any, path: Path, width: int, scheme: str = "light") -> None:
        self.page = browser.new_page(
            viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
        )
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: self.errors.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())


@pytest.mark.parametrize("name", WIDTHS)
def test_the_page_is_drawn_without_a_word_in_the_console(
    browser: Any, page_file: Path, name: str, tmp_path: Path
) -> None:
    opened = Opened(browser, page_file, WIDTHS[name])
    widths = opened.page.eval_on_selector_all("img", "all => all.map(i => i.naturalWidth)")
    assert len(widths) > 12 and min(widths) > 0
    described = opened.page.eval_on_selector_all("img", "all => all.map(i => i.alt)")
    assert all(len(alt) > 30 for alt in described)
    assert opened.errors == []
    assert not [url for url in opened.requests if not url.startswith(("data:", "file:"))]
    # Only tables scroll sideways, in their own box.
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[name]
    folder = Path(os.environ.get("RXF_SCREENSHOTS", tmp_path))
    shot = folder / f"report-{name}.png"
    opened.page.screenshot(path=shot, full_page=True)
    assert shot.stat().st_size > 50_000


def test_pictures_fill_a_phone_and_stand_side_by_side_on_a_desk(
    browser: Any, page_file: Path
) -> None:
    boxes = {}
    for name, width in WIDTHS.items():
        page = Opened(browser, page_file, width).page
        boxes[name] = [picture.bounding_box() for picture in page.query_selector_all("img")[:2]]
    assert all(box["width"] > 0.85 * WIDTHS["phone"] for box in boxes["phone"])
    first, second = boxes["desktop"]
    assert first["y"] == second["y"] and second["x"] > first["x"]


def _contrast(one: str, other: str) -> float:
    """As WCAG 2 has it, of two colours like ``rgb(1, 2, 3)``."""

    def luminance(colour: str) -> float:
        channels = [int(word) / 255 for word in colour[4:-1].split(",")]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_letters_are_legible(browser: Any, page_file: Path, scheme: str) -> None:
    page = Opened(browser, page_file, WIDTHS["desktop"], scheme).page
    colours = {
        where: page.eval_on_selector(
            where, "e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]"
        )
        for where in ("body", ".warnings", "th", "figcaption")
    }
    paper = colours["body"][1]
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 28)"}[scheme]
    for ink, ground in colours.values():
        assert _contrast(ink, paper if ground.startswith("rgba") else ground) >= 4.5


def test_what_is_printed_is_not_cut_off(browser: Any, page_file: Path) -> None:
    """A4 upright within 1 cm: 718 CSS pixels."""
    opened = Opened(browser, page_file, 718)
    opened.page.emulate_media(media="print")
    wide = opened.page.eval_on_selector_all(
        "table, img", "all => all.filter(e => e.getBoundingClientRect().right > 719).length"
    )
    assert wide == 0
    assert opened.page.eval_on_selector("body", "e => getComputedStyle(e).color") == "rgb(0, 0, 0)"


def test_names_are_shown_as_they_are_written(browser: Any, page_file: Path) -> None:
    opened = Opened(browser, page_file, WIDTHS["desktop"])
    assert HOSTILE in opened.page.inner_text("body")
    assert opened.page.query_selector("script") is None
    assert "broken" in opened.page.inner_text(".warnings")
