"""The pages that the tests of the documentation read."""

import functools
from pathlib import Path

from docs import generated, tree
from tests.support import REPO

__all__ = ["PAGES", "text"]


@functools.cache
def _written() -> tuple[str, ...]:
    """Paths from the root of every page that lies in the repo."""
    folders = ("docs", "rxf", "examples", "benchmarks")
    found = [path for folder in folders for path in (REPO / folder).rglob("*.md")]
    found += REPO.glob("*.md")
    names = (path.relative_to(REPO) for path in found)
    return tuple(sorted(str(name) for name in names if not _is_built(name)))


def _is_built(name: Path) -> bool:
    return any(part.startswith(("_", ".")) for part in name.parts)


PAGES = (*_written(), *generated.PAGES)


def text(page: str) -> str:
    """Of a page of :data:`PAGES`, generated ones included."""
    return tree.read(page) or ""
