"""What counters rose from earlier reads to this one: events a second, and the drops of the last five minutes."""

from collections import deque
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Final, NamedTuple

from exporter.contract import BACKPRESSURE, DROPPED, EVENTS, Metric

LASTS: Final = 300.0
"""Seconds in which a rise is marked."""
APART: Final = 60.0
"""Seconds between two reads that are kept: some beats, so that one more or less does not matter much for a rate."""
RISING: Final = (EVENTS, DROPPED, BACKPRESSURE)
"""The counters that are compared."""


class Past(NamedTuple):
    """The counters of all nodes at a read.

    Attributes:
        at: Monotonic time of the read.
        names: The nodes' ids as text.
        columns: The values of each node, by the names of the metrics: see ``Column.text``.
    """

    at: float
    names: Sequence[str]
    columns: Mapping[str, bytes]

    def of(self, metric: Metric) -> dict[str, bytes]:
        """Return each node's value of a metric, by its id, as far as it has one."""
        return {
            name: value for name, value in zip(self.names, self.columns[metric.name].splitlines(), strict=True) if value
        }


class History:
    """Keeps reads of the last five minutes: one of each minute, and each that has other nodes than the one before.

    Only one thread at a time may use it.
    """

    def __init__(self) -> None:
        self._past: deque[Past] = deque()
        self._base = Past(0.0, (), {})

    def note(self, now: Past) -> tuple[Past, Past]:
        """Take a read of all nodes.

        Returns:
            The last kept read that is a minute older, or the oldest one; and the oldest known values of the same nodes.
        """
        past, kept = self._past, len(self._past)
        if not past or now.at - past[-1].at >= APART or now.names is not past[-1].names:
            past.append(now)
        while len(past) > 1 and now.at - past[1].at >= LASTS:
            past.popleft()
        if past[-1] is now or len(past) != kept:
            columns = {}
            for metric in (DROPPED, BACKPRESSURE):
                merged = reduce(or_, [each.of(metric) for each in reversed(past)])
                columns[metric.name] = b"".join(merged.get(name, b"") + b"\n" for name in now.names)
            self._base = Past(past[0].at, now.names, columns)
        return next((each for each in reversed(past) if now.at - each.at >= APART), past[0]), self._base


def dropping(base: Past, now: Past) -> tuple[str, ...]:
    """Return the nodes that dropped events since the base of the same nodes."""
    old, new = base.columns[DROPPED.name], now.columns[DROPPED.name]
    nodes = zip(now.names, old.splitlines(), new.splitlines(), strict=True) if old != new else ()
    return tuple(name for name, earlier, later in nodes if earlier != later and earlier and later and later != b"0")


def rise(before: bytes | None, now: bytes | float | None) -> int:
    """Return how much a counter rose; 0 if it is not known twice. A node that has started anew counts from 0."""
    if not before or now is None:
        return 0
    more = float(now) - float(before)
    return round(more if more >= 0 else float(now))
