"""Plain exporters of the same series: prometheus_client and redis-py, used as their manuals show.

``python -m lab.plain plain|pipelined REDIS_PORT PORT``
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


class PlainCollector(Collector):
    """Scans for the hashes at every scrape, and reads each node's hash, TTL and heartbeat."""

    def __init__(self, port: int, way: str) -> None:
        self._client: Any = redis.Redis(port=port, decode_responses=True)
        self._at_once = 500 if way == "pipelined" else 1
        if way == "plain":  # `pip install redis` comes without hiredis, which is an extra
            self._client.connection_pool.connection_kwargs["parser_class"] = _RESP2Parser

    def describe(self) -> list[Metric]:
        """Return no family, so that a registry can register the collector without a read of Redis."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the families of all nodes."""
        nodes = list(self._read())
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
                    family.add_metric([node_id], datetime.fromisoformat(beat).timestamp())
                elif metric is STATUS:
                    for status in STATUSES:
                        family.add_metric([node_id, status], fields.get("status") == status)
                else:
                    value = float(fields[str(metric.field)])
                    family.add_metric([node_id], value * metric.multiply / metric.divide)
            yield family

    def _read(self) -> Iterator[tuple[str, dict[str, str], int, str]]:
        """Yield id, hash, TTL and heartbeat of each node."""
        node_ids = [key[len(_PREFIX) :] for key in self._client.scan_iter(f"{_PREFIX}*", count=1000)]
        for start in range(0, len(node_ids), self._at_once):
            some = node_ids[start : start + self._at_once]
            pipeline = self._client.pipeline(transaction=False) if self._at_once > 1 else None
            asked: Any = pipeline or self._client
            replies: list[Any] = []
            for node_id in some:
                heartbeat = f"heartbeat:node:{node_id}"
                replies += asked.hgetall(_PREFIX + node_id), asked.ttl(heartbeat), asked.get(heartbeat)
            found = iter(pipeline.execute() if pipeline else replies)
            yield from zip(some, found, found, found, strict=True)


if __name__ == "__main__":
    registry = CollectorRegistry()
    registry.register(PlainCollector(int(sys.argv[2]), sys.argv[1]))
    start_http_server(int(sys.argv[3]), "127.0.0.1", registry)
    while True:
        time.sleep(3600)
