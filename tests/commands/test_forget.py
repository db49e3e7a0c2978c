"""``forget`` deletes the hashes of dead nodes and never the hash of a living node, whatever happens meanwhile."""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar

import pytest
import redis

from exporter.commands import forget
from exporter.commands.deletion import NEVER_EXPIRES, ONLINE, WROTE, Deleter, NodeKeys
from exporter.commands.forget import Age, Decision, ages_by_exporter, ages_by_idle_time, offline_for
from exporter.errors import SettingsError, SourceError
from exporter.settings import Settings, load
from exporter.snapshot.rows import duration
from exporter.source.reading import MISSING
from exporter.source.requests import CHUNK
from lab.nodes import beat
from lab.servers import RedisServer, wait_for
from leftovers import hashes, leave, restored


@pytest.fixture
def deleter(shared_redis: RedisServer) -> Iterator[Deleter]:
    deleter = Deleter(load({"redis.url": [shared_redis.url]}))
    yield deleter
    deleter.close()


class FakeExporter(BaseHTTPRequestHandler):
    """A fake exporter that knows these nodes. ``ago`` is the time in seconds for which a node has been offline."""

    rows: ClassVar[list[dict[str, Any]]] = []

    def do_GET(self) -> None:
        now = time.time()
        rows = [row | ({"offline_since": now - row["ago"]} if "ago" in row else {}) for row in self.rows]
        body = json.dumps({"redis_up": True, "nodes": rows}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def fake_exporter() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), FakeExporter) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def row(state: str, **since: object) -> dict[str, Any]:
    return {"node_id": "n", "state": state, "heartbeat_ttl_seconds": 0, "last_heartbeat": None, **since}


UNLISTED = "the exporter does not list it: see its --redis.url and --nodes.forget-after"


@pytest.mark.parametrize(
    ("rows", "least", "text", "doubt"),
    [
        ([], None, "", UNLISTED),
        ([row("undecided")], None, "", "the exporter says that it is undecided"),
        ([row("online", ago=7_200)], None, "", "the exporter says that it is online"),
        ([row("offline")], None, "", "the exporter does not say since when it is offline"),
        (
            [row("offline", ago=7_200, offline_since_exact=True)],
            7_200, "offline for 2h 0m", "offline for 2h 0m",
        ),
        (
            [row("offline", ago=7_200, offline_since_exact=False)],
            7_200, "offline for at least 2h 0m", "offline for at least 2h 0m",
        ),
        (
            [row("offline", ago=-86_400, offline_since_exact=True)],
            0, "offline for 0s", "offline for 0s",
        ),
    ],
    ids=["not listed", "undecided", "online", "older exporter", "seen to die", "dead before", "a time in the future"],
)  # fmt: skip
def test_answer_of_the_exporter_about_a_node_is_used_unchanged(
    fake_exporter: str, rows: list[dict[str, Any]], least: float | None, text: str, doubt: str
) -> None:
    FakeExporter.rows = rows
    age = ages_by_exporter(fake_exporter, 30)(NodeKeys(b"n", MISSING, has_hash=True))
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


Said = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def said(shared_redis: RedisServer, client: "redis.Redis", capsys: pytest.CaptureFixture[str]) -> Said:  # noqa: ARG001
    """Run the command in this process, and return its exit code and its lines."""

    def call(*nodes: str, longer: float | None = None, url: str | None = None, yes: bool = False) -> Any:
        options = {
            "node": list(nodes),
            "offline_longer_than": longer,
            "rehomed": False,
            "exporter.url": url,
            "yes": yes,
        }
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


def test_kept_node_is_a_failure_only_if_the_user_named_it(said: Said, client: "redis.Redis") -> None:
    leave(client, "young")
    code, lines = said(longer=60.0, yes=True)
    assert (code, len(lines), lines[-1]) == (0, 2, "0 nodes deleted, 1 not")


