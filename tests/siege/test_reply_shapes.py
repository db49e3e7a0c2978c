"""Whatever a hostile Redis answers, a read fails with one reason at worst, and the next honest reply is read."""

import contextlib
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import SourceError
from exporter.fleet import Fleet
from exporter.settings import load
from exporter.snapshot.rows import rows_of
from exporter.source import open_source
from lab.fakes import fake_server
from lab.siege.fake_redis import Data, answer
from lab.siege.redis_attacks import SHAPES, always

COMMANDS = [b"SCAN", b"INFO", b"HMGET", b"PTTL", b"MGET", b"EXISTS", b"GET", b"HGETALL", b"OBJECT", b"CLIENT"]
NAMES = [f"execution-node-{number:06}" for number in range(5)]


def bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


def line(kind: bytes, text: str) -> bytes:
    return kind + text.encode("utf-8", "replace").replace(b"\r", b"").replace(b"\n", b"") + b"\r\n"


def aggregate(items: list[bytes], kind: bytes) -> bytes:
    count = len(items) // 2 if kind == b"%" else len(items)
    return b"%b%d\r\n" % (kind, count) + b"".join(items[: 2 * count] if kind == b"%" else items)


SCALARS = st.one_of(
    st.integers().map(lambda number: b":%d\r\n" % number),
    st.floats().map(lambda number: line(b",", repr(number))),
    st.booleans().map(lambda is_true: b"#t\r\n" if is_true else b"#f\r\n"),
    st.integers().map(lambda number: b"(%d\r\n" % number),
    st.binary(max_size=20).map(bulk),
    st.text(max_size=20).map(lambda text: line(b"+", text)),
    st.text(max_size=20).map(lambda text: line(b"-", text)),
    st.sampled_from(["WRONGTYPE x", "LOADING x", "NOPERM x", "MOVED 1 a:1", "ASK 1 a:1", "MASTERDOWN x"]).map(
        lambda text: line(b"-", text)
    ),
    st.binary(max_size=20).map(lambda text: b"=%d\r\ntxt:%b\r\n" % (len(text) + 4, text)),
    st.sampled_from([b"_\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"%0\r\n", b"~0\r\n", b"|0\r\n"]),
)
REPLIES = st.one_of(
    st.sampled_from(SHAPES),
    st.binary(max_size=30),
    st.recursive(
        SCALARS,
        lambda inner: st.builds(aggregate, st.lists(inner, max_size=12), st.sampled_from([b"*", b"%", b"~", b">"])),
        max_leaves=30,
    ),
    st.lists(SCALARS, min_size=9, max_size=9).map(lambda items: aggregate(items, b"*")),
    st.lists(st.binary(max_size=5).map(bulk), max_size=12).map(lambda items: aggregate(items, b"*")),
    st.lists(SCALARS, min_size=5, max_size=5).map(lambda items: aggregate(items, b"*")),
)


class Hostile:
    """What is answered to which command; everything else is answered honestly."""

    replies: dict[bytes, bytes]

    def twist(self, words: list[bytes], honest: bytes) -> bytes:
        return self.replies.get(words[0].upper(), honest)


@pytest.fixture(scope="module")
def hostile() -> Hostile:
    return Hostile()


@pytest.fixture(scope="module")
def fleet(hostile: Hostile) -> Iterator[Fleet]:
    data = Data(len(NAMES))
    with fake_server(lambda near: answer(near, data, hostile.twist, lambda: bool(hostile.replies))) as port:
        fleet = Fleet(load({"redis.url": [f"redis://127.0.0.1:{port}"], "redis.timeout": "300ms"}))
        yield fleet
        fleet.close()


@settings(deadline=None)
@given(replies=st.dictionaries(st.sampled_from(COMMANDS), REPLIES, min_size=1, max_size=2))
def test_reply_of_any_shape_is_at_worst_an_unreadable_redis(
    hostile: Hostile, fleet: Fleet, replies: dict[bytes, bytes]
) -> None:
    hostile.replies = replies
    for work in (fleet.look, fleet.reader.read):
        with contextlib.suppress(SourceError):
            snapshot = work()
            assert b"SCAN" in replies or set(snapshot.ids) <= set(NAMES)
            list(rows_of(snapshot))
    hostile.replies = {}
    assert set(fleet.look().ids) >= set(NAMES)
    assert set(fleet.look().ids) == set(NAMES)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [(b"*300000000\r\n", "300000000 elements"), (b"*99999\r\n" + b"*0\r\n" * 99_999, "more than 99,999 elements")],
    ids=["huge count", "many empty arrays"],
)
def test_reply_of_too_many_elements_is_an_unreadable_redis_and_no_long_value(reply: bytes, reason: str) -> None:
    data, names = Data(15), [b"execution-node-%06d" % number for number in range(15)]
    with fake_server(lambda near: answer(near, data, always(reply, b"HMGET"), lambda: True)) as port:
        source = open_source(load({"redis.url": [f"redis://127.0.0.1:{port}"]}))
        with pytest.raises(SourceError, match=reason):
            source.reader().read(names, time.monotonic() + 60)
        source.close()
