"""Short attacks: the exporter holds; whatever a hostile Redis says, a read at worst fails."""

import argparse
import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
from fake_connection import answer
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import SourceError
from exporter.fleet import Fleet
from exporter.settings import load
from exporter.snapshot.rows import rows_of
from lab import siege
from lab.attacks import ATTACKS
from lab.fake_redis import FakeRedis
from lab.fakes import fake_server
from lab.nodes import beat


@pytest.mark.server("redis-server")
def test_exporter_holds_through_seconds_of_attacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(siege, "SLOWEST", 30.0)
    monkeypatch.delenv("CI", raising=False)
    some = [attack for attack in ATTACKS if attack.name in ("malformed", "guessers", "large-value")]
    monkeypatch.setattr(siege, "ATTACKS", [replace(attack, nodes=100) for attack in some])
    arguments = argparse.Namespace(seconds=2, only=[attack.name for attack in some])
    _, *rows = siege.table(arguments, tmp_path)
    assert not [row for row, held in rows if not held]
    assert [row.split(":")[0] for row, _ in rows] == [f"| {attack.name}" for attack in some]


SHAPES = (
    *(b":1\r\n", b"+OK\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"_\r\n", b"#t\r\n", b",nan\r\n", b"-ERR no\r\n"),
    *(b"*2\r\n:1\r\n:2\r\n", b"*9\r\n" + b"*0\r\n" * 9, b"~1\r\n:1\r\n", b"%1\r\n+a\r\n:1\r\n", b"=5\r\ntxt:a\r\n"),
    *(b">1\r\n+a\r\n", b"*1\r\n" * 12 + b":1\r\n", b"*9\r\n" + b"-ERR no\r\n" * 9, b"!3\r\nERR\r\n"),
    *(b"*1000\r\n" + b":7\r\n" * 1000, b"(123456789012345678901234567890\r\n"),
)
"""Replies of every type of RESP2 and RESP3. A command gets them in place of the type that it asks for."""
COMMANDS = (b"SCAN", b"INFO", b"HMGET", b"GET", b"PTTL", b"HGETALL", b"OBJECT", b"CLIENT")
REPLIES = st.one_of(
    st.sampled_from(SHAPES),
    st.binary(max_size=30),
    st.lists(st.sampled_from(SHAPES), max_size=12).map(lambda items: b"*%d\r\n" % len(items) + b"".join(items)),
    st.sampled_from([b"-WRONGTYPE x\r\n", b"-LOADING x\r\n", b"-NOPERM x\r\n", b"-MOVED 1 a:1\r\n", b"-ASK 1 a:1\r\n"]),
)


@settings(deadline=None, max_examples=60)
@given(replies=st.dictionaries(st.sampled_from(COMMANDS), REPLIES, min_size=1, max_size=2))
def test_reply_of_any_shape_is_at_worst_an_unreadable_redis(replies: dict[bytes, bytes]) -> None:
    fake, names = FakeRedis(), {"a", "b", "c"}
    for name in names:
        beat(fake.client(), name, 3600)

    def twist(words: list[bytes], honest: bytes) -> bytes:
        return replies.get(words[0].upper(), honest)

    with fake_server(lambda near: answer(fake, near, twist)) as port:
        fleet = Fleet(load({"redis.url": [f"redis://127.0.0.1:{port}"], "redis.timeout": "300ms"}))
        with contextlib.suppress(SourceError):
            snapshot = fleet.look()
            assert b"SCAN" in replies or set(snapshot.ids) <= names
            list(rows_of(snapshot))
        replies.clear()
        assert set(fleet.look().ids) >= names
        fleet.close()
