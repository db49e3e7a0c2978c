"""A plain exporter of the same series: prometheus_client and redis-py, used as their manuals show.

``python -m lab.bench.plain plain|pipelined REDIS_PORT PORT``
"""

import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import redis
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from redis._parsers import _RESP2Parser

from exporter.contract import HEARTBEAT_TTL, LAST_HEARTBEAT, NUMBERS, STATUS, STATUSES, UP

_PREFIX = "node:metrics:"
_CHUNK = 500

Node = tuple[str, dict[str, str], int, str | None]


class PlainCollector(Collector):
    """Scans for the hashes at every scrape, and reads each node's hash, TTL and heartbeat."""

    def __init__(self, client: "redis.Redis", *, pipelined: bool) -> None:
        self._client = client
        self._pipelined = pipelined

    def describe(self) -> list[Metric]:
        """Return no family, so that a registry can register the collector without a read of Redis."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the families of all nodes."""
        nodes = list(self._read_pipelined() if self._pipelined else self._read())
        for metric in (UP, HEARTBEAT_TTL, LAST_HEARTBEAT, *NUMBERS, STATUS):
            kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            labels = ["node_id", "status"] if metric is STATUS else ["node_id"]
            family: Any = kind(metric.name, metric.help, labels=labels)
            for node_id, fields, ttl, beat in nodes:
                if metric is UP:
                    family.add_metric([node_id], 1 if ttl > 0 else 0)
                elif metric is HEARTBEAT_TTL:
                    family.add_metric([node_id], max(ttl, 0))
                elif metric is LAST_HEARTBEAT:
                    if beat:
                        family.add_metric([node_id], datetime.fromisoformat(beat).timestamp())
                elif metric is STATUS:
                    for status in STATUSES:
                        family.add_metric([node_id, status], fields.get("status") == status)
                elif (value := fields.get(metric.field or "")) is not None:
                    family.add_metric([node_id], float(value) * metric.multiply / metric.divide)
            yield family

    def _read(self) -> Iterator[Node]:
        client: Any = self._client
        for key in client.scan_iter(f"{_PREFIX}*", count=1000):
            node_id = key[len(_PREFIX) :]
            heartbeat = f"heartbeat:node:{node_id}"
            yield node_id, client.hgetall(key), client.ttl(heartbeat), client.get(heartbeat)

    def _read_pipelined(self) -> Iterator[Node]:
        client: Any = self._client
        node_ids = [key[len(_PREFIX) :] for key in client.scan_iter(f"{_PREFIX}*", count=1000)]
        for start in range(0, len(node_ids), _CHUNK):
            pipeline = client.pipeline(transaction=False)
            for node_id in node_ids[start : start + _CHUNK]:
                pipeline.hgetall(_PREFIX + node_id)
                pipeline.ttl(f"heartbeat:node:{node_id}")
                pipeline.get(f"heartbeat:node:{node_id}")
            replies = iter(pipeline.execute())
            yield from zip(node_ids[start : start + _CHUNK], replies, replies, replies, strict=True)


def main(way: str, redis_port: str, port: str) -> None:
    """Serve until the process is killed."""
    client = redis.Redis(port=int(redis_port), decode_responses=True)
    if way == "plain":  # `pip install redis` comes without hiredis, which is an extra
        client.connection_pool.connection_kwargs["parser_class"] = _RESP2Parser
    registry = CollectorRegistry()
    registry.register(PlainCollector(client, pipelined=way == "pipelined"))
    start_http_server(int(port), "127.0.0.1", registry)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main(*sys.argv[1:])
