"""A simulated ExecutionNode: a simulated load, and the reporter that a real node uses."""

from collections.abc import Sequence
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
    """A node that can start and end several times under the same id.

    Args:
        redis: The Redis that the node reports to.
        number: The node's number, from 0.
        keys: The prefixes of the keys' names.
        clock: The demo's time.

    Attributes:
        number: As above.
        node_id: The node's id.
        beats: Set when the node has beaten.
    """

    def __init__(self, redis: "Redis", number: int, keys: Keys, clock: Clock) -> None:
        self.node_id = f"demo-node-{number + 1}"
        self._redis = redis
        self.number = number
        self._keys = keys
        self._clock = clock
        self.beats = Event()
        self._load = Load(number)
        self._reporter: NodeReporter | None = None

    @property
    def portfolios(self) -> Sequence[str]:
        """The portfolios that the node has loaded; empty while it does not run."""
        return self._load.portfolios if self._reporter else ()

    def load(self, portfolios: Sequence[str]) -> None:
        """Load these portfolios and unload all others. The next beat tells of them."""
        self._load.portfolios = tuple(portfolios)

    def start(self, portfolios: Sequence[str] = ()) -> None:
        """Start the node: its counters begin at 0, and it beats at once.

        Args:
            portfolios: The portfolios that it has loaded from the start.
        """
        load, born = Load(self.number, portfolios), self._clock.now()

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
            portfolio_prefix=self._keys.portfolio_prefix,
        ).start()

    def crash(self) -> None:
        """End at once. Both keys stay, and the heartbeat expires."""
        if self._reporter:
            self._reporter.halt()
            self._reporter = None

    def stop(self) -> None:
        """Stop gracefully. Both keys are deleted."""
        if self._reporter:
            self._reporter.stop(_STOP)
            self._reporter = None

    def leave(self) -> None:
        """Delete all keys of the node, also after a crash."""
        if self._reporter is None:
            self.start()  # the stop of a running reporter deletes the keys
        self.stop()

    def flood(self) -> None:
        """Let more events arrive than the node can process."""
        self._load.flooded = True

    def calm(self) -> None:
        """Let events arrive at the usual rate."""
        self._load.flooded = False
