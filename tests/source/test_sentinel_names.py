"""Sentinels that hang, or name a server that is no master any more: another one is asked. The Sentinels are fakes."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from socket import socket
from typing import Any

import pytest

from exporter.errors import SourceError
from exporter.settings import load
from exporter.source import open_source
from exporter.source.reading import Source
from lab.fakes import fake_server
from lab.servers import RedisServer, free_port, running_redis, wait_for


class FakeSentinel:
    """Names the server that the test tells it, or hangs."""

    def __init__(self, names: int) -> None:
        self.names = names
        self.hangs = threading.Event()
        self.goes_on = threading.Event()

    def serve(self, sock: socket) -> None:
        while sock.recv(4096):
            if self.hangs.is_set():
                self.goes_on.wait()
            port = str(self.names).encode()
            sock.sendall(b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%b\r\n" % (len(port), port))


@contextmanager
def source_of(*sentinels: FakeSentinel, **options: Any) -> Iterator[Source]:
    with ExitStack() as stack:
        ports = [stack.enter_context(fake_server(each.serve)) for each in sentinels]
        urls = [f"redis://127.0.0.1:{port}/1" for port in ports]
        given = {"redis.mode": "sentinel", "redis.url": urls, "redis.sentinel-master": "m", **options}
        source = open_source(load(given))
        stack.callback(source.close)
        for each in sentinels:
            stack.callback(each.goes_on.set)
        yield source


@pytest.fixture
def old(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path / "old") as server:
        yield server


@pytest.fixture
def new(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path / "new") as server:
        yield server


def run_of(server: RedisServer) -> str:
    with server.client() as client:
        return str(client.info("server")["run_id"])


def run_read(source: Source, seconds: float = 5.0) -> str:
    return source.reader().read((), time.monotonic() + seconds).server.run_id


@pytest.mark.parametrize("timeout", [1.0, 5.0])
def test_failover_is_followed_though_the_sentinel_that_was_asked_before_hangs(
    old: RedisServer, new: RedisServer, timeout: float
) -> None:
    first, second = FakeSentinel(old.port), FakeSentinel(old.port)
    with source_of(first, second, **{"redis.timeout": f"{timeout:g}s"}) as source:
        assert run_read(source) == run_of(old)
        first.hangs.set()
        second.names = new.port
        wanted = run_of(new)
        wait_for(lambda: run_read(source, timeout) == wanted, "for the new master; each read must succeed", 20)


@pytest.mark.parametrize("named", ["a dead server", "a replica"])
def test_another_sentinel_is_asked_if_the_first_one_names_no_living_master(
    old: RedisServer, new: RedisServer, named: str
) -> None:
    if named == "a replica":
        with old.client() as client:
            client.replicaof("127.0.0.1", new.port)
            wait_for(lambda: client.info("replication")["role"] == "slave")
    stale = FakeSentinel(old.port if named == "a replica" else free_port())
    with source_of(stale, FakeSentinel(new.port)) as source:
        wanted = run_of(new)

        def reads_the_master() -> bool:
            with suppress(SourceError):
                return run_read(source) == wanted
            return False

        wait_for(reads_the_master, "for the master that the other Sentinel names", 20)


def test_connection_that_was_being_made_during_a_failover_is_not_kept(old: RedisServer, new: RedisServer) -> None:
    sentinel = FakeSentinel(old.port)
    with source_of(sentinel) as source:
        old.pause()  # the handshake of the first connection has to wait
        read: list[str] = []
        thread = threading.Thread(target=lambda: read.append(run_read(source, 30)))
        thread.start()
        wait_for(lambda: source._address == ("127.0.0.1", old.port), "for the old master's name")  # type: ignore[attr-defined]
        sentinel.names = new.port
        wanted, former = run_of(new), None
        wait_for(lambda: run_read(source) == wanted, "for the new master")
        old.resume()
        thread.join()
        former = run_of(old)
        assert read == [former], "the read that had begun before"
        assert {run_read(source) for _ in range(5)} == {wanted}
