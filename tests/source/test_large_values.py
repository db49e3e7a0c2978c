"""Large values cost their own nodes only: others are read, and what is too large counts as invalid."""

import time
from typing import Any

import pytest

from exporter.contract import FIELDS
from exporter.errors import SourceError
from exporter.settings import load
from exporter.source import careful, open_source, requests
from exporter.source.careful import MOST_VALUE, ROOM, TOO_LARGE
from exporter.source.framing import USUAL
from exporter.source.reading import MISSING, Reading
from lab.nodes import beat, crash, heartbeat_key, metrics_key
from lab.servers import RedisServer

NAMES = [b"node-%d" % number for number in range(7)]
LARGE = b"9" * (USUAL.size + 2**20)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def reader(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, told: list[str]) -> Any:
    monkeypatch.setattr(requests, "CHUNK", 2)
    source = open_source(
        load({"redis.url": [redis_server.url]}), lambda budget, effect: told.append(f"{budget}: {effect}")
    )
    with redis_server.client() as client:
        for name in NAMES:
            beat(client, name, queue_size="7")
    yield source.reader()
    source.close()


def read(reader: Any) -> Reading:
    reading: Reading = reader.read(NAMES, time.monotonic() + 20)
    return reading


def queue_sizes(reading: Reading) -> tuple[bytes | None, ...]:
    return tuple(reading.fields[FIELDS.index("queue_size")])


@pytest.mark.parametrize("position", range(len(NAMES)))
def test_large_field_is_invalid_and_all_others_are_read_each_time(
    redis_server: RedisServer, reader: Any, told: list[str], position: int
) -> None:
    with redis_server.client() as client:
        client.hset(metrics_key(NAMES[position]), "queue_size", LARGE)
    for times in (1, 2):
        reading = read(reader)
        assert queue_sizes(reading) == tuple(TOO_LARGE if i == position else b"7" for i in range(len(NAMES)))
        assert min(reading.ttl_ms) > 0
        assert None not in reading.beats
        assert reading.names is NAMES
        assert told == ["replies: 1 very long values were left out"] * times


def test_large_heartbeat_keeps_its_node_alive(redis_server: RedisServer, reader: Any) -> None:
    with redis_server.client() as client:
        client.set(heartbeat_key(NAMES[3]), LARGE, ex=30)
    reading = read(reader)
    assert reading.beats[3] == TOO_LARGE
    assert reading.ttl_ms[3] > 0
    assert set(queue_sizes(reading)) == {b"7"}


def test_careful_read_sees_the_same_of_crashed_stopped_and_broken_nodes(redis_server: RedisServer, reader: Any) -> None:
    with redis_server.client() as client:
        client.delete(heartbeat_key(NAMES[0]), metrics_key(NAMES[0]), metrics_key(NAMES[1]))
        crash(client, NAMES[2])
        client.delete(metrics_key(NAMES[3]), heartbeat_key(NAMES[4]))
        client.rpush(metrics_key(NAMES[3]), "a")
        client.rpush(heartbeat_key(NAMES[4]), "a")
        time.sleep(0.01)
        usual = read(reader)
        reader._large.update(range(len(reader._chunks)))
        carefully = read(reader)
    for name in ("fields", "beats", "without_hash", "names"):
        assert (
            [*map(tuple, getattr(carefully, name))] == [*map(tuple, getattr(usual, name))]
            if name == "fields"
            else (getattr(carefully, name) == getattr(usual, name))
        )
    assert [ttl == MISSING for ttl in carefully.ttl_ms] == [ttl == MISSING for ttl in usual.ttl_ms]
    assert not reader._large, "nothing was too large, so the next read is a usual one"


