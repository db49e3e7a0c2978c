"""A simulated node: its beats, its counters, its crash and its graceful stop."""

from dataclasses import dataclass

from simulated.redis_server import SimulatedRedis
from simulated.timeline import Timeline

BEAT = 10.1
"""Seconds between two beats: ten, and the time of the loop's own work."""


@dataclass
class Load:
    """The load of a node.

    Attributes:
        events: Events per second.
        backpressure: Push-backs of full queues per second.
        drops: Dropped events per second.
        queue: Average queue length.
        filling: Growth of the queue per second, up to 1,000.
        portfolios: Number of loaded portfolios.
    """

    events: float = 10.0
    backpressure: float = 0.0
    drops: float = 0.0
    queue: float = 15.0
    filling: float = 0.0
    portfolios: int = 3


class Node:
    """One node, which may start, end and start again.

    Args:
        name: Id of the node.
        redis: The Redis to which it writes.
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
        """Begin to beat; with ``fresh`` the counters start from 0, and the keys of an earlier life are deleted."""
        if fresh:
            self._redis.delete(self.name)
            self._events = self._backpressure = self._dropped = 0.0
        self._life += 1
        self._alive, self.status = True, "RUNNING"
        self._counted = self._timeline.now
        self._beat(self._life)

    def crash(self) -> None:
        """Crash: no key is deleted."""
        self._alive = False

    def stop(self) -> None:
        """Stop gracefully: both keys are deleted."""
        self._alive = False
        self._redis.delete(self.name)

    def drop(self, events: int) -> None:
        """Drop events now."""
        self._dropped += events
        self._backpressure += events

    def change_load(self, **changes: float) -> None:
        """Change the node's load."""
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
