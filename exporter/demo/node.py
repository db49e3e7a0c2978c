"""A simulated ExecutionNode: a load, and the reporter that a real node would use."""

from threading import Event
from typing import Final

from redis import Redis

from exporter.demo.clock import Clock
from exporter.demo.load import Load
from exporter.reporter import BEAT, TTL, NodeMetrics, NodeReporter
from exporter.settings import Keys

_STOP: Final = 2.0
"""Seconds that the demo waits for Redis to delete a node's keys."""


class SimulatedNode:
    """Lives under one id, for as many lives as the story gives it.

    Args:
        redis: Where it reports to.
        number: Which node, from 0.
        keys: What the keys' names begin with.
        clock: The demo's time.

    Attributes:
        node_id: Its id.
        beats: Set when it has beaten.
    """

    def __init__(self, redis: "Redis", number: int, keys: Keys, clock: Clock) -> None:
        self.node_id = f"demo-node-{number + 1}"
        self._redis = redis
        self._number = number
        self._keys = keys
        self._clock = clock
        self.beats = Event()
        self._load = Load(number)
        self._reporter: NodeReporter | None = None

    def start(self) -> None:
        """Begin a new life: counters from 0, the first beat at once."""
        load, born = Load(self._number), self._clock.now()

        def measure() -> NodeMetrics:
            self.beats.set()
            return load.at(self._clock.now() - born)

        self._load = load
        self._reporter = NodeReporter(
            self._redis,
            self.node_id,
            measure,
            interval=BEAT / self._clock.speed,
            ttl=TTL / self._clock.speed,
            heartbeat_prefix=self._keys.heartbeat_prefix,
            metrics_prefix=self._keys.metrics_prefix,
        ).start()

    def crash(self) -> None:
        """End at once; both keys stay as they are, and the heartbeat runs out."""
        if self._reporter:
            self._reporter.halt()
            self._reporter = None

    def stop(self) -> None:
        """Stop gracefully: both keys are deleted."""
        if self._reporter:
            self._reporter.stop(_STOP)
            self._reporter = None

    def leave(self) -> None:
        """Leave nothing in Redis, not even what a crash left there."""
        if self._reporter is None:
            self.start()  # which is what deletes it
        self.stop()

    def flood(self) -> None:
        """Let more arrive than the node can work off."""
        self._load.flooded = True

    def calm(self) -> None:
        """Let as much arrive as usual."""
        self._load.flooded = False
