"""Sentinels: which server is read before, during and after a failover, and when a Sentinel hangs or is wrong."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from socket import socket
from typing import Any

import pytest
from opened import Open
from rights import ACL_RIGHTS

from exporter.errors import SourceError
from exporter.settings import load
from exporter.source import Reader, Source, open_source, server
from exporter.source.reading import Reading
from lab.clusters import MASTER, Certificates, Watched
from lab.fakes import fake_server
from lab.nodes import beat
from lab.servers import RedisServer, free_port, running_exporter, running_redis, wait_for

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
    with suppress(SourceError):
        return read(reader)
    return None


def test_isolated_master_is_left_once_sentinel_names_another_and_a_dead_sentinel_changes_nothing(
    watched: Watched, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "FOLLOW", 0.0)
    before = read(reader)
    # The replica takes over while the old master is alive, as after a network fault.
    watched.asked.execute_command("SENTINEL", "REMOVE", MASTER)
    with watched.second.client() as client:
        client.execute_command("REPLICAOF", "NO", "ONE")
    watched.asked.execute_command("SENTINEL", "MONITOR", MASTER, "127.0.0.1", watched.second.port, 1)
    after = wait_for(lambda: (r := try_to_read(reader)) and r.server.run_id != before.server.run_id and r, "for it")
    assert after.server.role == "master"
    watched.sentinel.kill()
    for _ in range(3):
        assert read(reader).server.run_id == after.server.run_id


def test_living_node_is_never_called_dead_while_the_master_fails_over(watched: Watched, tmp_path: Path) -> None:
    with watched.first.client() as client:
        beat(client, "node-1")
        client.wait(1, 2000)
    flags = [f"--{name}={text}" for name, text in watched.given.items() if name != "redis.url"]
    with running_exporter(tmp_path, *flags, "--redis.url", watched.given["redis.url"][0]) as exporter:
        wait_for(lambda: exporter.scrape().get("ginkgo_node_up") == {"node-1": 1}, "for the node")
        watched.first.kill()
        failed = False
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            series = exporter.scrape()
            assert series.get("ginkgo_node_up", {"node-1": 1}) == {"node-1": 1}
            failed = failed or series["ginkgo_redis_up"][""] == 0
            if failed and series["ginkgo_redis_up"][""] == 1:
                return
            time.sleep(0.02)
        raise AssertionError("the new master was not read")


def test_master_with_tls_and_a_user_with_few_rights(tmp_path: Path, certificates: Certificates) -> None:
    (tmp_path / "password").write_text("sesame")
    with ExitStack() as stack:
        secured = Watched(tmp_path, stack, certificates)
        with secured.first.client() as client:
            beat(client, "node-1", 600)
            client.hset("schedule:plan", "p1", "node-1")
        for one in (secured.first, secured.second):
            with one.client() as client:
                client.execute_command("ACL", "SETUSER", "exporter", "reset", "on", ">sesame", *ACL_RIGHTS)
        given = secured.given | {"redis.username": "exporter", "redis.password-file": str(tmp_path / "password")}
        source = open_source(load(given))
        stack.callback(source.close)
        assert source.discover(2).names == {b"node-1"}
        reader = source.reader()

        def tells_idle_time() -> bool:  # not while the master makes a snapshot for its replica
            assert read(reader).ttl_ms[0] > 0
            return source.plan(time.monotonic() + 2).idle is not None

        wait_for(tells_idle_time, "for NO-TOUCH behind Sentinel too", 20)
        without = {name: text for name, text in given.items() if name != "redis.tls-ca-file"}
        with pytest.raises(SourceError, match="certificate is not trusted"):
            open_source(load(without)).discover(2)


# --- Sentinels that no real one can be made to be ---------------------------------------------------


class FakeSentinel:
    """Names the server that the test tells it, or hangs."""

    def __init__(self, names: int) -> None:
        self.names = names
        self.hangs = threading.Event()
        self.goes_on = threading.Event()

    def serve(self, near: socket) -> None:
        while near.recv(4096):
            if self.hangs.is_set():
                self.goes_on.wait()
            words = f"name m ip 127.0.0.1 port {self.names} flags master num-other-sentinels 0".split()
            state = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
            near.sendall(f"*1\r\n*{len(words)}\r\n{state}".encode())


@contextmanager
def source_of(*sentinels: FakeSentinel, **options: Any) -> Iterator[Source]:
    with ExitStack() as stack:
        urls = [f"redis://127.0.0.1:{stack.enter_context(fake_server(each.serve))}/1" for each in sentinels]
        given = {"redis.mode": "sentinel", "redis.url": urls, "redis.sentinel-master": "m", **options}
        source = open_source(load(given))
        stack.callback(source.close)
        for each in sentinels:
            stack.callback(each.goes_on.set)
        yield source


@pytest.fixture
def new(tmp_path: Path) -> Iterator[RedisServer]:
    with running_redis(tmp_path / "new") as server:
        yield server


def run_of(one: RedisServer) -> str:
    with one.client() as client:
        return str(client.info("server")["run_id"])


def run_read(source: Source, seconds: float = 5.0) -> str:
    with suppress(SourceError):
        return source.reader().read((), time.monotonic() + seconds).server.run_id
    return ""


def test_failover_is_followed_though_the_sentinel_that_was_asked_before_hangs(
    redis_server: RedisServer, new: RedisServer
) -> None:
    for timeout in (1.0, 5.0):
        first, second = FakeSentinel(redis_server.port), FakeSentinel(redis_server.port)
        with source_of(first, second, **{"redis.timeout": f"{timeout:g}s"}) as source:
            assert run_read(source) == run_of(redis_server)
            first.hangs.set()
            second.names = new.port
            runs = [run_of(redis_server), run_of(new)]
            while (run := run_read(source, timeout)) != runs[1]:
                assert run == runs[0], "each read succeeds"
                time.sleep(0.02)


def test_another_sentinel_is_asked_if_the_first_one_names_no_living_master(
    redis_server: RedisServer, new: RedisServer
) -> None:
    with redis_server.client() as client:
        client.replicaof("127.0.0.1", new.port)
        wait_for(lambda: client.info("replication")["role"] == "slave")
    for port in (redis_server.port, free_port()):
        with source_of(FakeSentinel(port), FakeSentinel(new.port)) as source:
            wanted = run_of(new)
            wait_for(lambda: run_read(source) == wanted, "for the master that the other Sentinel names", 20)  # noqa: B023


def test_master_that_no_sentinel_knows_is_reported_in_one_line(opened: Open, redis_server: RedisServer) -> None:
    with (
        source_of(FakeSentinel(1), **{"redis.sentinel-master": "other"}) as source,
        pytest.raises(SourceError, match=r"^no Sentinel names a master 'other' \(see --redis\.url"),
    ):
        read(source.reader())
    source = opened(redis_server.url, redis_mode="sentinel", redis_sentinel_master="m")
    with pytest.raises(SourceError, match=r"the server is no Sentinel: see --redis\.mode"):
        read(source.reader())
