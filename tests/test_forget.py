"""``forget``: deletes what dead nodes left, and nothing of a living one, whatever happens meanwhile."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.request import urlopen

import pytest
import redis

from exporter.forget import Broom, delete
from exporter.settings import load
from exporter.source.connection import Link, linked, pool_of
from exporter.source.requests import KeyNames
from nodes import beat
from servers import Exporter, RedisServer, wait_for

KEYS = KeyNames(b"node:metrics:", b"heartbeat:node:")


def run(url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "exporter", "forget", "--redis.url", url, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def leave(client: "redis.Redis", node_id: str | bytes) -> None:
    """Leave what a crashed node leaves, at once."""
    beat(client, node_id, ttl=600)
    name = node_id.encode() if isinstance(node_id, str) else node_id
    client.delete(b"heartbeat:node:" + name)


def hashes(client: "redis.Redis") -> set[bytes]:
    return {key.removeprefix(b"node:metrics:") for key in client.keys("node:metrics:*")}


def test_without_yes_nothing_is_changed(shared_redis: RedisServer, client: "redis.Redis") -> None:
    leave(client, "dead")
    done = run(shared_redis.url, "dead")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "dead: would be deleted")
    assert "Dry run" in done.stdout
    assert hashes(client) == {b"dead"}


def test_named_dead_node_is_deleted_and_a_living_one_is_kept(shared_redis: RedisServer, client: "redis.Redis") -> None:
    leave(client, "dead")
    beat(client, "alive", ttl=600)
    client.set("ginkgo_func_cache_1", "x")
    done = run(shared_redis.url, "dead", "alive", "unheard-of", "--yes")
    assert done.stdout.splitlines() == [
        "dead: deleted",
        "alive: kept: it is online",
        "unheard-of: not found in Redis",
        "1 node deleted, 2 not",
    ]
    assert done.returncode == 1
    assert hashes(client) == {b"alive"}
    assert client.exists("ginkgo_func_cache_1", "heartbeat:node:alive") == 2


def test_node_is_named_as_the_table_shows_it(shared_redis: RedisServer, client: "redis.Redis") -> None:
    for name in (b"a\x1b[31m\n", b"\xff\xfe", "节点".encode()):
        leave(client, name)
    done = run(shared_redis.url, r"a\x1b[31m\n", r"\xff\xfe", "节点", "--yes")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert hashes(client) == set()


def test_name_that_several_nodes_show_as_is_refused(shared_redis: RedisServer, client: "redis.Redis") -> None:
    leave(client, b"a\x1b")
    leave(client, rb"a\x1b")
    leave(client, b"b\t")
    leave(client, b"b\xff")
    leave(client, rb"b\xff")
    done = run(shared_redis.url, r"a\x1b", r"b\t", "--yes")
    assert done.returncode == 0
    assert hashes(client) == {b"a\x1b", b"b\xff", rb"b\xff"}, "the one that is exactly so is meant"


def test_heartbeat_that_never_expires_keeps_the_hash(shared_redis: RedisServer, client: "redis.Redis") -> None:
    leave(client, "odd")
    client.set("heartbeat:node:odd", "2026-01-06T12:30:45")
    done = run(shared_redis.url, "odd", "--yes")
    assert done.returncode == 1
    assert "never expires" in done.stdout
    assert hashes(client) == {b"odd"}


class RacingLink(Link):
    """A link on which a node beats right after the check and before the deletion."""

    def __init__(self, link: Link, between: Any) -> None:
        self._link = link
        self._between = between
        self._asked = 0

    def ask(self, request: bytes, count: int) -> list[Any]:
        self._asked += 1
        if self._asked == 2:
            self._between()
        return self._link.ask(request, count)


def race(server: RedisServer, between: Any) -> str | None:
    pool = pool_of(load({"redis.url": [server.url]}).redis)
    try:
        with linked(pool, time.monotonic() + 5) as link:
            return delete(RacingLink(link, between), KEYS, b"n")
    finally:
        pool.disconnect()


def test_beat_between_check_and_deletion_undoes_the_deletion(shared_redis: RedisServer, client: "redis.Redis") -> None:
    leave(client, "n")
    refused = race(shared_redis, lambda: client.set("heartbeat:node:n", "now", px=30_000))
    assert refused == "kept: a node wrote to its keys at this moment"
    assert hashes(client) == {b"n"}


def test_start_that_rewrites_the_hash_at_that_moment_undoes_it_too(
    shared_redis: RedisServer, client: "redis.Redis"
) -> None:
    leave(client, "n")
    assert race(shared_redis, lambda: client.hset("node:metrics:n", "total_events", "0")) is not None
    assert hashes(client) == {b"n"}


def test_no_hash_ever_goes_while_its_heartbeat_is_there(shared_redis: RedisServer, client: "redis.Redis") -> None:
    broom = Broom(load({"redis.url": [shared_redis.url]}))
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
            outcomes.add(broom.delete(b"n"))
    finally:
        over.set()
        node.join()
        broom.close()
    assert None in outcomes
    assert len(outcomes) > 2, "there was no race"
    assert not any(torn)


def test_just_enough_rights_are_enough_and_less_is_said_in_one_line(redis_server: RedisServer) -> None:
    rights = "+info +scan +pttl +exists +object|idletime +watch +unwatch +multi +exec +unlink"
    with redis_server.client() as client:
        leave(client, "dead")
        acl = ["acl", "setuser", "sweeper", "on", ">pw", "%R~heartbeat:node:*", "%RW~node:metrics:*", *rights.split()]
        client.execute_command(*acl)
        client.execute_command(
            "acl",
            "setuser",
            "reader",
            "on",
            ">pw",
            "~*",
            "+info",
            "+scan",
            "+pttl",
            "+exists",
            "+watch",
            "+unwatch",
            "+multi",
            "+exec",
        )
        url = redis_server.url.replace("127.0.0.1", "reader:pw@127.0.0.1")
        done = run(url, "dead", "--yes")
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert "unlink" in done.stderr
        assert hashes(client) == {b"dead"}
        url = redis_server.url.replace("127.0.0.1", "sweeper:pw@127.0.0.1")
        assert run(url, "--offline-longer-than", "1h").returncode == 0
        assert run(url, "dead", "--yes").returncode == 0
        assert hashes(client) == set()


def restored(client: "redis.Redis", node_id: str, idle: int) -> None:
    """Leave a dead node's hash that nobody used for some seconds."""
    leave(client, node_id)
    key = f"node:metrics:{node_id}"
    dump = client.dump(key)
    client.restore(key, 0, dump, replace=True, idletime=idle)


