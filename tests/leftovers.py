"""What crashed nodes leave in Redis, for the tests of ``forget``."""

import redis

from nodes import beat


def leave(client: "redis.Redis", node_id: str | bytes) -> None:
    """Leave what a crashed node leaves, at once."""
    beat(client, node_id, ttl=600)
    name = node_id.encode() if isinstance(node_id, str) else node_id
    client.delete(b"heartbeat:node:" + name)


def hashes(client: "redis.Redis") -> set[bytes]:
    return {key.removeprefix(b"node:metrics:") for key in client.keys("node:metrics:*")}


def restored(client: "redis.Redis", node_id: str, idle: int) -> None:
    """Leave a dead node's hash that nobody used for some seconds."""
    leave(client, node_id)
    key = f"node:metrics:{node_id}"
    dump = client.dump(key)
    client.restore(key, 0, dump, replace=True, idletime=idle)
