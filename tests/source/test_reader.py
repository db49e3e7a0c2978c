"""Reading one server: any chunk, keys of any type and size, and replies that break off."""

import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from socket import socket
from threading import Event

import pytest
import redis
from opened import Open

from exporter.contract import FIELDS
from exporter.demo.platform import Node
from exporter.errors import SourceError
from exporter.source import reader as readers
from exporter.source.connection import pack
from exporter.source.reader import NODE_BYTES
from exporter.source.reading import MISSING, TOO_LARGE, Reading
from lab.fakes import fake_server
from lab.nodes import beat, heartbeat_key, metrics_key
from lab.proxy import NONE, Fault, Proxy
from lab.servers import RedisServer

SEEN = {
    "alive": (b"7", True, True, False),
    "crashed": (b"7", False, False, False),
    "without hash": (None, True, True, True),
    "gone": (None, False, False, True),
    "no hash": (None, True, True, False),
    "no text": (b"7", False, False, False),
}
"""The expected reading for each kind of node: events, whether the heartbeat has a TTL, whether the heartbeat has a
value, and whether the hash is missing. In the last two kinds, a key has the wrong type."""
LARGE = b"9" * (NODE_BYTES + 2**19)


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator["redis.Redis"]:
    with redis_server.client() as client:
        yield client


def write(client: "redis.Redis", name: str) -> None:
    """Write the keys of a node whose kind is the end of its name."""
    kind = name.partition("/")[2]
    if kind != "gone":
        beat(client, name, 600, total_events="7")
    if kind in ("without hash", "no hash"):
        client.delete(metrics_key(name))
    if kind == "no hash":
        client.rpush(metrics_key(name), "a")
    if kind in ("crashed", "no text"):
        client.delete(heartbeat_key(name))
    if kind == "no text":
        client.rpush(heartbeat_key(name), "a")


def seen(reading: Reading) -> list[tuple[bytes | None, bool, bool, bool]]:
    events = reading.fields[FIELDS.index("total_events")]
    return [
        (events[i], reading.ttl_ms[i] > 0, text is not None, i in reading.without_hash)
        for i, text in enumerate(reading.beats)
    ]


