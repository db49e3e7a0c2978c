"""The server under pressure: hanging, slow and many clients do not keep a scraper out."""

import http.client
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import pytest

from exporter.web.connections import MOST_CONNECTIONS
from lab.nodes import beat
from lab.servers import Exporter, RedisServer, running_exporter, running_redis, wait_for
from witness import Vitals

NODES: Final = 1000
HUNDRED: Final = 100
LATER: Final = 0.1
"""Seconds by which a hundred hanging clients may delay a scrape."""
FLAGS: Final = ("--heartbeat.ttl", "10m", "--redis.timeout", "30s")
REQUEST: Final = b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server, server.client() as client:
        for number in range(NODES):
            beat(client, f"node-{number}", 600)
        yield server


@pytest.fixture(scope="module")
def exporter(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    folder = tmp_path_factory.mktemp("exporter")
    with running_exporter(folder, "--redis.url", server.url, *FLAGS) as exporter:
        wait_for(lambda: is_whole(exporter.get().body), "for all nodes to be known")
        yield exporter
    assert "Traceback" not in exporter.output()


def is_whole(body: bytes, nodes: int = NODES) -> bool:
    return body.count(b"\nginkgo_node_up{") == nodes and body.endswith(b"\n")


def connected(exporter: Exporter, receive_buffer: int = 0) -> socket.socket:
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(30)
    connection.connect(("127.0.0.1", exporter.port))
    return connection


Clients = Callable[[Exporter, ExitStack], list[socket.socket]]


def silent(exporter: Exporter, stack: ExitStack) -> list[socket.socket]:
    return [stack.enter_context(connected(exporter)) for _ in range(HUNDRED)]


def writing_byte_by_byte(exporter: Exporter, stack: ExitStack) -> list[socket.socket]:
    clients = silent(exporter, stack)
    stop = threading.Event()

    def write() -> None:
        position = 0
        while not stop.wait(0.05):
            letter = (REQUEST[:-2] + b"X: ")[position : position + 1] or b"x"  # a header without end
            position += 1
            for client in clients:
                with suppress(OSError):
                    client.sendall(letter)

    thread = threading.Thread(target=write)
    thread.start()
    stack.callback(thread.join)
    stack.callback(stop.set)
    return clients


def not_reading(exporter: Exporter, stack: ExitStack) -> list[socket.socket]:
    clients = [stack.enter_context(connected(exporter, receive_buffer=4096)) for _ in range(HUNDRED)]
    for client in clients:
        client.sendall(REQUEST)
    for client in clients:
        client.recv(1)  # it is being answered
    return clients


def seconds(exporter: Exporter) -> float:
    start = time.monotonic()
    answer = exporter.get()
    took = time.monotonic() - start
    assert is_whole(answer.body)
    return took


def delay(exporter: Exporter, hang: Clients) -> float:
    """Return by how much a scrape takes longer with hanging clients: the difference of medians, taken in turns."""
    alone, beside = [], []
    for _ in range(3):
        alone += [seconds(exporter) for _ in range(3)]
        with ExitStack() as stack:
            hang(exporter, stack)
            beside += [seconds(exporter) for _ in range(3)]
    return statistics.median(beside) - statistics.median(alone)


@pytest.mark.parametrize("hang", [silent, writing_byte_by_byte, not_reading])
def test_hundred_hanging_clients_delay_a_scrape_by_less_than_100_ms(exporter: Exporter, hang: Clients) -> None:
    delays = []
    for _ in range(3):  # on a busy machine the difference is noise
        delays.append(delay(exporter, hang))
        if delays[-1] < LATER:
            return
    pytest.fail(f"delayed by {delays} s")


def test_more_silent_clients_than_there_are_places_keep_no_scraper_out(exporter: Exporter) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(connected(exporter)) for _ in range(MOST_CONNECTIONS + 100)]
        assert is_whole(exporter.get().body)
        clients[0].settimeout(30)
        assert clients[0].recv(1) == b"", "the longest idle connection was closed"
        clients[-1].sendall(REQUEST)
        assert clients[-1].recv(12) == b"HTTP/1.1 200"


def test_two_hundred_scrapes_at_once_are_served_whole_from_two_reads_of_redis(
    server: RedisServer, exporter: Exporter
) -> None:
    wait_for(lambda: Vitals.of(exporter.pid).descriptors < HUNDRED, "for all others to be gone")
    with server.client() as client, ExitStack() as stack:
        client.config_resetstat()
        server.pause()
        stack.callback(server.resume)
        scrapers = [stack.enter_context(connected(exporter)) for _ in range(200)]
        for scraper in scrapers:
            scraper.sendall(REQUEST)
        wait_for(lambda: Vitals.of(exporter.pid).descriptors > len(scrapers), "for all to be let in")
        assert exporter.get("/-/healthy").status == 200
        server.resume()
        for scraper in scrapers:
            response = http.client.HTTPResponse(scraper)
            response.begin()
            assert response.status == 200
            assert is_whole(response.read())
        assert client.info("commandstats")["cmdstat_hmget"]["calls"] <= 2 * NODES


def test_client_that_sends_a_megabyte_of_headers_is_turned_away(exporter: Exporter) -> None:
    answered = b""
    with connected(exporter) as client, suppress(OSError):  # tornado closes the connection without a word
        client.sendall(REQUEST[:-2] + b"X: " + b"x" * 2**20 + b"\r\n\r\n")
        answered = client.recv(12)
    assert b"200" not in answered
    assert is_whole(exporter.get().body)


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/nodes", "/"])
def test_client_that_goes_away_before_its_answer_is_no_error(
    redis_server: RedisServer, tmp_path: Path, path: str
) -> None:
    with running_exporter(tmp_path, "--redis.url", redis_server.url, *FLAGS, "--log.level", "debug") as exporter:
        wait_for(lambda: exporter.get("/-/ready").status == 200, "for the exporter")
        redis_server.pause()
        with connected(exporter) as client:
            client.sendall(b"GET %b HTTP/1.1\r\nHost: exporter\r\n\r\n" % path.encode())
        redis_server.resume()
        wait_for(lambda: f"path={path} " in exporter.output(), "for the request to end")
        assert exporter.get("/-/healthy").status == 200
        assert "level=error" not in exporter.output()
        assert b'ginkgo_exporter_internal_errors_total{part="request"} 0.0\n' in exporter.get().body


@pytest.mark.slow
def test_client_that_does_not_read_is_cut_off_after_half_a_minute(redis_server: RedisServer, tmp_path: Path) -> None:
    many = 12_000  # a body larger than what a socket's buffers grow to
    with redis_server.client() as client:
        for number in range(many):
            beat(client, f"node-{number}", 600)
    with running_exporter(tmp_path, "--redis.url", redis_server.url, *FLAGS) as exporter:
        wait_for(lambda: is_whole(exporter.get().body, many), "for all nodes to be known")
        before = Vitals.of(exporter.pid).descriptors
        with connected(exporter, receive_buffer=4096) as client:
            client.sendall(REQUEST)
            client.recv(1)
            start = time.monotonic()
            assert Vitals.of(exporter.pid).descriptors > before
            wait_for(lambda: Vitals.of(exporter.pid).descriptors <= before, "for it to be cut off", 90)
            assert time.monotonic() - start > 20
        assert is_whole(exporter.get().body, many)
