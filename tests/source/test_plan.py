"""The scheduler's plan, and how long ago the scheduler looked at it: never at the cost of a cluster."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from opened import Open
from redis.crc import key_slot

from exporter.errors import SourceError
from exporter.source import Source
from exporter.source.connection import MOST_BYTES
from exporter.source.plan import IdleTime
from exporter.source.reading import Server
from lab.nodes import beat
from lab.servers import RedisServer, free_port, running_exporter, wait_for

KEY = "schedule:plan"
PLAN = {b"p1": b"a", b"p2": b"b", b"p3": b"__ORPHANED__"}


@pytest.fixture
def platform(redis_server: RedisServer) -> Iterator["redis.Redis"]:
    """A client of the same server, as the platform has it."""
    with redis_server.client() as client:
        yield client


@pytest.fixture
def source(redis_server: RedisServer, opened: Open) -> Source:
    return opened(redis_server.url)


def plan(source: Source) -> dict[bytes, bytes]:
    return dict(source.plan(time.monotonic() + 5).plan)


def idle(source: Source) -> float | None:
    """Read nodes and plan, as a scrape does."""
    source.reader().read((), time.monotonic() + 5)
    return source.plan(time.monotonic() + 5).idle


def test_plan_is_what_the_hash_holds(source: Source, platform: "redis.Redis") -> None:
    odd = {b"\r\n$5\r\n": b"\xff", b"": b"", b"+OK\r\n": b"*0\r\n"}
    big = {b"%032d" % n: b"n%d" % (n % 7) for n in range(100_000)}
    assert plan(source) == {}
    for content in (PLAN, big, odd):
        platform.delete(KEY)
        items = list(content.items())
        for start in range(0, len(items), 10_000):
            platform.hset(KEY, mapping=dict(items[start : start + 10_000]))
        assert plan(source) == content
    first = source.plan(time.monotonic() + 5).plan
    platform.delete(KEY)
    platform.hset(KEY, mapping=dict(reversed(odd.items())))
    assert source.plan(time.monotonic() + 5).plan is first, "the same plan, written anew"
    platform.delete(KEY)
    assert source.plan(time.monotonic() + 5) == ({}, None)


def test_plan_that_is_too_large_or_no_hash_costs_the_ledger_and_not_the_scrape(
    platform: "redis.Redis", source: Source
) -> None:
    platform.hset(KEY, mapping={b"p%d" % number: b"x" * 1_000_000 for number in range(MOST_BYTES // 1_000_000 + 1)})
    for _ in range(2):
        with pytest.raises(SourceError, match="larger than 8 MiB"):
            plan(source)
    assert source.reader().read((), time.monotonic() + 5).server.role == "master"
    platform.delete(KEY)
    assert plan(source) == {}
    platform.set(KEY, "no hash")
    with pytest.raises(SourceError, match="WRONGTYPE"):
        plan(source)
    platform.delete(KEY)
    assert plan(source) == {}


def test_idle_time_is_the_scheduler_s_and_not_the_exporter_s(
    source: Source, platform: "redis.Redis", redis_server: RedisServer
) -> None:
    platform.hset(KEY, mapping=PLAN)
    for _ in range(25):
        seconds = idle(source)
        time.sleep(0.1)
    assert seconds is not None
    assert seconds > 1, "the exporter's own reads do not count as looks"
    with redis_server.client() as scheduler:
        scheduler.hgetall(KEY)
    assert idle(source) == 0
    platform.client_kill_filter(_type="normal", skipme=True)
    time.sleep(1.1)
    assert idle(source) >= 1, "NO-TOUCH again after a reconnect"


def test_idle_time_is_unknown_where_redis_cannot_tell(
    source: Source, platform: "redis.Redis", redis_server: RedisServer, opened: Open
) -> None:
    platform.hset(KEY, mapping=PLAN)
    platform.config_set("maxmemory-policy", "allkeys-lfu")
    assert [idle(source) for _ in range(3)] == [None] * 3
    platform.config_set("maxmemory-policy", "noeviction")
    assert idle(source) is not None
    platform.execute_command("ACL", "SETUSER", "less", "on", "nopass", "~*", "+@all", "-client|no-touch")
    less = opened(redis_server.url, redis_username="less")
    assert (idle(less), plan(less)) == (None, PLAN)


def test_saves_of_redis_do_not_hide_a_scheduler_that_stands_still() -> None:
    clock, counted = IdleTime(), []
    for second in range(0, 600, 5):
        saving = second % 60 < 20
        state = Server("", "master", saving=saving, saves=(b"%d" % (second // 60),))
        counted.append(clock.counted(second, state, second))
    assert [seconds is None for seconds in counted] == [second % 60 < 20 for second in range(0, 600, 5)]
    assert 300 < (counted[-1] or 0) <= 600 * 40 / 60
    quiet = Server("", "master", saves=(b"9",))
    assert clock.counted(3, quiet, 605) == 3, "a look counts at once"
    assert clock.counted(500, Server("", "master", saves=(b"10",)), 610) == 3, "a save that no read saw is left out"
    assert clock.counted(505, Server("", "master", saves=(b"10",)), 615) == 8


# --- nodes of a cluster ----------------------------------------------------------------------------

REDIS = pytest.param("redis-server", marks=pytest.mark.server("redis-server"))
VALKEY = pytest.param("valkey-server", marks=pytest.mark.server("valkey-server"))


def cluster_of_two(program: str, folder: Path, stack: ExitStack) -> list[RedisServer]:
    """Start two servers of one cluster; the first one has all slots."""
    options = ("--cluster-enabled", "yes", "--cluster-port")
    servers = [RedisServer(folder / str(i), program, *options, str(free_port())) for i in range(2)]
    for server in servers:
        stack.callback(server.kill)
    with servers[0].client() as first:
        first.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        bus = servers[1].arguments[-1]
        first.execute_command("CLUSTER MEET", "127.0.0.1", servers[1].port, bus)
        state = {"cluster_known_nodes": "2", "cluster_state": "ok"}
        wait_for(lambda: state.items() <= first.execute_command("CLUSTER INFO").items(), "for the cluster")
    return servers


@pytest.mark.parametrize("program", [REDIS, VALKEY])
@pytest.mark.parametrize("mode", ["standalone", "cluster"])
def test_no_server_of_a_cluster_dies_of_the_exporter_while_slots_are_being_migrated(
    program: str, mode: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        server, other = cluster_of_two(program, tmp_path, stack)
        with server.client() as client, other.client() as target:
            beat(client, "a", 600)
            client.hset(KEY, "p1", "a")
            for key in (KEY, "heartbeat:node:a", "node:metrics:a"):
                slot, ids = key_slot(key.encode()), [one.execute_command("CLUSTER MYID") for one in (client, target)]
                target.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[0])
                client.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[1])
            flags: Any = ("--redis.url", server.url, "--redis.mode", mode, "--heartbeat.ttl", "10m")
            with running_exporter(tmp_path, *flags, "--journal.file", str(tmp_path / "journal")) as exporter:
                for _ in range(5):
                    series = exporter.scrape()
                    assert series["ginkgo_node_up"] == {"a": 1}
                    assert series["ginkgo_portfolios"]["traded"] + series["ginkgo_portfolios"]["untraded"] >= 0
                    assert "ginkgo_plan_idle_seconds" not in series
                    time.sleep(0.2)
            assert server.alive, server.output()
            assert other.alive
