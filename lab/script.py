"""The script that anyone writes in ten minutes: a gauge for each field, and one pipeline for each scrape."""

import sys
import time
from collections.abc import Iterator

import redis
from prometheus_client import REGISTRY, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

FIELDS = (
    "portfolio_count",
    "queue_size",
    "cpu_usage",
    "memory_usage",
    "total_events",
    "backpressure_count",
    "dropped_events",
)
CLIENT = redis.Redis(port=int(sys.argv[1]), decode_responses=True)


class Nodes(Collector):
    """Reads the hash and the time to live of each node at every scrape."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the families of all nodes."""
        ids = sorted(key.removeprefix("node:metrics:") for key in CLIENT.scan_iter("node:metrics:*", count=1000))
        pipeline = CLIENT.pipeline(transaction=False)
        for node in ids:
            pipeline.hgetall(f"node:metrics:{node}")
            pipeline.ttl(f"heartbeat:node:{node}")
        replies = pipeline.execute()
        families = {
            name: GaugeMetricFamily(f"ginkgo_node_{name}", name, labels=["node_id"]) for name in ("up", *FIELDS)
        }
        for node, fields, ttl in zip(ids, replies[::2], replies[1::2], strict=True):
            for name, family in families.items():
                family.add_metric([node], float(fields.get(name, ttl > 0)))
        yield from families.values()


if __name__ == "__main__":
    REGISTRY.register(Nodes())
    start_http_server(int(sys.argv[2]), "127.0.0.1")
    while True:
        time.sleep(3600)
