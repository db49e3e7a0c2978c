"""``forget``: deletes what dead nodes left, and nothing of a living one, whatever happens meanwhile."""

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar
from urllib.request import urlopen

import pytest
import redis

from exporter.commands import forget
from exporter.commands.deletion import NEVER_EXPIRES, WROTE, Deleter, NodeKeys
from exporter.commands.forget import Age, Decision, ages_by_exporter, ages_by_idle_time, offline_for
from exporter.errors import SettingsError, SourceError
from exporter.settings import load
from exporter.snapshot.rows import duration
from exporter.source.reading import MISSING
from exporter.source.requests import CHUNK
from nodes import beat
from servers import Exporter, RedisServer, running_exporter, wait_for


def run(url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "exporter", "forget", "--redis.url", url, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def leave(client: "redis.Redis", node_id: str | bytes) -> None:
    """Leave what a crashed node leaves, at once."""
    beat(client, node_id, ttl=600)
    name = node_id.encode() if isinstance(node_id, str) else node_id
    client.delete(b"heartbeat:node:" + name)


@pytest.fixture
def deleter(shared_redis: RedisServer) -> Iterator[Deleter]:
    deleter = Deleter(load({"redis.url": [shared_redis.url]}))
    yield deleter
    deleter.close()


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
            " (the README lists the rights that are needed)"
        )
        assert dry.stdout.startswith("dead: would be deleted\nDry run: 1 node would be deleted, 0 not")
        assert dry.stderr == f"ginkgo-exporter: --yes would fail: {reason}\n"
        assert (done.stdout, done.stderr) == ("", f"ginkgo-exporter: {reason}\n")
        assert hashes(client) == {b"dead"}


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


class FeignedExporter(BaseHTTPRequestHandler):
    """Answers as an exporter does that sees these nodes; times are counted from the answer."""

    rows: ClassVar[list[dict[str, Any]]] = []

    def do_GET(self) -> None:
        now = time.time()
        nodes = [
            row | {"offline_since": now + row["offline_since"]} if row.get("offline_since") else row
            for row in self.rows
        ]
        body = json.dumps({"redis_up": True, "nodes": nodes}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def feigned() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), FeignedExporter) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def row(state: str, **since: object) -> dict[str, Any]:
    return {"node_id": "n", "state": state, "heartbeat_ttl_seconds": 0, "last_heartbeat": None, **since}


HOURS_AGO = -7_200.0  # counted from the answer
UNLISTED = "the exporter does not list it: see its --redis.url and --nodes.forget-after"


@pytest.mark.parametrize(
    ("rows", "least", "text", "doubt"),
    [
        ([], None, "", UNLISTED),
        ([row("undecided")], None, "", "the exporter says that it is undecided"),
        ([row("online", offline_since=HOURS_AGO)], None, "", "the exporter says that it is online"),
        ([row("offline")], None, "", "the exporter does not say since when it is offline"),
        (
            [row("offline", offline_since=HOURS_AGO, offline_since_exact=True)],
            7_200, "offline for 2h 0m", "offline for 2h 0m",
        ),
        (
            [row("offline", offline_since=HOURS_AGO, offline_since_exact=False)],
            7_200, "offline for at least 2h 0m", "offline for at least 2h 0m",
        ),
        (
            [row("offline", offline_since=HOURS_AGO + 86_400, offline_since_exact=True)],
            0, "offline for 0s", "offline for 0s",
        ),
    ],
    ids=["not listed", "undecided", "online", "older exporter", "seen to die", "dead before", "a time in the future"],
)  # fmt: skip
def test_what_an_exporter_says_of_a_node_is_taken_as_it_is(
    feigned: str, rows: list[dict[str, Any]], least: float | None, text: str, doubt: str
) -> None:
    FeignedExporter.rows = rows
    age = ages_by_exporter(feigned, 30)(NodeKeys(b"n", MISSING, has_hash=True))
    assert (age.text, age.doubt) == (text, doubt)
    assert age.seconds is None if least is None else age.seconds is not None and least <= age.seconds < least + 1_000


@pytest.mark.parametrize(
    ("idle", "seconds", "text"), [(3_630, 3_600, "1h 0m"), (31, 1, "1s"), (30, 0, "0s"), (12, 0, "0s")]
)
def test_idle_time_less_a_heartbeats_life_is_the_least_time_offline(idle: int, seconds: float, text: str) -> None:
    age = ages_by_idle_time(30)(NodeKeys(b"n", MISSING, has_hash=True, idle=idle))
    assert (age.seconds, age.text) == (seconds, f"offline for at least {text}")
    assert age.doubt.startswith(f"its hash was read or written {duration(idle)} ago; name the node")


