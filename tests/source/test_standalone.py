"""Reading one server chunk by chunk: the result does not depend on where a chunk ends."""

import time
from collections.abc import Sequence
from itertools import product

import pytest

from exporter.contract import FIELDS
from exporter.settings import load
from exporter.source import open_source, requests
from lab.nodes import beat, heartbeat_key, metrics_key
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
value, and whether the hash is missing.

In the last two kinds, a key has the wrong type.
"""


def fill(redis_server: RedisServer, names: list[str]) -> None:
    with redis_server.client() as client:
        for name in names:
            kind = name.partition("/")[2]
            if kind != "gone":
                beat(client, name, total_events="7")
            if kind in ("without hash", "no hash"):
                client.delete(metrics_key(name))
            if kind == "no hash":
                client.rpush(metrics_key(name), "a")
            if kind in ("crashed", "no text"):
                client.delete(heartbeat_key(name))
            if kind == "no text":
                client.rpush(heartbeat_key(name), "a")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("pattern", ["".join(pattern) for pattern in product("ox", repeat=3)])
def test_nodes_are_told_apart_in_any_chunk(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, size: int, pattern: str
) -> None:
    monkeypatch.setattr(requests, "CHUNK", size)
    kinds = [kind for letter in pattern for kind in (SEEN if letter == "x" else ["alive"] * 3)]
    names = [f"{number:02}/{kind}" for number, kind in enumerate(kinds)]
    fill(redis_server, names)
    source = open_source(load({"redis.url": [redis_server.url]}))
    raw = tuple(name.encode() for name in names)
    parts = list(source.reader().parts(raw, time.monotonic() + 5))
    source.close()
    assert tuple(name for part in parts for name in part.names) == raw
    seen = [
        (part.fields[FIELDS.index("total_events")][i], part.ttl_ms[i] > 0, beat is not None, i in part.without_hash)
        for part in parts
        for i, beat in enumerate(part.beats)
    ]
    assert seen == [SEEN[kind] for kind in kinds]


@pytest.mark.parametrize("last", ["alive", "crashed"])
def test_flush_during_a_read_is_reported_together_with_the_nodes_that_it_deleted(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    monkeypatch.setattr(requests, "CHUNK", 1)
    names = [f"{number}/alive" for number in range(6)]
    fill(redis_server, names)
    source = open_source(load({"redis.url": [redis_server.url]}))
    parts = source.reader().parts([name.encode() for name in names], time.monotonic() + 5)
    first = next(parts)
    with redis_server.client() as client:
        client.flushall()
        beat(client, names[-1])
        if last == "crashed":
            client.delete(heartbeat_key(names[-1]))
    rest = list(parts)
    source.close()
    assert (first.server.flushes, first.without_hash) == (0, frozenset())
    taken = [part for part in rest if part.without_hash]
    assert len(taken) >= 3
    assert {part.server.flushes for part in taken} == {1}
    flushes = [part.server.flushes for part in rest]
    assert flushes == sorted(flushes), "no part is told by an earlier look than the part before"


@pytest.mark.parametrize(
    ("between", "before", "lives"),
    [
        ("redis.call('SET', KEYS[1], 'beat', 'PX', 30000)", "crashed", True),
        ("redis.call('DEL', KEYS[1])", "alive", False),
    ],
    ids=["written", "expired"],
)
def test_heartbeat_that_appears_or_disappears_between_pttl_and_mget_is_read_again(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, between: str, before: str, *, lives: bool
) -> None:
    """A script in the place of MGET first does what another client may do between PTTL and MGET."""
    script = f"{between} return redis.call('MGET', unpack(KEYS))".encode()

    def mget(keys: requests.KeyNames, names: Sequence[bytes]) -> bytes:
        hearts = [keys.heartbeat + name for name in names]
        return requests.pack(b"EVAL", script, b"%d" % len(hearts), *hearts)

    monkeypatch.setattr(requests.KeyNames, "mget", mget)
    names = [f"0/{before}", "1/alive"]
    fill(redis_server, names)
    source = open_source(load({"redis.url": [redis_server.url]}))
    reading = source.reader().read([name.encode() for name in names], time.monotonic() + 5)
    source.close()
    assert [ttl > 0 for ttl in reading.ttl_ms] == [lives, True]
    assert [beat is not None for beat in reading.beats] == [lives, True]
    assert not reading.without_hash
