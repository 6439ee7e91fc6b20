"""The tree of pages that Sphinx reads, made anew by each build.

    python -m docs.tree FOLDER

A page keeps its place: the card of R3F is FOLDER/rxf/methods/r3f/README.md. So a relative link
means the same on GitHub, in an editor and in the build, and a card has one source. Which pages
there are follows from their links, beginning at docs/index.md: what a page links to first
becomes its chapter, and files of other kinds come along.
"""

import posixpath
import shutil
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Optional
from urllib.parse import unquote

from docs import generated
from docs.markdown import links

__all__ = ["ROOT", "START", "Read", "chapters", "read", "target", "write"]

ROOT = Path(__file__).resolve().parents[1]
START = "docs/index.md"

# The text of a page by its path from ROOT; None where there is no such file.
Read = Callable[[str], Optional[str]]


def read(page: str) -> Optional[str]:
    """The text of a page of the checkout, or of one that is generated."""
    if page in generated.PAGES:
        return generated.PAGES[page]()
    path = ROOT / page
    return path.read_text(encoding="utf-8") if path.is_file() else None


def target(page: str, link: str) -> Optional[str]:
    """The path from :data:`ROOT` that a link of ``page`` leads to; None for another site's.

    A link to a heading of the same page leads to the page.
    """
    path = unquote(link.partition("#")[0])
    if "://" in link or link.startswith("mailto:"):
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page


def chapters(start: str = START, text_of: Read = read) -> dict[str, list[str]]:
    """Every page that can be reached from ``start`` -> the pages that it is the first to name.

    A page that is not there is left out, and the link to it left to Sphinx to complain of.
    """
    found: dict[str, list[str]] = {start: []}
    waiting = deque([start])
    while waiting:
        page = waiting.popleft()
        for named in _linked(page, text_of):
            if named.endswith(".md") and named not in found and text_of(named) is not None:
                found[named] = []
                found[page].append(named)
                waiting.append(named)
    return found


def _linked(page: str, text_of: Read) -> list[str]:
    named = [target(page, link) for link in links(text_of(page) or "")]
    # What lies outside of the repo is none of its pages; Sphinx says so.
    return [path for path in named if path is not None and not path.startswith("../")]


def write(folder: Path) -> None:
    """Write the pages, each with its chapters, and what else they link to, to ``folder``.

    Raises:
        SystemExit: the folder holds something else than the pages of an earlier build.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / START).is_file():
        raise SystemExit(f"docs: {folder} is not empty and holds no earlier build: name another")
    shutil.rmtree(folder, ignore_errors=True)
    texts = {page: read(page) or "" for page in chapters(text_of=read)}
    for page, below in chapters(text_of=texts.get).items():
        _put(folder / page, texts[page] + _contents(below))
        for path in set(_linked(page, texts.get)) - set(texts):
            if (ROOT / path).is_file():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / path, folder / path)


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _contents(pages: list[str]) -> str:
    """What makes these the chapters of a page, in MyST's words, unseen on the page itself."""
    if not pages:
        return ""
    names = "\n".join("/" + page.removesuffix(".md") for page in pages)
    return f"\n\n```{{toctree}}\n:hidden:\n:maxdepth: 1\n\n{names}\n```\n"


if __name__ == "__main__":
    write(Path(sys.argv[1]))
