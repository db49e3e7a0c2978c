"""``forget`` as a program of its own: its rights, its exit codes, and a running exporter that it asks."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.request import urlopen

import pytest
import redis

from lab.nodes import beat
from lab.servers import Exporter, RedisServer, running_exporter, wait_for
from leftovers import hashes, leave, restored

LONG = ("--heartbeat.ttl", "10m")


def run(url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "exporter", "forget", "--redis.url", url, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


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


RIGHTS = "+info +scan +pttl +exists +object|idletime +watch +unwatch +multi +exec +unlink"


def url_of(server: RedisServer, client: "redis.Redis", *rights: str) -> str:
    """Return the URL for a user that has these rights."""
    client.execute_command("acl", "setuser", "sweeper", "reset", "on", ">pw", *rights)
    return server.url.replace("127.0.0.1", "sweeper:pw@127.0.0.1")


def test_just_enough_rights_are_enough(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        leave(client, "dead")
        url = url_of(redis_server, client, "%R~heartbeat:node:*", "%RW~node:metrics:*", *RIGHTS.split())
        assert run(url, "--offline-longer-than", "1h").returncode == 0
        assert run(url, "dead").returncode == 0
        assert run(url, "dead", "--yes").returncode == 0
        assert hashes(client) == set()


def test_dry_run_names_the_rights_that_deleting_needs_and_that_are_missing(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        leave(client, "dead")
        rights = [right for right in RIGHTS.split() if right not in ("+watch", "+unlink")]
        url = url_of(redis_server, client, "~*", *rights)
        dry, done = run(url, "dead"), run(url, "dead", "--yes")
        assert (dry.returncode, done.returncode) == (1, 1)
        reason = (
            "Redis refuses WATCH, UNLINK: User sweeper has no permissions to run the 'watch' command"
            " (docs/how-to/redis.md lists the rights)"
        )
        assert dry.stdout.startswith("dead: would be deleted\nDry run: 1 node would be deleted, 0 not")
        assert dry.stderr == f"ginkgo-exporter: --yes would fail: {reason}\n"
        assert (done.stdout, done.stderr) == ("", f"ginkgo-exporter: {reason}\n")
        assert hashes(client) == {b"dead"}


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
    assert "long-dead: deleted, offline for at least " in done.stdout
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


def test_clock_of_the_node_makes_it_no_longer_offline(
    exporter: Exporter, shared_redis: RedisServer, client: "redis.Redis"
) -> None:
    def beat_behind() -> bool:
        client.hset("node:metrics:behind", "total_events", "1")
        client.set("heartbeat:node:behind", f"{datetime.now(UTC) - timedelta(hours=8):%Y-%m-%dT%H:%M:%S.%f}", px=2_000)
        return states(exporter).get("behind") == "online"

    wait_for(beat_behind)
    wait_for(lambda: states(exporter).get("behind") == "offline")
    flags = ("--exporter.url", exporter.url, "--heartbeat.ttl", "2s", "--offline-longer-than", "1h", "--yes")
    assert re.search(r"^behind: kept: offline for \d+s$", run(shared_redis.url, *flags).stdout, re.MULTILINE)
    assert b"behind" in hashes(client)


def test_living_node_without_a_hash_is_passed_over(shared_redis: RedisServer, client: "redis.Redis") -> None:
    beat(client, "zombie", ttl=600)
    client.delete("node:metrics:zombie")
    done = run(shared_redis.url, "--offline-longer-than", "1h", "--yes")
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 nodes deleted, 0 not\n", "")


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


def test_exporter_that_nobody_scrapes_judges_when_forget_asks(
    shared_redis: RedisServer, client: "redis.Redis", tmp_path: Path
) -> None:
    leave(client, "long-dead")
    # A machine that stands still for 5 s looks like a silent Redis. With a short TTL the node's chance is over soon.
    with running_exporter(tmp_path, "--redis.url", shared_redis.url, "--heartbeat.ttl", "3s") as exporter:
        flags = ("--exporter.url", exporter.url, "--offline-longer-than")
        kept = re.compile(r"^long-dead: kept: offline for at least \d+s$", re.MULTILINE)

        def decided() -> bool:
            answer = run(shared_redis.url, *flags, "1h").stdout
            assert kept.search(answer) or "the exporter says that it is undecided" in answer
            return bool(kept.search(answer))

        wait_for(decided, "for a verdict")
        assert "long-dead: deleted, offline for at least" in run(shared_redis.url, *flags, "1ms", "--yes").stdout
    assert hashes(client) == set()


def test_rehomed_nodes_are_deleted_and_no_node_with_work(shared_redis: RedisServer, client: "redis.Redis") -> None:
    for name, loaded in (("moved", '["p"]'), ("needed", '["p", "lost"]'), ("silent", None), ("planned", "[]")):
        beat(client, name, 600, loaded_portfolio_ids=loaded)
        client.delete(f"heartbeat:node:{name}")
    beat(client, "new", 600, loaded_portfolio_ids='["p"]')
    assert "0 nodes" in run(shared_redis.url, "--rehomed", *LONG).stdout, "without a plan nothing has moved"
    client.hset("schedule:plan", mapping={"p": "new", "q": "planned"})
    dry = run(shared_redis.url, "--rehomed", *LONG)
    assert dry.stdout.splitlines()[0] == "moved: would be deleted, its portfolios run on other nodes"
    assert "Dry run: 1 node would be deleted, 0 not" in dry.stdout
    assert run(shared_redis.url, "--rehomed", "--yes", *LONG).returncode == 0
    assert hashes(client) == {b"needed", b"silent", b"planned", b"new"}


def test_forget_takes_one_choice_of_nodes(shared_redis: RedisServer) -> None:
    for arguments in (("dead", "--rehomed"), ("--rehomed", "--offline-longer-than", "1h"), ()):
        assert run(shared_redis.url, *arguments).returncode == 2