def test_nodes_are_told_apart_in_any_chunk(
    client: "redis.Redis", redis_server: RedisServer, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, wrong = opened(redis_server.url), []
    for pattern, size in product(product("ox", repeat=3), (1, 2, 3, 5, 100)):
        monkeypatch.setattr(readers, "CHUNK", size)
        client.flushall()
        kinds = [kind for letter in pattern for kind in (SEEN if letter == "x" else ["alive"] * 3)]
        names = [f"{number:02}/{kind}" for number, kind in enumerate(kinds)]
        for name in names:
            write(client, name)
        parts = list(source.reader().parts(raw := tuple(name.encode() for name in names), time.monotonic() + 5))
        assert tuple(name for part in parts for name in part.names) == raw
        if [one for part in parts for one in seen(part)] != [SEEN[kind] for kind in kinds]:
            wrong.append((pattern, size))
    assert not wrong


def test_flush_during_a_read_is_reported_together_with_the_nodes_that_it_deleted(
    client: "redis.Redis", redis_server: RedisServer, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "CHUNK", 1)
    names = [f"{number}/alive" for number in range(6)]
    for last in ("alive", "crashed"):
        client.config_resetstat()
        for name in names:
            write(client, name)
        parts = opened(redis_server.url).reader().parts([name.encode() for name in names], time.monotonic() + 5)
        first = next(parts)
        client.flushall()
        write(client, f"5/{last}")
        rest = list(parts)
        assert (first.server.flushes, first.without_hash) == (0, frozenset())
        taken = [part.server.flushes for part in rest if part.without_hash]
        assert len(taken) >= 3, "flushed before they were read"
        assert set(taken) == {1}
        flushes = [part.server.flushes for part in rest]
        assert flushes == sorted(flushes), "no part is told by an earlier look than the part before"


def test_value_that_is_too_large_costs_its_own_node_its_values_and_nothing_else(
    client: "redis.Redis", redis_server: RedisServer, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "CHUNK", 4)
    names, told = [f"{number}/alive" for number in range(11)], []
    raw = [name.encode() for name in names]
    for name in names:
        write(client, name)
    for field, heartbeat, gone in ((0, 3, 10), (7, 7, 8), (10, 0, 4)):
        source = opened(redis_server.url, told=lambda *budget: told.append(budget))
        reader = source.reader()
        client.hset(metrics_key(names[field]), "queue_size", LARGE)
        client.set(heartbeat_key(names[heartbeat]), LARGE, ex=600)
        Node(names[gone]).stop(client)
        for _ in range(3):
            reading = reader.read(raw, time.monotonic() + 20)
            large = {field, heartbeat}
            assert [i for i, beat in enumerate(reading.beats) if beat == TOO_LARGE] == sorted(large), reading
            assert [ttl == MISSING for ttl in reading.ttl_ms] == [i == gone for i in range(11)]
            empty = [i for i, value in enumerate(reading.fields[FIELDS.index("total_events")]) if value is None]
            assert empty == sorted({*large, gone})
            assert reading.without_hash == {gone}
            assert len(told) == len(large), "told once"
        for name in names:
            Node(name).stop(client)
            write(client, name)
        source.discover(5)
        assert set(seen(reader.read(raw, time.monotonic() + 5))) == {SEEN["alive"]}, "of the usual size again"
        told.clear()


def test_questions_about_other_keys_keep_their_connection(
    client: "redis.Redis", redis_server: RedisServer, opened: Open
) -> None:
    source, before = opened(redis_server.url), client.info("stats")["total_connections_received"]
    for _ in range(3):
        assert source.gather([b"a", b"b"], lambda key: pack(b"PTTL", key), time.monotonic() + 5) == [MISSING, MISSING]
    assert client.info("stats")["total_connections_received"] - before == 1


def test_many_values_that_are_too_large_cost_one_connection_each_and_discovery_tries_them_again(
    client: "redis.Redis", redis_server: RedisServer, opened: Open
) -> None:
    def connections() -> int:
        return int(client.info("stats")["total_connections_received"])

    names, told = [f"{number:03}/alive" for number in range(100)], []
    for number, name in enumerate(names):
        write(client, name)
        if number % 3 == 0:
            client.hset(metrics_key(name), "queue_size", LARGE)
    source = opened(redis_server.url, told=lambda *budget: told.append(budget))
    reader, raw = source.reader(), [name.encode() for name in names]
    for most, again in ((34 + 2, reader.read), (1, reader.read), (1 + 3, lambda *_: source.discover(20))):
        before = connections()
        again(raw, time.monotonic() + 30)
        assert connections() - before <= most
        beats = reader.read(raw, time.monotonic() + 30).beats
        assert [i for i, beat in enumerate(beats) if beat == TOO_LARGE] == list(range(0, 100, 3))
    assert len(told) == 34


def test_search_for_large_values_leaves_half_of_the_time_for_all_nodes_and_the_next_read_goes_on_with_it(
    client: "redis.Redis", redis_server: RedisServer, opened: Open
) -> None:
    names, told = [f"{number:03}/alive" for number in range(24)], []
    for name in names:
        write(client, name)
    for name in names[::2]:
        client.set(heartbeat_key(name), LARGE, ex=600)
    with Proxy(redis_server.port) as proxy:
        proxy.fault = Fault(delay=0.01)
        source = opened(f"redis://127.0.0.1:{proxy.port}", told=lambda *budget: told.append(budget))
        raw = [name.encode() for name in names]
        while (before := len(told)) < 12:
            reading = source.reader().read(raw, time.monotonic() + 2)
            assert min(reading.ttl_ms) > 0, "all nodes are alive"
            assert all(beat == TOO_LARGE for beat in reading.beats[::2])
            assert 0 < len(told) - before < 12, "the search goes on, and was ended"
        beats = source.reader().read(raw, time.monotonic() + 2).beats
        assert [beat == TOO_LARGE for beat in beats] == [True, False] * 12


def test_values_that_look_like_long_replies_and_many_that_are_large_together_cost_nothing(
    client: "redis.Redis", redis_server: RedisServer, opened: Open
) -> None:
    texts = ["alpha|600519", "*999999\r\n", "%1000000", ">12345678\n", "~600519", *["x" * (NODE_BYTES // 3)] * 40]
    names = [b"node-%d" % number for number in range(len(texts))]
    for name, text in zip(names, texts, strict=True):
        beat(client, name, 600, status=text, queue_size=text)
    reader = opened(redis_server.url).reader()
    for opens in (1, 0, 0):
        before = client.info("stats")["total_connections_received"]
        status = reader.read(names, time.monotonic() + 5).fields[FIELDS.index("status")]
        assert status == tuple(text.encode() for text in texts)
        assert client.info("stats")["total_connections_received"] - before == opens


def test_reply_of_an_absurd_length_fails_the_read_and_the_next_goes_on(
    redis_server: RedisServer, client: "redis.Redis", opened: Open
) -> None:
    write(client, "a/alive")
    lies = Event()
    with Proxy(redis_server.port) as proxy:
        proxy.fault = Fault(turn=lambda data: b"*4294967295\r\n" if lies.is_set() else data)
        reader = opened(f"redis://127.0.0.1:{proxy.port}").reader()
        reader.read([b"a/alive"], time.monotonic() + 5)
        lies.set()
        with pytest.raises(SourceError, match=r"does not speak Redis's protocol .*MemoryError"):
            reader.read([b"a/alive"], time.monotonic() + 5)
        lies.clear()
        assert seen(reader.read([b"a/alive"], time.monotonic() + 5)) == [SEEN["alive"]]


def test_connection_that_is_lost_within_a_batch_costs_one_read(
    redis_server: RedisServer, client: "redis.Redis", opened: Open
) -> None:
    names = [f"{number:03}/{kind}" for number, kind in enumerate(list(SEEN) * 100)]
    for name in names:
        write(client, name)
    raw = [name.encode() for name in names]
    with Proxy(redis_server.port) as proxy:
        reader = opened(f"redis://127.0.0.1:{proxy.port}").reader()
        for cut in range(20):
            proxy.fault = Fault(piece=1 + 400 * cut, cut_within=20_000)
            with pytest.raises(SourceError):
                reader.read(raw, time.monotonic() + 5)
            proxy.fault = NONE
            proxy.cut()
            assert seen(reader.read(raw, time.monotonic() + 5)) == [SEEN[name.partition("/")[2]] for name in names]


def test_anything_but_replies_is_a_failed_read_that_says_so(opened: Open) -> None:
    wrong = []
    replies = (
        b"+OK\r\n",
        b"$-1\r\n",
        b":1\r\n",
        b"*0\r\n",
        b"-ERR no\r\n",
        b"-LOADING x\r\n",
        b"HTTP/1.1 400 Bad\r\n\r\n",
    )
    for reply in (*replies, b"$-5\r\n", b"\0\xff\r\n", b"-MOVED 1 a\r\n"):

        def answer(near: socket, reply: bytes = reply) -> None:
            while near.recv(65536):
                near.sendall(reply * 20)

        with fake_server(answer) as port:
            for mode in ("standalone", "cluster"):
                source = opened(f"redis://127.0.0.1:{port}", redis_mode=mode, redis_timeout="1s")
                for ask in (lambda: source.reader().read([b"a"], time.monotonic() + 0.5), lambda: source.discover(0.5)):  # noqa: B023
                    with suppress(SourceError):
                        wrong.append((reply, mode, ask()))
    assert not wrong
