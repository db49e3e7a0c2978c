"""Events per second of each node, from the counters of two different beats."""

from dataclasses import dataclass, replace
from typing import Final

from exporter.commands.listing import Listing
from exporter.snapshot.rows import Row

_SAME_BEAT: Final = 1 / 30
"""Share of the TTL by which two calculations of the same beat's time may differ."""
_SETTLED: Final = 1 / 60
"""Share of the TTL after a beat within which its hash may not be written yet."""


@dataclass(frozen=True, slots=True)
class _Beat:
    at: float
    events: float
    rate: float | None = None


class Rates:
    """Compares each node's last two beats. For one thread.

    A node writes its counters every ten seconds, so two reads a second apart mostly see the same
    numbers. The rate is therefore the events between two beats divided by the time between these beats.
    The rate is unknown before a node's second beat, and after a restart until the second beat.

    Args:
        ttl: Seconds that a heartbeat lives.
    """

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._last: dict[str, _Beat] = {}

    def add(self, listing: Listing) -> Listing:
        """Return the listing with ``events_per_second`` in each row; None if it is unknown."""
        last, self._last = self._last, {}
        rows = []
        for row in listing.rows:
            beat = self._last_beat(row, last.get(row["node_id"]), listing.wall)
            if beat:
                self._last[row["node_id"]] = beat
            rows.append(row | {"events_per_second": beat.rate if beat else None})
        return replace(listing, rows=rows)

    def _last_beat(self, row: Row, before: _Beat | None, wall: float) -> _Beat | None:
        age, events = row["heartbeat_age_seconds"], row["events"]
        if row["state"] != "online" or age is None or events is None:
            return None
        at = wall - age
        if before is None:
            return _Beat(at, events)
        if at - before.at < self._ttl * _SAME_BEAT or age < self._ttl * _SETTLED:
            return before
        rate = (events - before.events) / (at - before.at) if events >= before.events else None
        return _Beat(at, events, rate)
