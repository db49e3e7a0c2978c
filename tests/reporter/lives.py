"""What the tests of reporting nodes share: a node's numbers, and looks at its keys."""

import redis

from exporter.reporter import NodeMetrics
from lab.nodes import FIELDS, heartbeat_key, metrics_key
from lab.servers import wait_for

BUSY = NodeMetrics(**FIELDS | {"loaded_portfolio_ids": ("p1", "p2"), "cpu_usage": None, "memory_usage": None})


def busy() -> NodeMetrics:
    return BUSY


def fields(client: "redis.Redis", node_id: str = "n1") -> dict[bytes, bytes]:
    return client.hgetall(metrics_key(node_id))


def heartbeat(client: "redis.Redis", node_id: str = "n1") -> bytes | None:
    return client.get(heartbeat_key(node_id))


def keys_left(client: "redis.Redis") -> int:
    """Return how many of the two keys of ``n1`` there are."""
    return int(client.exists(heartbeat_key("n1"), metrics_key("n1")))


def wait_for_beats(client: "redis.Redis", number: int = 1) -> None:
    """Wait until the node has beaten a number of times more."""
    for _ in range(number):
        last = heartbeat(client)
        wait_for(lambda last=last: heartbeat(client) not in (None, last), "for the next beat")  # type: ignore[misc]