def test_idle_time_that_is_unknown_makes_no_age() -> None:
    age = ages_by_idle_time(30)(NodeKeys(b"n", MISSING, has_hash=True))
    assert age.seconds is None
    assert age.doubt.startswith("Redis does not tell")


def test_nodes_that_are_too_young_or_may_live_are_kept(deleter: Deleter, client: "redis.Redis") -> None:
    ages = {b"old": 60.1, b"young": 60.0, b"unknown": None}
    for name in ages:
        leave(client, name)
    beat(client, "alive", ttl=600)
    beat(client, "zombie", ttl=600)
    client.delete("node:metrics:zombie")
    client.set("heartbeat:node:endless", "now")
    found = [*deleter.found(), b"gone meanwhile"]

    def age_of(keys: NodeKeys) -> Age:
        return Age(ages[keys.name], "old enough", "not sure")

    decisions = offline_for(deleter, found, 60.0, age_of, idle=True)
    assert list(decisions) == [
        Decision("endless", None, NEVER_EXPIRES),
        Decision("old", b"old", "would be deleted, old enough"),
        Decision("unknown", None, "kept: not sure"),
        Decision("young", None, "kept: not sure"),
    ]


def test_every_node_of_a_large_fleet_is_looked_at(deleter: Deleter, client: "redis.Redis") -> None:
    with client.pipeline() as pipeline:
        for number in range(CHUNK + 1):
            pipeline.hset(f"node:metrics:n-{number:04}", "total_events", "1")
        pipeline.execute()
    decisions = offline_for(deleter, deleter.found(), 1.0, lambda _: Age(2.0, "", ""), idle=False)
    assert [decision.name for decision in decisions] == [b"n-%04d" % number for number in range(CHUNK + 1)]


def test_living_node_without_a_hash_is_passed_over(shared_redis: RedisServer, client: "redis.Redis") -> None:
    beat(client, "zombie", ttl=600)
    client.delete("node:metrics:zombie")
    done = run(shared_redis.url, "--offline-longer-than", "1h", "--yes")
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 nodes deleted, 0 not\n", "")


# --- in this process, line by line -------------------------------------------------------------


Said = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def said(shared_redis: RedisServer, client: "redis.Redis", capsys: pytest.CaptureFixture[str]) -> Said:  # noqa: ARG001
    """Run the command in this process, and return its exit code and its lines."""

    def call(*nodes: str, longer: float | None = None, url: str | None = None, yes: bool = False) -> Any:
        options = {"node": list(nodes), "offline_longer_than": longer, "exporter.url": url, "yes": yes}
        code = forget.run(load({"redis.url": [shared_redis.url]}), argparse.Namespace(**options))
        return code, capsys.readouterr().out.splitlines()

    return call


def test_lines_count_what_is_deleted_and_what_is_kept(said: Said, client: "redis.Redis") -> None:
    leave(client, "a")
    leave(client, "b")
    beat(client, "c", ttl=600)
    kept = "c: kept: it is online"
    dry = ["a: would be deleted", "b: would be deleted", kept]
    assert said("a", "b", "c") == (1, [*dry, "Dry run: 2 nodes would be deleted, 1 not; --yes deletes"])
    assert said("a", "c", yes=True) == (1, ["a: deleted", kept, "1 node deleted, 1 not"])
    assert said("b") == (0, ["b: would be deleted", "Dry run: 1 node would be deleted, 0 not; --yes deletes"])
    assert said("b", yes=True) == (0, ["b: deleted", "1 node deleted, 0 not"])
    assert said("b") == (1, ["b: not found in Redis", "Dry run: 0 nodes would be deleted, 1 not; --yes deletes"])


def test_node_that_is_kept_is_no_failure_where_nobody_named_it(said: Said, client: "redis.Redis") -> None:
    leave(client, "young")
    code, lines = said(longer=60.0, yes=True)
    assert (code, len(lines), lines[-1]) == (0, 2, "0 nodes deleted, 1 not")


def test_exporter_decides_where_it_is_asked(said: Said, client: "redis.Redis", feigned: str) -> None:
    leave(client, "n")
    leave(client, "other")
    FeignedExporter.rows = [row("offline", offline_since=HOURS_AGO, offline_since_exact=True)]
    lines = ["n: deleted, offline for 2h 0m", f"other: kept: {UNLISTED}", "1 node deleted, 1 not"]
    assert said(longer=3_600.0, url=feigned, yes=True) == (0, lines)
    assert hashes(client) == {b"other"}


