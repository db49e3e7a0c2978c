"""The last look at nodes that beat, many at a time, and what plan and lists say of dead ones.

All times are monotonic seconds.
"""

from collections.abc import Iterator
from typing import NamedTuple

from exporter.liveness.mass_loss import Death
from exporter.source.reading import Reading


class Leftovers(NamedTuple):
    """What the plan and the loaded lists say of dead nodes.

    Attributes:
        needed: Nodes that must not be forgotten: the plan gives them a portfolio, or one that they list is untraded.
        rehomed: Nodes whose work has moved.
    """

    needed: frozenset[bytes] = frozenset()
    rehomed: frozenset[bytes] = frozenset()


class Batch:
    """The last look at some nodes that are read together.

    A new look at the same nodes replaces the old one as a whole, so that a look at living nodes costs nothing for each.

    Attributes:
        names: The nodes.
        elsewhere: Positions of the nodes whose last living heartbeat is in another batch, or that do not beat.
        asked, at, ttl_ms, beats: See ``Reading``.
        first: When the first heartbeat ends, or earlier.
    """

    def __init__(self, ttl: float, reading: Reading) -> None:
        self.names, self._ttl = reading.names, ttl
        self.elsewhere = set(range(len(self.names)))

    def take(self, reading: Reading, least: int) -> None:
        """Replace the last look by this one; no living heartbeat has a lower PTTL than ``least``."""
        self.asked, self.at, self.ttl_ms, self.beats = reading.asked, reading.at, reading.ttl_ms, reading.beats
        self.first = self.at + min(least / 1000, self._ttl)

    def end(self, position: int) -> float:
        """Return when a heartbeat ends. A node whose heartbeat lives longer than a TTL is read again before."""
        return self.at + min(self.ttl_ms[position] / 1000, self._ttl)

    def ending(self, by: float) -> Iterator[Death]:
        """Yield what would be the deaths of the nodes whose heartbeats end by a moment."""
        for position, name in enumerate(self.names) if self.first <= by else ():
            if position not in self.elsewhere and (end := self.end(position)) <= by:
                yield Death(end, end, name)
