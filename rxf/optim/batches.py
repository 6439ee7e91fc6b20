"""What is updated together: sorted by how it is treated, in batches of a bounded size."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

__all__ = ["alike"]

Item = TypeVar("Item")

# Elements: bounds what is held a second time for a moment.
_ELEMENTS = 2**24


def alike(
    items: Iterable[Item], key: Callable[[Item], Hashable], size: Callable[[Item], int]
) -> Iterator[list[Item]]:
    """Batches of items with the same key, none of more than some million elements.

    Args:
        items: in an order that each batch keeps.
        key: equal for items that may be in one batch.
        size: how many elements an item counts for; a larger one than a batch may hold is
            alone in its batch.
    """
    groups = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    for group in groups.values():
        batch: list[Item] = []
        elements = 0
        for item in group:
            more = size(item)
            if batch and elements + more > _ELEMENTS:
                yield batch
                batch, elements = [], 0
            batch.append(item)
            elements += more
        yield batch
