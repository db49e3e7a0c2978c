"""Reading the scheduler's plan from a real server: its gap, its idle time, and plans of any kind."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from exporter.errors import SourceError
from exporter.settings import load
from exporter.source import open_source
from exporter.source.cluster import ClusterSource
from exporter.source.plan import ASK_AGAIN, GAP, LARGE, PlanReader
from exporter.source.plan_idle import IdleTime
from exporter.source.requests import pack
from exporter.source.router import ask_each
from exporter.source.standalone import StandaloneSource
from lab.clusters import RunningCluster
from lab.proxy import NONE, SWALLOWS, Proxy
from lab.servers import RedisServer, wait_for

KEY = b"schedule:plan"
PLAN = {b"p1": b"a", b"p2": b"b", b"p3": b"__ORPHANED__"}

MakeReader = Callable[..., PlanReader]


@pytest.fixture
def make_reader(redis_server: RedisServer) -> Iterator[MakeReader]:
    with ExitStack() as stack:

        def make(url: str = redis_server.url, **options: Any) -> PlanReader:
            source = StandaloneSource(load({"redis.url": [url]}))
            stack.callback(source.close)
            return PlanReader(source.router(), KEY, **options)

        yield make


@pytest.fixture
def platform(redis_server: RedisServer) -> Iterator["redis.Redis"]:
    """A client of the same server, as the platform has it."""
    with redis_server.client() as client:
        yield client


def read(reader: PlanReader, *, expected: bool = False) -> dict[bytes, bytes]:
    return dict(reader.read(time.monotonic() + 5, expected=expected).plan)


def test_plan_is_what_the_hash_holds(make_reader: MakeReader, platform: "redis.Redis") -> None:
    reader = make_reader()
    assert read(reader) == {}
    platform.hset("schedule:plan", mapping=PLAN)
    assert read(reader) == PLAN
    platform.hset("schedule:plan", "p1", "b")
    assert read(reader) == PLAN | {b"p1": b"b"}
    platform.hdel("schedule:plan", "p1")
    assert read(reader) == {b"p2": b"b", b"p3": b"__ORPHANED__"}
    platform.delete("schedule:plan")
    assert read(reader) == {}


def test_same_plan_is_the_same_object_even_if_it_is_written_anew(
    make_reader: MakeReader, platform: "redis.Redis"
) -> None:
    reader = make_reader()
    platform.hset("schedule:plan", mapping=PLAN)
    first = reader.read(time.monotonic() + 5, expected=False).plan
    assert reader.read(time.monotonic() + 5, expected=False).plan is first
    platform.delete("schedule:plan")
    platform.hset("schedule:plan", mapping=dict(reversed(PLAN.items())))
    assert reader.read(time.monotonic() + 5, expected=False).plan is first


def test_plan_of_any_bytes_and_any_size_is_read(make_reader: MakeReader, platform: "redis.Redis") -> None:
    reader = make_reader()
    odd = {b"\r\n$5\r\n": b"\xff", b"": b"", b"+OK\r\n": b"*0\r\n", b"k" * 1024: b"v" * 1024, "\N{OWL}".encode(): b" "}
    for plan in (odd, {b"%d" % n + b"x" * (n % 100): b"n%d" % (n % 7) for n in range(100_000)}, {b"p": b"a"}, odd):
        platform.delete("schedule:plan")
        items = list(plan.items())
        for start in range(0, len(items), 10_000):
            platform.hset("schedule:plan", mapping=dict(items[start : start + 10_000]))
        assert read(reader) == plan
        assert read(reader) == plan


def large(node: bytes = b"a") -> dict[bytes, bytes]:
    return {b"p%d" % number: node for number in range(LARGE)}


def calls(platform: "redis.Redis", command: str) -> int:
    return int(platform.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


def test_large_plan_is_read_again_only_if_somebody_has_written_it(
    make_reader: MakeReader, platform: "redis.Redis"
) -> None:
    reader = make_reader()
    platform.hset("schedule:plan", mapping=large())
    for _ in range(2):
        assert read(reader) == large()
    platform.config_resetstat()
    for _ in range(20):
        assert read(reader) == large()
    assert calls(platform, "hgetall") == 0
    for write in (
        lambda: platform.hset("schedule:plan", "p1", "b"),
        lambda: platform.hset("schedule:plan", mapping=large(b"c")),
        lambda: (platform.delete("schedule:plan"), platform.hset("schedule:plan", mapping=large(b"d"))),
        lambda: platform.delete("schedule:plan"),
        lambda: platform.hset("schedule:plan", mapping=large(b"e")),
        lambda: platform.pexpire("schedule:plan", 1),
        lambda: platform.hset("schedule:plan", mapping=large(b"f")),
        platform.flushall,
        lambda: platform.hset("schedule:plan", mapping=large(b"g")),
    ):
        write()
        for _ in range(3):
            wait_for(lambda: read(reader) == platform.hgetall("schedule:plan"), "for an expired plan to be gone")
    assert len(platform.client_list()) <= 4, "watching connections are given back"


def test_idle_time_of_a_large_plan_is_not_the_exporter_s(make_reader: MakeReader, platform: "redis.Redis") -> None:
    reader = make_reader()
    platform.hset("schedule:plan", mapping=large())
    wait_for(lambda: (reader.read(time.monotonic() + 5, expected=False).idle or 0) >= 2, "for the plan to be idle")


def test_large_plan_is_read_again_after_its_watch_was_cut(make_reader: MakeReader, platform: "redis.Redis") -> None:
    reader = make_reader()
    platform.hset("schedule:plan", mapping=large())
    for node in (b"a", b"b", b"c"):
        for _ in range(2):
            read(reader)
        platform.hset("schedule:plan", mapping=large(node))
        platform.client_kill_filter(_type="normal", skipme=True)
        wait_for(lambda: _read_or_none(reader) == platform.hgetall("schedule:plan"), "for the new plan")


def _read_or_none(reader: PlanReader) -> dict[bytes, bytes] | None:
    try:
        return read(reader)
    except SourceError:
        return None


def test_plan_that_could_not_be_read_is_not_taken_for_the_last_one(
    make_reader: MakeReader, platform: "redis.Redis", redis_server: RedisServer
) -> None:
    platform.hset("schedule:plan", mapping=large())
    platform.execute_command("ACL SETUSER exporter on >pw ~* +@all")
    reader = make_reader(f"redis://exporter:pw@127.0.0.1:{redis_server.port}")
    for _ in range(3):
        assert read(reader) == large()
    platform.hset("schedule:plan", mapping=large(b"b"))
    platform.execute_command("ACL SETUSER exporter -hgetall")
    for _ in range(2):
        with pytest.raises(SourceError):
            read(reader)
    platform.execute_command("ACL SETUSER exporter +hgetall")
    assert read(reader) == large(b"b")


@pytest.mark.parametrize("right", ["watch", "multi", "exec"])
def test_large_plan_is_read_in_full_where_the_user_may_not_watch_it(
    make_reader: MakeReader, platform: "redis.Redis", redis_server: RedisServer, right: str
) -> None:
    platform.hset("schedule:plan", mapping=large())
    platform.execute_command(f"ACL SETUSER exporter on >pw ~* +@all -{right}")
    reader = make_reader(f"redis://exporter:pw@127.0.0.1:{redis_server.port}")
    for node in (b"a", b"b"):
        platform.hset("schedule:plan", mapping=large(node))
        for _ in range(3):
            assert read(reader) == large(node)


def test_empty_plan_is_read_once_more_where_one_is_expected(make_reader: MakeReader, platform: "redis.Redis") -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        platform.hset("schedule:plan", mapping=PLAN)

    reader = make_reader(pause=pause)
    assert read(reader) == {}
    assert not pauses
    assert read(reader, expected=True) == PLAN
    assert read(reader, expected=True) == PLAN
    assert pauses == [GAP]


def test_idle_time_is_the_scheduler_s_and_not_the_exporter_s(make_reader: MakeReader, platform: "redis.Redis") -> None:
    reader = make_reader()
    platform.hset("schedule:plan", mapping=PLAN)

    def idle() -> float:
        seconds = reader.read(time.monotonic() + 5, expected=False).idle
        assert seconds is not None
        return seconds

    wait_for(lambda: idle() >= 2, "for the plan to be idle although it is read all the time")
    platform.hgetall("schedule:plan")
    assert idle() < 2


def test_idle_time_is_unknown_under_an_lfu_policy_and_said_once(
    make_reader: MakeReader, platform: "redis.Redis"
) -> None:
    now = [1000.0]
    reader = make_reader(clock=lambda: now[0])
    platform.hset("schedule:plan", mapping=PLAN)
    platform.config_set("maxmemory-policy", "allkeys-lfu")
    with capture_logs() as logs:
        for _ in range(3):
            assert reader.read(time.monotonic() + 5, expected=False).idle is None
            assert read(reader) == PLAN
    assert len(logs) == 1
    platform.config_set("maxmemory-policy", "noeviction")
    now[0] += ASK_AGAIN
    assert reader.read(time.monotonic() + 5, expected=False).idle is not None


def test_idle_time_is_unknown_where_the_user_may_not_say_no_touch(
    make_reader: MakeReader, platform: "redis.Redis", redis_server: RedisServer
) -> None:
    platform.hset("schedule:plan", mapping=PLAN)
    platform.execute_command("ACL SETUSER exporter on >pw ~* +hgetall +object|idletime +info")
    reader = make_reader(f"redis://exporter:pw@127.0.0.1:{redis_server.port}")
    with capture_logs() as logs:
        for _ in range(3):
            reading = reader.read(time.monotonic() + 5, expected=False)
            assert (reading.plan, reading.idle) == (PLAN, None)
    assert len(logs) == 1
    assert "no-touch" in logs[0]["reason"]


def test_idle_time_is_unknown_while_a_child_saves_and_counts_from_its_end(
    make_reader: MakeReader, platform: "redis.Redis"
) -> None:
    now = [1000.0]
    reader = make_reader(clock=lambda: now[0])
    platform.hset("schedule:plan", mapping=PLAN)
    platform.hset("other", mapping={str(number): "x" * 100 for number in range(1000)})
    platform.config_set("rdb-key-save-delay", 200_000)
    platform.execute_command("BGSAVE")
    assert reader.read(time.monotonic() + 5, expected=False).idle is None
    platform.config_set("rdb-key-save-delay", 0)
    wait_for(lambda: not platform.info("persistence")["rdb_bgsave_in_progress"], "for the snapshot")
    reading = reader.read(time.monotonic() + 5, expected=False)
    assert reading.idle == 0, "the clock has not moved since the save"


@pytest.mark.parametrize("save", ["BGSAVE", "BGREWRITEAOF"])
def test_a_save_that_no_read_saw_is_not_counted_either(
    make_reader: MakeReader, platform: "redis.Redis", save: str
) -> None:
    now = [1000.0]
    reader = make_reader(clock=lambda: now[0])
    platform.hset("schedule:plan", mapping=PLAN)
    reader.read(time.monotonic() + 5, expected=False)
    wait_for(lambda: platform.object("idletime", "schedule:plan") >= 2, "for the plan to be idle")
    platform.execute_command(save)
    going_on = {"BGSAVE": "rdb_bgsave_in_progress", "BGREWRITEAOF": "aof_rewrite_in_progress"}[save]
    wait_for(lambda: not platform.info("persistence")[going_on], "for the save")
    now[0] += 1
    assert reader.read(time.monotonic() + 5, expected=False).idle == 0, "the scheduler may have looked meanwhile"
    now[0] += 1
    assert reader.read(time.monotonic() + 5, expected=False).idle == 1


def test_a_server_that_saves_every_minute_does_not_hide_a_scheduler_that_stands_still() -> None:
    told = IdleTime()
    told.counted(0, 0)
    counted = []
    for now in range(10, 310, 10):
        if now % 60 == 0:
            told.saving(now)
        else:
            counted.append(told.counted(now, now))
    assert counted[:5] == [10, 20, 30, 40, 50]
    assert counted[5] == 60, "the ten seconds before the save are unknown, and the ten after it are not"
    assert counted[-1] == 290 - 4 * 10, "each save costs the time before the look that saw it"


def test_a_look_at_the_plan_between_two_saves_begins_the_idle_time_anew() -> None:
    told = IdleTime()
    for now in range(0, 100, 10):
        told.counted(now, now)
    told.saving(100)
    assert told.counted(110, 110) == 100
    assert told.counted(3, 120) == 3
    told.saving(130)
    assert told.counted(23, 140) == 13, "Redis would not have recorded a look while it saved"


def test_plan_that_is_no_hash_counts_as_missing(make_reader: MakeReader, platform: "redis.Redis") -> None:
    reader = make_reader()
    platform.set("schedule:plan", "abc")
    with capture_logs() as logs:
        assert read(reader) == {}
        assert read(reader) == {}
    assert [entry["event"] for entry in logs] == ["the plan in Redis is no hash: it counts as missing"]


def test_plan_that_may_not_be_read_is_an_error_that_is_logged_once(
    make_reader: MakeReader, platform: "redis.Redis", redis_server: RedisServer
) -> None:
    platform.hset("schedule:plan", mapping=PLAN)
    platform.execute_command("ACL SETUSER exporter on >pw ~node:* +hgetall +info")
    reader = make_reader(f"redis://exporter:pw@127.0.0.1:{redis_server.port}")
    with capture_logs() as logs:
        for _ in range(2):
            with pytest.raises(SourceError):
                read(reader)
    assert [entry["event"] for entry in logs] == ["the Redis user lacks a right"]


def test_redis_that_is_gone_is_an_error_and_comes_back(
    make_reader: MakeReader, platform: "redis.Redis", redis_server: RedisServer
) -> None:
    reader = make_reader()
    platform.hset("schedule:plan", mapping=PLAN)
    assert read(reader) == PLAN
    redis_server.kill()
    with pytest.raises(SourceError):
        read(reader)
    redis_server.start()
    assert read(reader) == {}


@pytest.mark.server("redis-server")
@pytest.mark.server("redis-cli")
def test_plan_and_any_keys_of_a_cluster_are_read_wherever_they_are(tmp_path: Path) -> None:
    with ExitStack() as stack:
        cluster = RunningCluster(tmp_path, stack, replicas=0)
        cluster.client.hset("schedule:plan", mapping=PLAN)
        keys = [b"key-%d" % number for number in range(50)]
        for key in keys:
            cluster.client.set(key, b"of " + key)
        source = open_source(cluster.settings)
        assert isinstance(source, ClusterSource)
        stack.callback(source.close)
        reader = PlanReader(source.router(), KEY)

        def check() -> None:
            assert read(reader) == PLAN
            replies = ask_each(source.router(), keys, lambda key: pack(b"GET", key), time.monotonic() + 5)
            assert replies == [b"of " + key for key in keys]

        check()
        for finish in (False, True):  # the server answers ASK, then MOVED
            cluster.shift(KEY, finish=finish)
            cluster.shift(keys[0], finish=finish)
            check()
            check()
        assert reader.read(time.monotonic() + 5, expected=False).idle is not None


def test_watch_that_fails_leaves_no_connection_behind(redis_server: RedisServer, platform: "redis.Redis") -> None:
    platform.hset(KEY.decode(), mapping={f"p{number}": "a" for number in range(LARGE)})
    with Proxy(redis_server.port) as proxy, ExitStack() as stack:
        source = StandaloneSource(load({"redis.url": [f"redis://127.0.0.1:{proxy.port}"]}))
        stack.callback(source.close)
        reader = PlanReader(source.router(), KEY)
        for _ in range(3):
            assert len(reader.read(time.monotonic() + 5, expected=False).plan) == LARGE
            proxy.fault = SWALLOWS
            with pytest.raises(SourceError):
                reader.read(time.monotonic() + 0.2, expected=False)
            proxy.fault = NONE
        assert len(source.pools()[0]._lent) <= 1
