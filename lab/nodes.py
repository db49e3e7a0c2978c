"""Writes of the platform's ExecutionNodes, a beat and a crash; and readings of what Redis might have held."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import redis

from exporter import contract
from exporter.source.reading import MISSING, NO_EXPIRY, Reading, Server

FIELDS = dict.fromkeys(contract.FIELDS, "1") | {
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


SERVER = Server("run-1", "master")
WALL = 1_767_702_645.0
"""2026-01-06T12:30:45Z."""


@dataclass(frozen=True)
class Pair:
    """The two keys of one node.

    Attributes:
        ttl: Seconds that its heartbeat has left; None if it is missing.
        fields: Its hash; None if it is missing.
        beat: Its heartbeat's value.
    """

    ttl: float | None = None
    fields: Mapping[str, bytes] | None = field(default_factory=dict)
    beat: bytes = b"2026-01-06T12:30:45.123456"

    @property
    def ttl_ms(self) -> int:
        return MISSING if self.ttl is None else round(self.ttl * 1000)


ALIVE = Pair(ttl=30)
CRASHED = Pair()
GONE = Pair(fields=None)
ZOMBIE = Pair(ttl=30, fields=None)
ENDLESS = Pair(ttl=NO_EXPIRY / 1000)


def reading_of(
    pairs: Mapping[bytes, Pair], at: float = 0.0, server: Server = SERVER, names: Sequence[bytes] | None = None
) -> Reading:
    """Return the reading of these nodes, in the order of ``names``."""
    names = tuple(pairs) if names is None else names
    rows = [[(pairs[name].fields or {}).get(wanted) for wanted in contract.FIELDS] for name in names]
    return Reading(
        asked=at,
        at=at,
        wall=WALL + at,
        server=replace(server),  # each reading asks anew
        names=names,
        fields=tuple(zip(*rows, strict=True)) or ((),) * len(contract.FIELDS),
        ttl_ms=[pairs[name].ttl_ms for name in names],
        beats=[None if pairs[name].ttl is None else pairs[name].beat for name in names],
        without_hash=frozenset(i for i, name in enumerate(names) if pairs[name].fields is None),
    )