def test_age_from_the_keys_is_a_lower_bound_and_never_a_guess(shared_redis: RedisServer, client: "redis.Redis") -> None:
    restored(client, "old", 25 * 3600)
    leave(client, "young")
    beat(client, "alive", ttl=600)
    done = run(shared_redis.url, "--offline-longer-than", "24h", "--yes")
    assert done.returncode == 0
    first, second, last = done.stdout.splitlines()
    assert first.startswith("old: deleted, offline for at least 1d 0h")
    assert second.startswith("young: kept: its hash was read or written ")
    assert last == "1 node deleted, 1 not"
    assert hashes(client) == {b"young", b"alive"}


def test_looking_does_not_make_a_hash_look_used(shared_redis: RedisServer, client: "redis.Redis") -> None:
    restored(client, "old", 25 * 3600)
    for _ in range(2):
        assert "old: would be deleted" in run(shared_redis.url, "--offline-longer-than", "24h").stdout


def test_redis_that_does_not_keep_idle_times_is_said(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lfu")
        leave(client, "dead")
        assert "Redis does not tell" in run(redis_server.url, "--offline-longer-than", "1h").stdout
        assert hashes(client) == {b"dead"}


@pytest.fixture
def exporter(shared_redis: RedisServer, client: "redis.Redis", tmp_path: Path) -> Iterator[Exporter]:
    flags = ("--redis.url", shared_redis.url, "--heartbeat.ttl", "2s", "--discovery.interval", "100ms")
    exporter = Exporter(tmp_path, *flags)
    try:
        wait_for(lambda: beat(client, "dead", ttl=2) or states(exporter).get("dead") == "online")  # type: ignore[func-returns-value]
        wait_for(lambda: states(exporter).get("dead") == "offline")
        leave(client, "long-dead")
        wait_for(lambda: states(exporter).get("long-dead") == "offline")
        yield exporter
    finally:
        exporter.stop()


def states(exporter: Exporter) -> dict[str, str]:
    try:
        with urlopen(f"{exporter.url}/api/v1/nodes") as answer:  # noqa: S310
            return {node["node_id"]: node["state"] for node in json.load(answer)["nodes"]}
    except OSError:
        return {}


def test_running_exporter_tells_for_how_long_a_node_is_offline(
    exporter: Exporter, shared_redis: RedisServer, client: "redis.Redis"
) -> None:
    flags = ("--exporter.url", exporter.url, "--heartbeat.ttl", "2s", "--offline-longer-than")
    assert "dead: kept: offline for" in run(shared_redis.url, *flags, "24h").stdout
    done = run(shared_redis.url, *flags, "1ms", "--yes")
    assert "dead: deleted, offline for " in done.stdout
    assert "long-dead: deleted, offline for " in done.stdout
    assert hashes(client) == set()


def test_after_a_restart_from_saved_data_nobody_is_taken_for_dead(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    try:
        with server.client() as client:
            leave(client, "n")
            client.save()
        server.kill()
        server.start()
        done = run(server.url, "n", "--yes")
        assert done.returncode == 1
        assert "try again in" in done.stderr
        with server.client() as client:
            assert hashes(client) == {b"n"}
    finally:
        server.kill()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name nodes, or give"),
        (["n", "--offline-longer-than", "1h"], "name nodes, or give"),
        (["n", "--exporter.url", "http://localhost:1"], "--exporter.url"),
        (["--offline-longer-than", "1x"], "not a duration"),
        (["n", "--redis.mode", "cluster"], "no transaction spans them"),
    ],
)
def test_misuse_is_one_line_and_exit_2(arguments: list[str], words: str) -> None:
    done = run("redis://localhost:1", *arguments)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert words in done.stderr
