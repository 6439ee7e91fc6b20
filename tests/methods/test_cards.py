"""Every method's folder has a card, and all cards have the same headings."""

import re

import pytest

from rxf.methods.registry import Method, folder, methods

HEADINGS = [
    "How to use",
    "Maths",
    "Settings",
    "What to mind",
    "Cost",
    "Differences from the released code",
]


@pytest.mark.parametrize("method", methods(), ids=lambda method: method.name)
def test_a_card_has_the_headings_in_order(method: Method) -> None:
    text = (folder(method) / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == HEADINGS
    for part in re.split(r"^## .*$", text, flags=re.MULTILINE)[1:]:
        assert part.strip(), "a heading without a text"
    number = re.search(r"arXiv [\d.]+\d", method.paper)
    assert number is None or number[0] in " ".join(text.split()), "the paper is not named"
