"""The simulated installation: nodes, a scheduler, a Redis, exporters, and the Prometheus that scrapes them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from lab.simulated.node import Node
from lab.simulated.prometheus import Target
from lab.simulated.redis_server import SimulatedRedis
from lab.simulated.scheduler import Scheduler
from lab.simulated.simulated_exporter import SimulatedExporter
from lab.simulated.timeline import Timeline
from lab.simulated.worker import Worker

WARM_UP = 120.0
"""Seconds for which nodes and exporters run before the first scrape."""
OLD = 12_000, 40, 7
"""Counters of a node that has run for a while: events, backpressure, drops."""


@dataclass
class Scraped:
    """An exporter and its target in Prometheus.

    Attributes:
        exporter: The simulated process.
        target: The target that is scraped now.
        found: Whether service discovery finds the target.
    """

    exporter: SimulatedExporter
    target: Target
    found: bool = True


class World:
    """One run of an installation.

    Args:
        nodes: Number of nodes at the beginning: n1, n2, …
        exporters: Names of the exporters: the host part of ``instance``.
        interval: Seconds between two scrapes.
        labels: Labels that Prometheus adds to all series, beside ``job`` and ``instance``.
        portfolios: Number of portfolios, p1, p2, …, spread over the nodes. Without any there is no scheduler, and the
            nodes do not say what they have loaded.
        settings: Settings of the exporters; see ``SimulatedExporter``.
    """

    def __init__(
        self,
        nodes: int,
        exporters: tuple[str, ...],
        interval: float,
        labels: Mapping[str, str],
        *,
        portfolios: int = 0,
        **settings: Any,
    ) -> None:
        self._labels, self._settings = labels, settings
        self.timeline = Timeline(-WARM_UP)
        self.redis = SimulatedRedis(lambda: self.timeline.now)
        self.prometheus_away = False
        self.nodes: dict[str, Node] = {}
        self._says = portfolios > 0
        for number in range(1, nodes + 1):
            loaded = [f"p{each}" for each in range(number, portfolios + 1, nodes)] if self._says else None
            node = self.nodes[f"n{number}"] = Node(f"n{number}", self.redis, self.timeline, OLD, loaded)
            # Beats are spread over the period, as if the nodes had started at different times.
            first = -WARM_UP + number * 3.7 % 10
            self.timeline.at(first, partial(node.start, fresh=False))
        self.workers: dict[str, Worker] = {}
        self.schedulers: list[Scheduler] = []
        if self._says:
            self.redis.platform.plan = {
                portfolio: name for name, node in self.nodes.items() for portfolio in node.loaded or ()
            }
            self.add_scheduler()
            for key in ("heartbeat:task_timer:t1", "heartbeat:data_worker:d1", "heartbeat:data_worker:d2"):
                self.worker(key).start()
        self.exporters: dict[str, Scraped] = {}
        self._past: list[Target] = []
        self._scrapes = 0
        for name in exporters:
            self._add(name)
        self.timeline.every(interval, 0.0, self._scrape, last=True)

    def node(self, name: str) -> Node:
        """Return the node of a name; it is created if the name is new."""
        loaded: list[str] | None = [] if self._says else None
        return self.nodes.setdefault(name, Node(name, self.redis, self.timeline, loaded=loaded))

    def add_scheduler(self) -> None:
        """Start one more scheduler."""
        seed = len(self.schedulers) + 1
        self.schedulers.append(Scheduler(self.redis, self.timeline, self.nodes.get, seed))

    def worker(self, key: str) -> Worker:
        """Return the worker that writes a key; it is created if the key is new."""
        return self.workers.setdefault(key, Worker(key, self.redis, self.timeline))

    def move(self, name: str, to: str) -> None:
        """Let an exporter start again with another ``instance``; its old target is gone."""
        scraped = self.exporters.pop(name)
        scraped.exporter.running = False
        self._past.append(scraped.target)
        self._add(to)

    def run(self, until: float) -> list[dict[str, str]]:
        """Run the installation, and return the samples that Prometheus stored."""
        self.timeline.run(until)
        targets = [*self._past, *(scraped.target for scraped in self.exporters.values())]
        return [series for target in targets for series in target.series()]

    def _add(self, name: str) -> None:
        target = Target({**self._labels, "instance": f"{name}:19121"})
        for _ in range(self._scrapes):
            target.unscraped()
        self.exporters[name] = Scraped(SimulatedExporter(self.redis, self.timeline, **self._settings), target)

    def _scrape(self) -> None:
        self._scrapes += 1
        for target in self._past:
            target.vanished()
        for scraped in self.exporters.values():
            if self.prometheus_away:
                scraped.target.unscraped()
            elif scraped.found:
                scraped.target.scraped(scraped.exporter.scrape())
            else:
                scraped.target.vanished()


Deed = Callable[[World], None]
"""An event in a world."""
