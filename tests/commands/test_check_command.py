"""``check`` on a real Redis: rights, prefixes, databases, and the scheme of the address."""

from collections.abc import Iterator

import pytest
import redis

from exporter.commands.check import check
from exporter.settings import load
from lab.nodes import beat
from lab.servers import RedisServer, running_redis


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def own_client(own_server: RedisServer) -> Iterator["redis.Redis"]:
    with own_server.client() as client:
        client.flushall()
        yield client


def checked(
    server: RedisServer, capsys: pytest.CaptureFixture[str], user: str = "", **flags: object
) -> tuple[int, str]:
    """Return the exit code of ``check``, and what it said of Redis."""
    url = server.url.replace("//", f"//{user}:x@" if user else "//")
    code = check(load({"redis.url": [url], **{name.replace("__", "."): value for name, value in flags.items()}}))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "configuration: good"
    return code, "\n".join(line for line in lines[1:] if line.startswith("redis: "))


def test_healthy_installation_is_good_and_nothing_else(
    own_server: RedisServer, own_client: "redis.Redis", capsys: pytest.CaptureFixture[str]
) -> None:
    beat(own_client, "a")
    code, said = checked(own_server, capsys)
    assert code == 0
    assert said.count("\n") == 0
    assert "good, a master with 1 nodes, 1 of them beating" in said


def test_missing_right_to_info_must_be_changed(
    own_server: RedisServer, own_client: "redis.Redis", capsys: pytest.CaptureFixture[str]
) -> None:
    beat(own_client, "a")
    own_client.execute_command("acl", "setuser", "blind", "on", "nopass", "~*", "+@all", "-info")
    code, said = checked(own_server, capsys, "blind")
    assert code == 1
    assert "redis: must be changed: Redis refuses INFO" in said
    assert "Grant +info" in said


def test_missing_right_to_scan_fails_with_its_remedy(
    own_server: RedisServer, own_client: "redis.Redis", capsys: pytest.CaptureFixture[str]
) -> None:
    own_client.execute_command("acl", "setuser", "lost", "on", "nopass", "~*", "+@all", "-scan")
    code, said = checked(own_server, capsys, "lost")
    assert code == 1
    assert "no node can be found: grant +scan" in said


def test_missing_rights_to_the_plan_are_a_note(
    own_server: RedisServer, own_client: "redis.Redis", capsys: pytest.CaptureFixture[str]
) -> None:
    beat(own_client, "a")
    own_client.hset("schedule:plan", "p1", "a")
    own_client.execute_command("acl", "setuser", "nodes", "on", "nopass", "~*", "+@all", "-hgetall")
    code, said = checked(own_server, capsys, "nodes")
    assert code == 0
    assert "nothing is known of portfolios" in said
    own_client.execute_command("acl", "setuser", "nodes", "+hgetall", "-object")
    code, said = checked(own_server, capsys, "nodes")
    assert code == 0
    assert "GinkgoSchedulerStalled cannot fire" in said


def test_empty_redis_is_a_note(
    own_server: RedisServer, own_client: "redis.Redis", capsys: pytest.CaptureFixture[str]
) -> None:
    assert own_client.dbsize() == 0
    code, said = checked(own_server, capsys)
    assert code == 0
    assert "there is no node: no key begins with heartbeat:node: (--keys.heartbeat-prefix)" in said


def test_other_database_with_keys_is_named(
    own_server: RedisServer, own_client: "redis.Redis", capsys: pytest.CaptureFixture[str]
) -> None:
    own_client.execute_command("select", "2")
    own_client.set("x", "y")
    code, said = checked(own_server, capsys)
    assert code == 1
    assert "database 0 is empty, and there are keys in the databases 2 (1 key)" in said


@pytest.mark.parametrize("prefix", ["prod:heartbeat:node:", "heartbeats:node:"])
def test_prefix_that_the_keys_have_instead_is_named(
    own_server: RedisServer, own_client: "redis.Redis", capsys: pytest.CaptureFixture[str], prefix: str
) -> None:
    own_client.set(f"{prefix}a", "x")
    code, said = checked(own_server, capsys)
    assert code == 1
    wrong = f"no key begins with --keys.heartbeat-prefix (heartbeat:node:), and there are keys that begin with {prefix}"
    assert wrong in said


def test_both_prefixes_are_named_if_both_are_wrong(
    own_server: RedisServer, own_client: "redis.Redis", capsys: pytest.CaptureFixture[str]
) -> None:
    own_client.set("prod:heartbeat:node:a", "x")
    own_client.hset("prod:node:metrics:a", "queue_size", "1")
    _, said = checked(own_server, capsys)
    assert said.count("must be changed: no key begins with") == 2
    assert "there is no node" not in said


def test_nodes_without_hashes_or_heartbeats_are_named_and_workers_are_no_nodes(
    own_server: RedisServer, own_client: "redis.Redis", capsys: pytest.CaptureFixture[str]
) -> None:
    own_client.set("heartbeat:task_timer:1", "{}")
    own_client.hset("node:metrics:a", "queue_size", "1")
    code, said = checked(own_server, capsys)
    assert (code, "no node has a heartbeat" in said) == (0, True)
    own_client.delete("node:metrics:a")
    beat(own_client, "a")
    own_client.delete("node:metrics:a")
    code, said = checked(own_server, capsys)
    assert (code, "no node has a metrics hash" in said) == (0, True)
