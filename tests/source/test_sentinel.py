"""A real Sentinel, a master and a replica: which server is read before, during and after a failover."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from exporter.errors import SourceError
from exporter.fleet import Fleet
from exporter.liveness.judge import State
from exporter.source import open_source, sentinel
from exporter.source.reading import Reader, Reading
from lab.nodes import beat
from lab.sentinels import Watched
from lab.servers import wait_for

pytestmark = pytest.mark.server("redis-server")


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with ExitStack() as stack:
        yield Watched(tmp_path, stack)


@pytest.fixture
def reader(watched: Watched) -> Iterator[Reader]:
    source = open_source(watched.settings)
    yield source.reader()
    source.close()


def read(reader: Reader) -> Reading:
    return reader.read([b"node-1"], time.monotonic() + 2)


def try_to_read(reader: Reader) -> Reading | None:
    try:
        return read(reader)
    except SourceError:
        return None


def test_master_that_sentinel_names_is_read(watched: Watched, reader: Reader) -> None:
    with watched.first.client() as client:
        beat(client, "node-1")
    reading = read(reader)
    assert reading.server.role == "master"
    assert reading.ttl_ms[0] > 0


def test_failover_is_followed(watched: Watched, reader: Reader) -> None:
    before = read(reader)
    watched.first.kill()
    wait_for(watched.promoted, "for the failover")
    with watched.second.client() as client:
        beat(client, "node-1")
    after = wait_for(lambda: try_to_read(reader), "for the new master")
    assert after.server.role == "master"
    assert after.server.run_id != before.server.run_id
    assert after.ttl_ms[0] > 0


def test_demoted_server_is_not_read_any_more(watched: Watched, reader: Reader) -> None:
    assert read(reader).server.role == "master"
    with watched.first.client() as client:
        # The connection stays open, and Sentinel has not noticed the change yet.
        client.execute_command("REPLICAOF", "127.0.0.1", watched.second.port)
    with pytest.raises(SourceError, match="replica"):
        read(reader)
    watched.name_second_as_master()
    assert wait_for(lambda: try_to_read(reader), "for a master").server.role == "master"


def test_isolated_master_is_left_once_sentinel_names_another(
    watched: Watched, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentinel, "FOLLOW", 0.0)
    before = read(reader)
    watched.name_second_as_master()
    after = wait_for(lambda: (r := try_to_read(reader)) and r.server.run_id != before.server.run_id and r, "for it")
    assert after.server.role == "master"


def test_sentinel_that_is_down_changes_nothing_while_the_master_answers(
    watched: Watched, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentinel, "FOLLOW", 0.0)
    before = read(reader)
    watched.sentinel.kill()
    assert read(reader).server.run_id == before.server.run_id


def test_master_that_is_unknown_to_sentinel_is_reported_in_one_line(watched: Watched) -> None:
    redis_settings = watched.settings.redis.with_values(sentinel_master="another")
    source = open_source(watched.settings._replace(redis=redis_settings))
    with pytest.raises(SourceError, match="No master found for 'another'"):
        read(source.reader())
    source.close()


def test_living_node_is_never_called_dead_while_the_master_fails_over(watched: Watched) -> None:
    with watched.first.client() as client:
        beat(client, "node-1")
        client.wait(1, 2000)
    with Fleet(watched.settings) as fleet:
        wait_for(lambda: not fleet.not_ready, "for the fleet")
        assert fleet.read().counts[State.ONLINE] == 1
        watched.first.kill()
        failed = False
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                snapshot = fleet.read()
            except SourceError:
                failed = True
            else:
                assert snapshot.counts[State.OFFLINE] == 0
                if failed:
                    break
            time.sleep(0.02)
        assert failed
        assert snapshot.counts[State.ONLINE] == 1
