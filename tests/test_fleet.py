"""The fleet over a real Redis: what a thousand reads leave behind."""

import gc
import tracemalloc

import redis

from exporter.exposition import Exposition, Format
from exporter.fleet import Fleet
from exporter.settings import load
from nodes import beat
from servers import RedisServer


def test_reads_leave_nothing_in_memory(client: "redis.Redis", shared_redis: RedisServer) -> None:
    for number in range(50):
        beat(client, f"node-{number}", 600, queue_size="abc" if number % 10 == 0 else "5")
    exposition = Exposition()
    with Fleet(load({"redis.url": [shared_redis.url], "heartbeat.ttl": "10m"})) as fleet:

        def read(times: int) -> None:
            for _ in range(times):
                assert len(fleet.read().ids) == 50
                exposition.render(fleet.read(), Format.TEXT)

        read(20)
        tracemalloc.start()
        try:
            read(20)
            gc.collect()
            before, _ = tracemalloc.get_traced_memory()
            read(100)
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    # The texts of the TTLs seen are kept, some 100 bytes each, up to a bound.
    assert after - before < 100 * 50 * 200
