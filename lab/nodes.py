"""Writes of the platform's ExecutionNodes: a beat, a crash."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

import redis

from exporter import contract

FIELDS: dict[str, Any] = dict.fromkeys(contract.FIELDS, "1") | {
    "portfolio_count": "3",
    "queue_size": "15",
    "cpu_usage": "12.5",
    "memory_usage": "512",
    "total_events": "15000",
    "backpressure_count": "5",
    "dropped_events": "2",
    "status": "RUNNING",
    "loaded_portfolio_ids": '["p1", "p2", "p3"]',
}


def _key(prefix: bytes, node_id: str | bytes) -> bytes:
    return prefix + (node_id.encode() if isinstance(node_id, str) else node_id)


heartbeat_key, metrics_key = partial(_key, b"heartbeat:node:"), partial(_key, b"node:metrics:")


def beat(client: "redis.Redis", node_id: str | bytes, ttl: float = 30.0, **fields: Any) -> None:
    """Write both keys as a node does every ten seconds; a field with the value None is left out."""
    client.set(heartbeat_key(node_id), datetime.now(UTC).isoformat(), px=round(ttl * 1000))
    written: dict[Any, Any] = {name: value for name, value in {**FIELDS, **fields}.items() if value is not None}
    client.hset(metrics_key(node_id), mapping=written)


def crash(client: "redis.Redis", node_id: str | bytes) -> None:
    """Crash: the hash stays, and the heartbeat expires at once."""
    client.pexpire(heartbeat_key(node_id), 1)
