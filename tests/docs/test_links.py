"""Every link of every page leads somewhere: file and heading here, an address elsewhere."""

from typing import Optional
from urllib.parse import urlsplit

import pytest

from docs import generated, tree
from docs.markdown import anchors, code_blocks, code_spans, links
from tests.docs.pages import PAGES, text
from tests.support import REPO


def broken(page: str, link: str) -> Optional[str]:
    """What is wrong with a link; other sites are not asked, the address is only read."""
    path = tree.target(page, link)
    if path is None:
        address = urlsplit(link)
        whole = address.scheme in ("https", "mailto") and (address.netloc or address.path)
        return None if whole else "no whole address by https"
    if path.startswith("../"):
        return "leads out of the repo"
    if path not in PAGES and not (REPO / path).exists():
        return "there is no such file"
    heading = link.partition("#")[2]
    if heading and heading not in anchors(text(path)):
        return f"{path} has no heading #{heading}"
    return None


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    wrong = [f"{link}: {said}" for link in links(text(page)) if (said := broken(page, link))]
    assert not wrong, f"{page}:\n" + "\n".join(wrong)


def test_a_wrong_link_is_seen() -> None:
    for link, said in (
        ("instal.md", "no such file"),
        ("../../shared", "out of the repo"),
        ("install.md#what-the-weel-changes", "no heading"),
        ("#nothing", "no heading"),
        ("http://example.org", "https"),
        ("https://", "https"),
    ):
        assert said in (broken("docs/index.md", link) or ""), link
    assert broken("docs/index.md", "install.md#what-the-wheel-changes") is None
    assert broken("README.md", "docs/flags.md") is None, "it is generated"


def test_every_page_can_be_reached() -> None:
    """From docs/index.md; the README stands before it."""
    found = tree.chapters()
    lost = sorted(set(PAGES) - set(found) - {"README.md"})
    assert not lost, f"no page links to {', '.join(lost)}"
    assert set(generated.PAGES) <= set(found)


def test_what_is_read_off_a_page() -> None:
    page = (
        "# A `b` c\n\n[one](x.md#y) and ![two](z.png) `[no](no.md)` [three\nlines](w.md)\n\n"
        "## A\n\n## A\n\n```bash\n# [no](no.md)\nrun `this`\n```\n\n    indented [no](no.md)\n\n"
        "Text `of\ntwo` <!-- [no](no.md) -->\n\n* item\n\n  ```python\n  pass\n  ```\n"
    )
    assert links(page) == ["x.md#y", "z.png", "w.md"]
    assert anchors(page) == {"a-b-c", "a", "a-1"}
    assert [(code.language, code.text) for code in code_blocks(page)] == [
        ("bash", "# [no](no.md)\nrun `this`"),
        ("", "indented [no](no.md)"),
        ("python", "pass"),
    ]
    assert code_spans(page) == ["b", "[no](no.md)", "of two"]


def test_a_page_is_a_chapter_of_the_first_that_names_it() -> None:
    pages = {
        "docs/index.md": "[b](b.md) [a](../a/README.md) [gone](gone.md) [web](https://x.org/y.md)",
        "docs/b.md": "[a](../a/README.md) [c](c.md)",
        "a/README.md": "[index](../docs/index.md)",
        "docs/c.md": "",
    }
    assert tree.chapters(text_of=pages.get) == {
        "docs/index.md": ["docs/b.md", "a/README.md"],
        "docs/b.md": ["docs/c.md"],
        "a/README.md": [],
        "docs/c.md": [],
    }
