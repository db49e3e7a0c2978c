"""Events per second of each node, from what it wrote with two different beats."""

from dataclasses import dataclass, replace
from typing import Final

from exporter.commands.sight import Sight
from exporter.snapshot.rows import Row

_SAME_BEAT: Final = 1 / 30
"""Share of the TTL by which two reckonings of one beat's time may differ."""
_SETTLED: Final = 1 / 60
"""Share of the TTL after a beat within which its hash may not be written yet."""


@dataclass(frozen=True, slots=True)
class _Written:
    at: float
    events: float
    rate: float | None = None


class Rates:
    """Compares each node's last two beats. For one thread.

    A node writes its counters every ten seconds, so two reads a second apart
    mostly see the same numbers. The rate is therefore the events between two
    beats over the time between them; there is none before a node's second beat,
    and none over a restart.

    Args:
        ttl: Seconds that a heartbeat lives.
    """

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._last: dict[str, _Written] = {}

    def add(self, sight: Sight) -> Sight:
        """Return what was seen, with ``events_per_second`` in each row; None where it is not known."""
        last, self._last = self._last, {}
        rows = []
        for row in sight.rows:
            written = self._written(row, last.get(row["node_id"]), sight.wall)
            if written:
                self._last[row["node_id"]] = written
            rows.append(row | {"events_per_second": written.rate if written else None})
        return replace(sight, rows=rows)

    def _written(self, row: Row, before: _Written | None, wall: float) -> _Written | None:
        age, events = row["heartbeat_age_seconds"], row["events"]
        if row["state"] != "online" or age is None or events is None:
            return None
        at = wall - age
        if before is None:
            return _Written(at, events)
        if at - before.at < self._ttl * _SAME_BEAT or age < self._ttl * _SETTLED:
            return before
        rate = (events - before.events) / (at - before.at) if events >= before.events else None
        return _Written(at, events, rate)
