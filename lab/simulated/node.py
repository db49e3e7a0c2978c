"""A simulated node: its beats, its counters, its crash and its graceful stop."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lab.simulated.redis_server import SimulatedRedis
from lab.simulated.timeline import Timeline

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
        portfolios: Number of loaded portfolios, for a node that does not list them.
        stuck: Length of the queue of the first portfolio that the node lists; None if it is like the others.
        sticking: Growth of that queue per second, up to 1,000.
    """

    events: float = 10.0
    backpressure: float = 0.0
    drops: float = 0.0
    queue: float = 15.0
    filling: float = 0.0
    portfolios: int = 3
    stuck: float | None = None
    sticking: float = 0.0


class Node:
    """One node, which may start, end and start again.

    Args:
        name: Id of the node.
        redis: The Redis to which it writes.
        timeline: The simulated time.
        had: Counters at the beginning: events, backpressure, drops.
        loaded: The portfolios that it has loaded at the beginning; None for an older node, which lists none.
    """

    def __init__(
        self,
        name: str,
        redis: SimulatedRedis,
        timeline: Timeline,
        had: tuple[int, int, int] = (0, 0, 0),
        loaded: list[str] | None = None,
    ) -> None:
        self.name = name
        self.load = Load()
        self.period = BEAT
        self.status = "RUNNING"
        self.writes_metrics = True
        self.reaches_redis = True
        self.loaded = loaded
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
            self.loaded = None if self.loaded is None else []
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

    def take(self, portfolio: str) -> None:
        """Load a portfolio, unless the node is down."""
        if self._alive and self.loaded is not None and portfolio not in self.loaded:
            self.loaded.append(portfolio)

    def give_up(self, portfolio: str) -> None:
        """Unload a portfolio."""
        if self._alive and self.loaded and portfolio in self.loaded:
            self.loaded.remove(portfolio)

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
            self._redis.beat(self.name, self._fields() if self.writes_metrics else None, dict(self._states()))
        self._timeline.at(self._timeline.now + self.period, lambda: self._beat(life))

    def _count(self) -> None:
        seconds = self._timeline.now - self._counted
        self._counted = self._timeline.now
        if self._alive:
            self._events += self.load.events * seconds
            self._backpressure += self.load.backpressure * seconds
            self._dropped += self.load.drops * seconds
            self.load.queue = min(self.load.queue + self.load.filling * seconds, 1000.0)
            if self.load.stuck is not None:
                self.load.stuck = min(self.load.stuck + self.load.sticking * seconds, 1000.0)

    def _queues(self) -> Mapping[str, float]:
        queues = dict.fromkeys(self.loaded or (), self.load.queue)
        if queues and self.load.stuck is not None:
            queues[next(iter(queues))] = self.load.stuck
        return queues

    def _states(self) -> Iterator[tuple[str, Mapping[str, str]]]:
        for portfolio, queue in self._queues().items():
            yield portfolio, {"queue_size": str(int(queue)), "position_count": "2", "node_id": self.name}

    def _fields(self) -> dict[str, str]:
        queues = self._queues()
        says = {} if self.loaded is None else {"loaded_portfolio_ids": json.dumps(self.loaded)}
        return {
            "portfolio_count": str(self.load.portfolios if self.loaded is None else len(self.loaded)),
            "queue_size": str(int(sum(queues.values()) / len(queues) if queues else self.load.queue)),
            "cpu_usage": "0.0",
            "memory_usage": "0",
            "total_events": str(int(self._events)),
            "backpressure_count": str(int(self._backpressure)),
            "dropped_events": str(int(self._dropped)),
            "status": self.status,
            **says,
        }
