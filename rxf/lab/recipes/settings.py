"""What a table of settings is made of: a value, where it is published, what stands in for it."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Optional

__all__ = ["Setting", "Source", "known", "unknown"]


@dataclass(frozen=True)
class Source:
    """Where values are from.

    Attributes:
        text: what to look for, and where.
        certainty: what is certain about them, in the words of a table.
    """

    text: str
    certainty: str = "read there"


class Setting(NamedTuple):
    """One value of a recipe.

    Attributes:
        published: what the source has; None where it is not known.
        source: a key of the table's sources, or "unknown: " and what is.
        ours: what stands in its place where it is not known.
        note: what a reader should know besides, in a few words.
    """

    published: Any
    source: str
    ours: Any = None
    note: str = ""

    @property
    def is_known(self) -> bool:
        return self.published is not None

    @property
    def value(self) -> Any:
        """What the recipe uses."""
        return self.published if self.is_known else self.ours


def known(value: Any, source: str, note: str = "") -> Setting:
    """A published value; ``source`` is a key of the table's sources."""
    return Setting(value, source, note=note)


def unknown(what: str, ours: Any, note: Optional[str] = None) -> Setting:
    """A value that could not be had, with ours in its place; ``note`` says why this one."""
    return Setting(None, f"unknown: {what}", ours, note or "")