def test_idle_time_decides_where_no_exporter_is_asked(said: Said, client: "redis.Redis") -> None:
    restored(client, "old", 2 * 3600 + 60)
    assert said(longer=3_600.0, yes=True) == (0, ["old: deleted, offline for at least 2h 0m", "1 node deleted, 0 not"])


def test_id_is_what_redis_holds_before_it_is_what_the_table_shows(deleter: Deleter, client: "redis.Redis") -> None:
    for name in (b"a\x1b", b"b\t", b"b\xff", rb"b\xff", b"c\x1b", rb"c\u200b", "c\u200b".encode()):
        leave(client, name)
    texts = [r"a\x1b", r"b\t", r"b\xff", "b\udcff", r"c\x1b", r"c\u200b", "c\x1b", "unheard-of"]
    named = forget.named(deleter, deleter.found(), texts)
    names = [b"a\x1b", b"b\t", rb"b\xff", b"b\xff", b"c\x1b", rb"c\u200b", b"c\x1b", None]
    assert [(decision.shown, decision.name) for decision in named] == list(zip(texts, names, strict=True))


def test_text_that_several_nodes_show_as_names_none_of_them(deleter: Deleter, client: "redis.Redis") -> None:
    leave(client, b"\xff\n")
    leave(client, rb"\xff" + b"\n")
    (decision,) = forget.named(deleter, deleter.found(), [r"\xff\n"])
    assert (decision.name, decision.text) == (None, "kept: several nodes show like that")


def test_node_that_beats_at_the_last_moment_is_counted_as_kept(
    said: Said, client: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []
    monkeypatch.setattr(Deleter, "delete", lambda _, name: WROTE if name == b"a" else None)
    monkeypatch.setattr(Deleter, "refused", lambda _, name: asked.append(name) or {})
    leave(client, "a")
    leave(client, "b")
    assert said("a", "b", yes=True) == (1, [f"a: {WROTE}", "b: deleted", "1 node deleted, 1 not"])
    assert asked == [b"a"], "rights are asked for once"


@pytest.mark.parametrize("yes", [False, True])
def test_commands_that_redis_refuses_are_named_and_nothing_is_deleted(
    said: Said, client: "redis.Redis", monkeypatch: pytest.MonkeyPatch, *, yes: bool
) -> None:
    refused = {"WATCH": "Redis: no watch", "UNLINK": "Redis: no unlink"}
    monkeypatch.setattr(Deleter, "refused", lambda *_: refused)
    leave(client, "a")
    with pytest.raises(SourceError) as caught:
        said("a", yes=yes)
    assert str(caught.value) == f"{'' if yes else '--yes would fail: '}Redis refuses WATCH, UNLINK: no watch"
    assert hashes(client) == {b"a"}


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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "name nodes, or give"),
        ({"node": ["n"], "offline_longer_than": 1.0}, "name nodes, or give"),
        ({"node": ["n"], "exporter.url": "http://localhost:1"}, "goes with --offline-longer-than"),
    ],
)
def test_misuse_is_said_before_anything_is_opened(options: dict[str, Any], words: str) -> None:
    given = {"node": [], "offline_longer_than": None, "exporter.url": None, "yes": True, **options}
    with pytest.raises(SettingsError, match=words):
        forget.run(load({"redis.url": ["redis://localhost:1"]}), argparse.Namespace(**given))


@pytest.mark.parametrize("mode", ["cluster", "sentinel"])
def test_server_that_is_none_of_its_own_is_refused(mode: str) -> None:
    options = {"node": ["n"], "offline_longer_than": None, "exporter.url": None, "yes": True}
    values: dict[str, Any] = {"redis.url": ["redis://localhost:1"], "redis.mode": mode}
    if mode == "sentinel":
        values["redis.sentinel-master"] = "m"
    with pytest.raises(SettingsError, match=r"--redis\.mode must be standalone"):
        forget.run(load(values), argparse.Namespace(**options))


def test_exporter_that_nobody_scrapes_judges_when_forget_asks(
    shared_redis: RedisServer, client: "redis.Redis", tmp_path: Path
) -> None:
    leave(client, "long-dead")
    with running_exporter(tmp_path, "--redis.url", shared_redis.url) as exporter:
        flags = ("--exporter.url", exporter.url, "--offline-longer-than")
        first = run(shared_redis.url, *flags, "1h").stdout
        assert re.search(r"^long-dead: kept: offline for at least \d+s$", first, re.MULTILINE)
        assert "long-dead: deleted, offline for at least" in run(shared_redis.url, *flags, "1ms", "--yes").stdout
    assert hashes(client) == set()
