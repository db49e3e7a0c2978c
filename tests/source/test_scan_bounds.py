"""A scan ends, whatever Redis answers, and the names that it found until then are used."""

import itertools
import socket
from collections.abc import Callable

import hiredis
import pytest

from exporter.settings import load
from exporter.source import open_source
from exporter.source.discovery import Found
from exporter.source.limits import LONGEST_NAME
from exporter.source.requests import pack
from lab.fake_redis import FakeRedis, packed
from lab.fakes import fake_server
from lab.nodes import beat

Scan = Callable[[], bytes]


def found_by(scan: Scan, told: list[str], data: FakeRedis | None = None) -> Found:
    """Return what a discovery finds whose SCANs are answered by ``scan``; at most 50 nodes may be exported."""

    held = data or FakeRedis()

    def answer(near: socket.socket) -> None:
        reader = hiredis.Reader()
        while data := near.recv(65536):
            reader.feed(data)
            while words := reader.gets():
                near.sendall(scan() if words[0] == b"SCAN" else packed(held.execute(*words)))

    with fake_server(answer) as port:
        settings = load({"redis.url": [f"redis://127.0.0.1:{port}"], "collector.max-nodes": "50"})
        source = open_source(settings, lambda budget, effect: told.append(f"{budget}: {effect}"))
        try:
            return source.discover(10)
        finally:
            source.close()


NAMES = [b"execution-node-%06d" % number for number in range(30)]


def holding() -> FakeRedis:
    """Return a Redis with nodes."""
    fake = FakeRedis()
    for name in NAMES:
        beat(fake.client(), name)
    return fake


def page(cursor: int, *names: bytes) -> bytes:
    return b"*2\r\n$%d\r\n%d\r\n" % (len(b"%d" % cursor), cursor) + pack(*(b"node:metrics:" + name for name in names))


def test_scan_that_names_new_nodes_without_end_is_ended_and_told() -> None:
    numbers, told = itertools.count(1), list[str]()
    found = found_by(lambda: page(next(numbers), *(b"%d-%d" % (next(numbers), i) for i in range(30))), told)
    assert not found.names, "names without keys are left out of what a cut scan found"
    assert (found.cut, found.complete) == (True, False)
    assert len(told) == 1
    assert told[0].startswith("discovery: a scan of Redis was ended: more than ")


def test_scan_without_names_and_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, told = itertools.count(1), list[str]()
    monkeypatch.setattr("exporter.source.discovery.MOST_PAGES", 20)
    assert found_by(lambda: page(next(numbers)), told).cut
    assert told == ["discovery: a scan of Redis was ended: 20 pages"]
    monkeypatch.setattr("exporter.source.discovery.MOST_SECONDS", 0.0)
    assert found_by(lambda: page(next(numbers)), told).cut


@pytest.mark.parametrize("names", [(), (b"execution-node-000001",)])
def test_cursor_that_is_answered_with_itself_ends_the_scan_which_is_not_complete(names: tuple[bytes, ...]) -> None:
    told = list[str]()
    found = found_by(lambda: page(7, *names), told, holding())
    assert found.names == {*names}
    assert (found.cut, found.complete) == (True, False), "nodes that it did not find may still have keys"
    assert told == ["discovery: a scan of Redis was ended: the same cursor again"]


def test_id_that_is_too_long_is_left_out_and_told() -> None:
    told = list[str]()
    found = found_by(lambda: page(0, b"x" * LONGEST_NAME, b"y" * (LONGEST_NAME + 1), b"z"), told)
    assert found.names == {b"x" * LONGEST_NAME, b"z"}
    assert not found.cut
    assert told == [f"discovery: 1 ids of more than {LONGEST_NAME} bytes were left out"]


def test_name_that_looks_like_a_huge_array_is_found() -> None:
    assert found_by(lambda: page(0, b"a\r\n*300000000\r\n"), []).names == {b"a\r\n*300000000\r\n"}


def test_names_with_keys_are_kept_of_a_scan_that_was_ended() -> None:
    numbers, told = itertools.count(1), list[str]()
    found = found_by(
        lambda: page(next(numbers), *NAMES, *(b"%d-%d" % (next(numbers), i) for i in range(30))), told, holding()
    )
    assert found.names == {*NAMES}
    assert found.cut
