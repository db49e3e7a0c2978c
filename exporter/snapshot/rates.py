"""What changed from read to read: events a second, and the nodes that drop events or meet backpressure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from exporter.contract import BACKPRESSURE, DROPPED, EVENTS, HEARTBEAT_TTL, Metric
from exporter.snapshot.values import Values

LASTS: Final = 300.0
"""Seconds without a rise after which a burst has ended."""
_EVERY: Final = 5.0
"""Seconds between two comparisons; a node writes every ten."""
_APART: Final = 20.0
"""Seconds between two reads that are kept for rates."""


class Burst(NamedTuple):
    """A counter of a node that rose lately.

    Attributes:
        since: Unix time of the read that first showed a rise, after ``LASTS`` seconds without one.
        last: Unix time of the read that last showed a rise.
        rise: How much it rose since.
    """

    since: float
    last: float
    rise: int


class Rising(NamedTuple):
    """What rose of one node; None for what did not."""

    dropped: Burst | None = None
    backpressure: Burst | None = None


class Earlier(NamedTuple):
    """What an earlier read found; each column has one item for each node.

    Attributes:
        wall: Unix time of the read.
        names: The nodes as Redis holds their ids.
        events: The events that they took.
        ttls: The seconds left to their heartbeats.
    """

    wall: float
    names: Sequence[bytes]
    events: Values
    ttls: Values

    def by_name(self) -> dict[bytes, tuple[bytes, bytes]]:
        """Return the events and the seconds left of each node that has both."""
        pairs = zip(self.names, zip(self.events, self.ttls, strict=True), strict=True)
        return {name: (events, ttl) for name, (events, ttl) in pairs if events and ttl}


class Rates:
    """Compares the reads of all nodes. Only one thread at a time may use it.

    Attributes:
        rising: The nodes of which something rose lately, as of the last comparison.
        earlier: What a read found that is some ``_APART`` seconds older than the last one; None before there was one.
    """

    def __init__(self) -> None:
        self.rising: Mapping[bytes, Rising] = {}
        self.earlier: Earlier | None = None
        self._at = float("-inf")
        self._names: Sequence[bytes] = ()
        self._columns: tuple[Values, ...] = ((), ())
        self._bursts: tuple[dict[bytes, Burst], dict[bytes, Burst]] = {}, {}
        self._latest: Earlier | None = None

    def note(self, names: Sequence[bytes], column: Callable[[Metric], Values], wall: float) -> None:
        """Compare a read with the reads before.

        Args:
            names: All nodes; the same object as in the read before if they are the same.
            column: Returns the values of all nodes of a metric.
            wall: Unix time of the read.
        """
        if names is self._names and abs(wall - self._at) < _EVERY:
            return
        self._at = wall
        new = column(DROPPED), column(BACKPRESSURE)
        for bursts, before, after in zip(self._bursts, self._columns, new, strict=True):
            for name in [name for name, burst in bursts.items() if wall - burst.last >= LASTS]:
                del bursts[name]
            if names is not self._names:
                known = dict(zip(self._names, before, strict=True))
                before = [known.get(name) for name in names]  # noqa: PLW2901
            if after != before:
                _note_rises(bursts, names, before, after, wall)
        self._names, self._columns = names, new
        dropped, backpressure = self._bursts
        self.rising = {name: Rising(dropped.get(name), backpressure.get(name)) for name in {**dropped, **backpressure}}
        if self._latest is None or abs(wall - self._latest.wall) >= _APART:
            self.earlier = self._latest
            self._latest = Earlier(wall, names, column(EVENTS), column(HEARTBEAT_TTL))
        elif self.earlier is None:
            self.earlier = self._latest


def _note_rises(
    bursts: dict[bytes, Burst], names: Sequence[bytes], before: Values, column: Values, wall: float
) -> None:
    for name, old, new in zip(names, before, column, strict=True):
        if old != new and old is not None and new is not None:
            rise = float(new) - float(old)
            rise = float(new) if rise < 0 else rise  # the node has started anew
            if rise > 0:
                since, _, total = bursts.get(name, (wall, wall, 0))
                bursts[name] = Burst(since, wall, total + round(rise))
