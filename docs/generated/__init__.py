"""Pages that the build makes from the code itself, so that they cannot be out of date."""

import functools
import importlib
from collections.abc import Callable, Mapping

__all__ = ["PAGES"]


@functools.cache
def _made(name: str) -> str:
    page: str = importlib.import_module(f"docs.generated.{name}").page()
    return page


def _maker(name: str) -> Callable[[], str]:
    return functools.partial(_made, name)


# Path of each from the repo's root -> what makes its text; that imports torch.
PAGES: Mapping[str, Callable[[], str]] = {
    f"docs/{name}.md": _maker(name) for name in ("methods", "flags", "commands", "fixes")
}
