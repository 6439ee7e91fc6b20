"""What the build and the tests read off a page: links, anchors, code.

Pages are plain Markdown, as GitHub shows it: headings with `#`, fences of three backticks,
inline links. Nothing more is understood here.
"""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

__all__ = ["Code", "anchors", "code_blocks", "code_spans", "links", "prose", "slug"]

FENCE = re.compile(r"^ *(```+)\s*(\w*)[^`]*$")
HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*$")
# A link's text may hold a picture.
LINK = re.compile(r"!?\[(?:[^\[\]]|!\[[^\]]*\]\([^()]*\))*\]\(\s*<?([^()\s>]+)>?\s*\)")
LINK_TEXT = re.compile(r"\[([^\]]*)\]\([^()]*\)")
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


class Code(NamedTuple):
    """A block of code.

    Attributes:
        language: the word behind the fence; empty for an indented block or a fence without.
        line: number of its first line in the page, from 1.
        text: its lines, without the indentation that they share.
    """

    language: str
    line: int
    text: str


def code_blocks(text: str) -> list[Code]:
    """Fenced blocks, and indented ones behind an empty line, in their order."""
    kinds = list(_kinds(text))
    lines = text.splitlines()
    found = []
    for (kind, language), group in groupby(range(len(lines)), key=lambda index: kinds[index]):
        rows = list(group)
        if kind == "code":
            shown = _dedented([lines[index] for index in rows])
            found.append(Code(language, rows[0] + 1, shown))
    return found


def prose(text: str) -> str:
    """The page without its blocks of code and its comments; lines keep their numbers."""
    pairs = zip(text.splitlines(), _kinds(text), strict=True)
    kept = "\n".join(line if kind == "prose" else "" for line, (kind, _) in pairs)
    return COMMENT.sub(lambda found: "\n" * found[0].count("\n"), kept)


def code_spans(text: str) -> list[str]:
    """What stands between single backticks outside of blocks; broken lines are joined."""
    return [" ".join(span.split()) for span in SPAN.findall(prose(text))]


def links(text: str) -> list[str]:
    """Targets of inline links and pictures outside of code, in their order."""
    return LINK.findall(SPAN.sub(lambda found: "`" * len(found[0]), prose(text)))


def anchors(text: str) -> set[str]:
    """What may stand behind the `#` of a link to the page: an anchor for each heading."""
    seen: Counter[str] = Counter()
    found = set()
    for line in prose(text).splitlines():
        heading = HEADING.match(line)
        if heading:
            name = slug(heading[2])
            found.add(f"{name}-{seen[name]}" if seen[name] else name)
            seen[name] += 1
    return found


def slug(title: str) -> str:
    """GitHub's anchor of the first heading with this title."""
    shown = LINK_TEXT.sub(r"\1", title).replace("`", "")
    return re.sub(r"[^\w\- ]", "", shown.strip().lower()).replace(" ", "-")


def _kinds(text: str) -> Iterator[tuple[str, str]]:
    """(prose, fence or code; the code's language) of each line."""
    fence = language = ""
    before = "empty"
    for line in text.splitlines():
        mark = FENCE.match(line)
        if fence:
            closes = bool(mark) and mark[1].startswith(fence) and not mark[2]  # type: ignore[index]
            fence = "" if closes else fence
            before = "fence" if closes else "code"
        elif mark:
            fence, language, before = mark[1], mark[2], "fence"
        elif line.startswith("    ") and line.strip() and before in ("empty", "indented"):
            language, before = "", "indented"
        else:
            before = "prose" if line.strip() else "empty"
        kind = {"indented": "code", "empty": "prose"}.get(before, before)
        yield kind, language if kind == "code" else ""


def _dedented(rows: list[str]) -> str:
    depth = min((len(row) - len(row.lstrip()) for row in rows if row.strip()), default=0)
    return "\n".join(row[depth:] for row in rows)
