"""What changed from read to read: events a second, and the nodes whose counters rose lately."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from exporter.snapshot.values import Values

LASTS: Final = 300.0
"""Seconds without a rise after which a burst has ended."""
APART: Final = 60.0
"""Seconds between two reads that are kept for rates: some beats, so that one more or less does not matter much."""


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


Earlier = tuple[float, Mapping[str, bytes | None]]
"""The Unix time of an earlier read, and the events that each node had taken by then, by its id as text."""


class Bursts:
    """Compares the values of one counter from read to read. Only one thread at a time may use it."""

    def __init__(self) -> None:
        self._bursts: Mapping[str, Burst] = {}
        self._names: Sequence[str] = ()
        self._column: Values = ()

    def note(self, names: Sequence[str], column: Values, wall: float) -> Mapping[str, Burst]:
        """Compare a read with the read before, and return the nodes whose counter rose lately.

        Args:
            names: The ids of all nodes as text; the same object as in the read before if they are the same.
            column: The value of each of them.
            wall: Unix time of the read.
        """
        before = self._column
        if names is not self._names:
            before = list(map(dict(zip(self._names, before, strict=True)).get, names))
        bursts = {name: burst for name, burst in self._bursts.items() if wall - burst.last < LASTS}
        for name, old, new in zip(names, before, column, strict=True) if column != before else ():
            if old and new and old != new:
                rise = float(new) - float(old)
                rise = float(new) if rise < 0 else rise  # the node has started anew
                since, _, total = bursts.get(name, (wall, wall, 0))
                bursts[name] = Burst(since, wall, total + round(rise))
        self._names, self._column, self._bursts = names, column, bursts
        return bursts
