"""What the source does not take in, however much Redis holds; and who is told of it."""

from collections.abc import Callable
from typing import Final

Spent = Callable[[str, str], None]
"""Told the name of a budget that was spent, and what was done about it."""

MOST_PAGES: Final = 1_000_000
"""Calls of SCAN in one discovery: a billion keys."""
MOST_SECONDS: Final = 120.0
"""Seconds of one discovery: on a usual network more than 50 million keys."""
LONGEST_NAME: Final = 16 * 2**10
"""Bytes of a node's id: each of its series holds the id."""
NAME_BYTES: Final = 64
"""Bytes of ids for each node that may be exported, on average."""
NAMES: Final = 2
"""Ids for each node that may be exported: the first ones by name are chosen of so many."""


def nobody(_budget: str, _effect: str) -> None:
    """Be told of a budget that was spent, and do nothing."""


class NameBudget:
    """Bounds the ids that one scan finds.

    Args:
        most_nodes: Nodes that may be exported.
    """

    def __init__(self, most_nodes: int) -> None:
        self._names, self._bytes = NAMES * most_nodes, max(2**20, NAME_BYTES * most_nodes)
        self.names: set[bytes] = set()
        self.too_long = 0

    def add(self, name: bytes) -> None:
        """Take in an id unless it is empty or too long."""
        if not name or name in self.names:
            return
        if len(name) > LONGEST_NAME:
            self.too_long += 1
            return
        self._bytes -= len(name)
        self.names.add(name)

    @property
    def spent(self) -> bool:
        """Whether no further ids fit."""
        return len(self.names) >= self._names or self._bytes < 0
