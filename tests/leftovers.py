"""Keys that crashed nodes leave in Redis, for the tests of ``forget``."""

import redis

from lab.nodes import beat


def leave(client: "redis.Redis", node_id: str | bytes) -> None:
    """Write the keys of a node that has crashed, with its heartbeat expired."""
    beat(client, node_id, ttl=600)
    name = node_id.encode() if isinstance(node_id, str) else node_id
    client.delete(b"heartbeat:node:" + name)


def hashes(client: "redis.Redis") -> set[bytes]:
    return {key.removeprefix(b"node:metrics:") for key in client.keys("node:metrics:*")}


def restored(client: "redis.Redis", node_id: str, idle: int) -> None:
    """Write a dead node's hash that was last used some seconds ago."""
    leave(client, node_id)
    key = f"node:metrics:{node_id}"
    dump = client.dump(key)
    client.restore(key, 0, dump, replace=True, idletime=idle)