def test_exporter_decides_where_it_is_asked(said: Said, client: "redis.Redis", fake_exporter: str) -> None:
    leave(client, "n")
    leave(client, "other")
    FakeExporter.rows = [row("offline", ago=7_200, offline_since_exact=True)]
    lines = ["n: deleted, offline for 2h 0m", f"other: kept: {UNLISTED}", "1 node deleted, 1 not"]
    assert said(longer=3_600.0, url=fake_exporter, yes=True) == (0, lines)
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


def test_text_that_several_nodes_are_shown_as_names_no_node(deleter: Deleter, client: "redis.Redis") -> None:
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
    ("options", "words"),
    [
        ({}, "name nodes, or give"),
        ({"node": ["n"], "offline_longer_than": 1.0}, "name nodes, or give"),
        ({"node": ["n"], "exporter.url": "http://localhost:1"}, "goes with --offline-longer-than"),
    ],
)
def test_wrong_usage_is_reported_before_a_connection_is_opened(options: dict[str, Any], words: str) -> None:
    given = {"node": [], "offline_longer_than": None, "rehomed": False, "exporter.url": None, "yes": True, **options}
    with pytest.raises(SettingsError, match=words):
        forget.run(load({"redis.url": ["redis://localhost:1"]}), argparse.Namespace(**given))


@pytest.mark.parametrize("mode", ["cluster", "sentinel"])
def test_mode_other_than_standalone_is_refused(mode: str) -> None:
    options = {"node": ["n"], "offline_longer_than": None, "rehomed": False, "exporter.url": None, "yes": True}
    values: dict[str, Any] = {"redis.url": ["redis://localhost:1"], "redis.mode": mode}
    if mode == "sentinel":
        values["redis.sentinel-master"] = "m"
    with pytest.raises(SettingsError, match=r"--redis\.mode must be standalone"):
        forget.run(load(values), argparse.Namespace(**options))


class Late(Deleter):
    """A deleter before whose look one of the nodes has come back."""

    def __init__(self, settings: Settings, client: "redis.Redis", back: str) -> None:
        super().__init__(settings)
        self._come_back = lambda: beat(client, back, 600, loaded_portfolio_ids='["p"]')

    def look(self, names: Sequence[bytes], *, idle: bool = False) -> list[NodeKeys]:
        self._come_back()
        return super().look(names, idle=idle)


def test_all_rehomed_nodes_are_decided_on_and_one_that_is_back_is_kept(
    shared_redis: RedisServer, client: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forget, "CHUNK", 2)
    beat(client, "new", 600, loaded_portfolio_ids='["p"]')
    moved = [f"moved-{number}" for number in range(5)]
    for name in moved:
        beat(client, name, 600, loaded_portfolio_ids='["p"]')
        client.delete(f"heartbeat:node:{name}")
    client.hset("schedule:plan", "p", "new")
    settings = load({"redis.url": [shared_redis.url]})
    with closing(Late(settings, client, "moved-3")) as deleter:
        deleter.look([b"new"])
        client.delete("heartbeat:node:moved-3")
        before = len(client.client_list())
        decisions = list(forget.rehomed(deleter, settings))
        wait_for(lambda: len(client.client_list()) <= before, "for the connections to be closed")
    text = "would be deleted, its portfolios run on other nodes"
    expected = {name: Decision(name, name.encode(), text) for name in moved}
    expected["moved-3"] = Decision("moved-3", None, ONLINE)
    assert decisions == list(expected.values())


def test_plan_that_must_not_be_read_is_an_error_for_rehomed_nodes(
    shared_redis: RedisServer, client: "redis.Redis"
) -> None:
    beat(client, "new", 600, loaded_portfolio_ids='["p"]')
    client.execute_command("acl", "setuser", "blind", "on", ">x", "~*", "+@all", "-hgetall")
    settings = load({"redis.url": [shared_redis.url.replace("//", "//blind:x@")]})
    with closing(Deleter(settings)) as deleter, pytest.raises(SourceError, match="the portfolios cannot be read"):
        list(forget.rehomed(deleter, settings))
    client.acl_deluser("blind")
