"""What the lab adds to the demo's platform: nodes with random values, and many nodes that beat at once."""

import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final, Self

from redis import Redis

from exporter.contract import EVENTS, GAUGES, LOADED_FIELD, NUMBERS, STATUS_FIELD, STATUSES
from exporter.demo.platform import TTL, Node

COUNTERS: Final = tuple(metric for metric in NUMBERS if metric.kind == "counter")
AT_ONCE: Final = 500
"""Nodes whose beats are sent before the replies are received."""


@dataclass
class RandomNode(Node):
    """A node with a random value in each field but the status, so that a value that is old or mixed up is noticed.

    Attributes:
        dice: Decides the values.
        leaves_out: Fields that it does not write, such as those that older nodes do not know.
        counters: The values of its counters.
    """

    dice: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311 - the same load in each run
    leaves_out: frozenset[str] = frozenset()
    counters: Counter[str] = field(default_factory=Counter)

    def start(self, redis: Redis, now: float) -> None:
        """Start at a moment of the platform's time, counters from 0."""
        self.counters.clear()
        super().start(redis, now)

    def fields(self) -> dict[Any, Any]:
        """Return the fields of its hash."""
        for metric in COUNTERS:
            # Queues push back, and events are dropped, in few beats.
            more = self.dice.randrange(2000) if metric is EVENTS else self.dice.randrange(6) // 5
            self.counters[str(metric.field)] += more
        values: dict[Any, Any] = {metric.field: f"{self.dice.randrange(4_000) / metric.divide:g}" for metric in GAUGES}
        status = STATUSES[round(self.number + self._last / 60) % 3]  # it changes once a minute, as few statuses change
        values |= {**self.counters, STATUS_FIELD: status, LOADED_FIELD: json.dumps(self.loaded)}
        if LOADED_FIELD not in self.leaves_out:
            values["portfolio_count"] = len(self.loaded)
        return {name: value for name, value in values.items() if name not in self.leaves_out}


class ManyNodes:
    """Nodes that beat at once.

    Args:
        port: Redis's port.
        count: Number of nodes.
        portfolios: Portfolios that the plan gives to each of them, which it has loaded. Without any there is no plan.
        ttl: Seconds that a heartbeat lives.

    Attributes:
        names: Their ids.
    """

    def __init__(self, port: int, count: int, portfolios: int = 0, ttl: float = TTL) -> None:
        self._client, dice = Redis(port=port), random.Random(count)  # noqa: S311 - the same load in each run
        self._nodes = [
            RandomNode(
                f"execution-node-{number:06}",
                number,
                ttl=ttl,
                loaded=tuple(f"portfolio-{number:05}-{each}" for each in range(portfolios)),
                dice=dice,
                leaves_out=frozenset() if portfolios else frozenset({LOADED_FIELD}),
            )
            for number in range(count)
        ]
        self.names = [node.node_id.encode() for node in self._nodes]
        if portfolios:
            plan: dict[Any, Any] = {portfolio: node.node_id for node in self._nodes for portfolio in node.loaded}
            self._client.hset("schedule:plan", mapping=plan)
        self.beat()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def beat(self) -> None:
        """Let all nodes beat, and wait until Redis has it."""
        now = time.monotonic()
        for start in range(0, len(self._nodes), AT_ONCE):
            pipeline = self._client.pipeline(transaction=False)
            for node in self._nodes[start : start + AT_ONCE]:
                node.beat(pipeline, now)
            pipeline.execute()
