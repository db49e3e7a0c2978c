"""The last look at nodes that beat, many at a time, and what plan and lists say of dead ones.

All times are monotonic seconds.
"""

import marshal
from collections.abc import Iterator
from typing import Any, NamedTuple

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
    The heartbeats are one object until somebody asks for one: thousands of small ones would slow down each read.

    Attributes:
        names: The nodes.
        elsewhere: Positions of the nodes whose last living heartbeat is in another batch, or that do not beat.
        asked, at, ttl_ms: See ``Reading``.
        first: When the first heartbeat ends, or earlier.
    """

    def __init__(self, ttl: float, reading: Reading) -> None:
        self.names, self._ttl, self.elsewhere = reading.names, ttl, set(range(len(reading.names)))

    def take(self, reading: Reading, least: int) -> None:
        """Replace the last look by this one; no living heartbeat has a lower PTTL than ``least``."""
        self.asked, self.at, self.ttl_ms = reading.asked, reading.at, reading.ttl_ms
        self._beats: Any = marshal.dumps(reading.beats)  # type: ignore[arg-type] # a list
        self.first = self.at + min(least / 1000, self._ttl)

    def beat(self, position: int) -> bytes | None:
        """Return the value of a heartbeat."""
        if isinstance(self._beats, bytes):
            self._beats = marshal.loads(self._beats)  # noqa: S302 - this class wrote it
        return self._beats[position]  # type: ignore[no-any-return]

    def end(self, position: int) -> float:
        """Return when a heartbeat ends. A node whose heartbeat lives longer than a TTL is read again before."""
        return self.at + min(self.ttl_ms[position] / 1000, self._ttl)

    def ending(self, by: float) -> Iterator[Death]:
        """Yield what would be the deaths of the nodes whose heartbeats end by a moment."""
        for position, name in enumerate(self.names) if self.first <= by else ():
            if position not in self.elsewhere and (end := self.end(position)) <= by:
                yield Death(end, end, name)