def test_chunk_is_read_in_the_usual_way_again_when_its_large_value_is_gone(
    redis_server: RedisServer, reader: Any
) -> None:
    with redis_server.client() as client:
        client.hset(metrics_key(NAMES[2]), "queue_size", LARGE)
        read(reader)
        assert reader._large
        client.hset(metrics_key(NAMES[2]), "queue_size", "8")
    for _ in range(2):
        assert queue_sizes(read(reader))[2] == b"8"
    assert not reader._large


def test_value_that_looks_like_a_huge_array_costs_nothing_but_a_second_look(
    redis_server: RedisServer, reader: Any
) -> None:
    with redis_server.client() as client:
        client.hset(metrics_key(NAMES[5]), "status", b"\r\n*300000000\r\n")
    for _ in range(2):
        reading = read(reader)
        assert reading.fields[FIELDS.index("status")][5] == b"\r\n*300000000\r\n"
        assert set(queue_sizes(reading)) == {b"7"}


def test_user_without_the_right_to_ask_for_lengths_is_told_so(redis_server: RedisServer, reader: Any) -> None:
    with redis_server.client() as client:
        client.hset(metrics_key(NAMES[5]), "status", LARGE)
        client.execute_command("ACL", "SETUSER", "default", "-hstrlen")
        try:
            with pytest.raises(SourceError, match="hstrlen"):
                read(reader)
        finally:
            client.execute_command("ACL", "SETUSER", "default", "+hstrlen")


def test_long_values_are_read_as_long_as_there_is_room_the_shorter_ones_first(
    redis_server: RedisServer, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "CHUNK", 100)
    names = [b"long-%d" % number for number in range(10)]
    with redis_server.client() as client:
        for number, name in enumerate(names):
            beat(client, name, queue_size=b"0" * (MOST_VALUE - number))
    reading = reader.read(names, time.monotonic() + 20)
    fits = ROOM // MOST_VALUE
    assert [value == TOO_LARGE for value in queue_sizes(reading)] == [True] * (10 - fits) + [False] * fits


def test_value_that_grows_after_its_length_was_read_is_left_out_alone(
    redis_server: RedisServer, reader: Any, monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    choose = careful._choose

    def choose_and_grow(lengths: list[careful.Lengths], room: int) -> tuple[int, int]:
        chosen = choose(lengths, room)
        with redis_server.client() as client:
            client.hset(metrics_key(NAMES[2]), "queue_size", LARGE)
        return chosen

    monkeypatch.setattr(careful, "_choose", choose_and_grow)
    reader._names = ()
    for _ in range(2):
        reading = read(reader)
        reader._large.add(1)
    assert queue_sizes(reading) == tuple(TOO_LARGE if i == 2 else b"7" for i in range(len(NAMES)))
    assert None not in reading.beats
    assert told == ["replies: 1 very long values were left out"]


def test_value_that_is_large_only_when_it_is_read_costs_its_own_node_and_no_other(
    redis_server: RedisServer, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "CHUNK", 100)
    monkeypatch.setattr(careful._CarefulRead, "_lengths_of", lambda _, positions: [[1] * 10 for _ in positions])
    with redis_server.client() as client:
        client.hset(metrics_key(NAMES[4]), "queue_size", LARGE)
    reading = read(reader)
    assert queue_sizes(reading) == tuple(TOO_LARGE if i == 4 else b"7" for i in range(len(NAMES)))
    assert min(reading.ttl_ms) > 0
    assert reading.beats[4] == TOO_LARGE


def test_very_many_values_that_are_large_only_when_they_are_read_end_the_search_for_them(
    redis_server: RedisServer, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "CHUNK", 100)
    monkeypatch.setattr(careful, "_HALVINGS", 2)
    monkeypatch.setattr(careful._CarefulRead, "_lengths_of", lambda _, positions: [[1] * 10 for _ in positions])
    with redis_server.client() as client:
        for name in NAMES:
            client.hset(metrics_key(name), "queue_size", LARGE)
    reading = read(reader)
    assert set(queue_sizes(reading)) == {TOO_LARGE}
    assert min(reading.ttl_ms) > 0
