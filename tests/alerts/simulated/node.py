"""A simulated node: beats, counters, and the ways in which it ends."""

from dataclasses import dataclass

from simulated.redis_server import SimulatedRedis
from simulated.timeline import Timeline

BEAT = 10.1
"""Seconds between two beats: ten, and the loop's own work."""


@dataclass
class Load:
    """What a node has to do.

    Attributes:
        events: Events a second.
        backpressure: How often a second a full queue pushes back.
        drops: Events dropped a second.
        queue: Average queue length.
        filling: By how much the queue grows each second, up to 1,000.
        portfolios: Portfolios loaded.
    """

    events: float = 10.0
    backpressure: float = 0.0
    drops: float = 0.0
    queue: float = 15.0
    filling: float = 0.0
    portfolios: int = 3


class Node:
    """One node's life; its story may start, end and start again.

    Args:
        name: Its id.
        redis: Where it writes.
        timeline: The simulated time.
        had: Counters at the beginning: events, backpressure, drops.
    """

    def __init__(
        self, name: str, redis: SimulatedRedis, timeline: Timeline, had: tuple[int, int, int] = (0, 0, 0)
    ) -> None:
        self.name = name
        self.load = Load()
        self.period = BEAT
        self.status = "RUNNING"
        self.writes_metrics = True
        self.reaches_redis = True
        self._redis, self._timeline = redis, timeline
        self._events, self._backpressure, self._dropped = map(float, had)
        self._life = 0
        self._alive = False
        self._counted = timeline.now

    def start(self, *, fresh: bool = True) -> None:
        """Begin to beat; with ``fresh`` counters start from 0, and what an earlier life left is deleted."""
        if fresh:
            self._redis.delete(self.name)
            self._events = self._backpressure = self._dropped = 0.0
        self._life += 1
        self._alive, self.status = True, "RUNNING"
        self._counted = self._timeline.now
        self._beat(self._life)

    def crash(self) -> None:
        """End without a word."""
        self._alive = False

    def stop(self) -> None:
        """End gracefully: both keys are deleted."""
        self._alive = False
        self._redis.delete(self.name)

    def drop(self, events: int) -> None:
        """Drop events now."""
        self._dropped += events
        self._backpressure += events

    def change_load(self, **changes: float) -> None:
        """Change what it has to do."""
        self._count()
        for field, value in changes.items():
            setattr(self.load, field, value)

    def _beat(self, life: int) -> None:
        if not self._alive or life != self._life:
            return
        self._count()
        if self.reaches_redis:
            self._redis.beat(self.name, self._fields() if self.writes_metrics else None)
        self._timeline.at(self._timeline.now + self.period, lambda: self._beat(life))

    def _count(self) -> None:
        seconds = self._timeline.now - self._counted
        self._counted = self._timeline.now
        if self._alive:
            self._events += self.load.events * seconds
            self._backpressure += self.load.backpressure * seconds
            self._dropped += self.load.drops * seconds
            self.load.queue = min(self.load.queue + self.load.filling * seconds, 1000.0)

    def _fields(self) -> dict[str, str]:
        return {
            "portfolio_count": str(self.load.portfolios),
            "queue_size": str(int(self.load.queue)),
            "cpu_usage": "0.0",
            "memory_usage": "0",
            "total_events": str(int(self._events)),
            "backpressure_count": str(int(self._backpressure)),
            "dropped_events": str(int(self._dropped)),
            "status": self.status,
        }
