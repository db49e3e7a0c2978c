"""The server under pressure: hanging, slow and many clients do not keep a scraper out."""

import http.client
import select
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Final

import pytest

from lab.nodes import beat
from lab.servers import Exporter, RedisServer, running_exporter, running_redis, wait_for

NODES: Final = 1000
MOST: Final = 40
"""``--web.max-connections``."""
FLAGS: Final = ("--heartbeat.ttl", "10m", "--redis.timeout", "30s", "--web.max-connections", str(MOST))
REQUEST: Final = b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n"
LATER: Final = 0.1
"""Seconds by which hanging clients may delay a scrape."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server, server.client() as client:
        for number in range(NODES):
            beat(client, f"node-{number}", 600)
        yield server


@pytest.fixture(scope="module")
def exporter(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    with running_exporter(tmp_path_factory.mktemp("exporter"), "--redis.url", server.url, *FLAGS) as exporter:
        wait_for(lambda: is_whole(exporter.get().body), "for all nodes to be known")
        yield exporter
    assert "Traceback" not in exporter.output()


def is_whole(body: bytes) -> bool:
    return body.count(b"\nginkgo_node_up{") == NODES and body.endswith(b"\n")


def connected(exporter: Exporter, receive_buffer: int = 0) -> socket.socket:
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(30)
    connection.connect(("127.0.0.1", exporter.port))
    return connection


def silent(exporter: Exporter, stack: ExitStack, number: int = MOST - 5) -> list[socket.socket]:
    return [stack.enter_context(connected(exporter)) for _ in range(number)]


def with_headers_that_never_end(exporter: Exporter, stack: ExitStack) -> list[socket.socket]:
    clients = silent(exporter, stack)
    for client in clients:
        client.sendall(REQUEST[:-2] + b"X: ")
    return clients


def not_reading(exporter: Exporter, stack: ExitStack, number: int = MOST - 5) -> list[socket.socket]:
    clients = [stack.enter_context(connected(exporter, receive_buffer=4096)) for _ in range(number)]
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


def delay(exporter: Exporter, hang: Callable[[Exporter, ExitStack], list[socket.socket]]) -> float:
    """Return by how much a scrape takes longer with hanging clients: the difference of medians, taken in turns."""
    alone, beside = [], []
    for _ in range(7):
        alone.append(seconds(exporter))
        with ExitStack() as stack:
            hang(exporter, stack)
            beside.append(seconds(exporter))
    return statistics.median(beside) - statistics.median(alone)


@pytest.mark.parametrize("hang", [silent, with_headers_that_never_end, not_reading])
def test_hanging_clients_do_not_delay_a_scrape(
    exporter: Exporter, hang: Callable[[Exporter, ExitStack], list[socket.socket]]
) -> None:
    assert any(delay(exporter, hang) < LATER for _ in range(4)), "on a busy machine the difference is noise"


def test_silent_clients_make_room_and_a_scrape_that_pauses_is_whole(exporter: Exporter) -> None:
    with ExitStack() as stack:
        scraper = stack.enter_context(connected(exporter, receive_buffer=4096))
        scraper.sendall(REQUEST)
        head = scraper.recv(100)
        clients = silent(exporter, stack, 3 * MOST)
        wait_for(
            lambda: silent(exporter, stack, 1) and readable(clients[:1]), "for the longest silent one to be closed"
        )
        assert clients[0].recv(1) == b""
        rest = b""
        while not rest.endswith(b"\n") or not is_whole(head + rest):
            rest += scraper.recv(1 << 16)
        assert is_whole(exporter.get().body)


def test_slow_readers_make_room_and_a_newcomer_beside_quick_ones_gets_503(
    server: RedisServer, exporter: Exporter
) -> None:
    with ExitStack() as stack:
        not_reading(exporter, stack, MOST)
        assert is_whole(exporter.get().body)
    with ExitStack() as stack:
        server.pause()
        stack.callback(server.resume)
        clients = []
        for _ in range(6 * MOST):
            clients.append(stack.enter_context(connected(exporter)))
            clients[-1].sendall(REQUEST)
        wait_for(lambda: readable(clients), "for a newcomer to be refused")
        server.resume()
        statuses = [status(client) for client in clients]
    assert statuses.count(503) >= 1
    assert statuses.count(200) >= MOST - 5
    assert set(statuses) <= {200, 503, 0}
    assert exporter.scrape()["ginkgo_exporter_budget_spent_total"]["connections"] > 0


def test_scraper_is_served_though_a_crowd_comes_before_and_after_it(exporter: Exporter) -> None:
    with ExitStack() as stack:
        silent(exporter, stack, MOST)
        scraper = stack.enter_context(connected(exporter))
        scraper.sendall(REQUEST)
        while not select.select([scraper], [], [], 0.05)[0]:
            silent(exporter, stack, 2 * MOST)
        assert status(scraper) == HTTPStatus.OK


def readable(clients: list[socket.socket]) -> list[socket.socket]:
    return select.select(clients, [], [], 0)[0]


def status(client: socket.socket) -> int:
    """Return the status of a whole answer; 0 if the connection was closed before the request was read."""
    response = http.client.HTTPResponse(client)
    with suppress(ConnectionError, http.client.RemoteDisconnected):
        response.begin()
        body = response.read()
        assert response.status != HTTPStatus.OK or is_whole(body)
        assert response.status == HTTPStatus.OK or response.headers["Retry-After"] == "1"
        return response.status
    return 0


def test_client_that_sends_a_megabyte_of_headers_is_turned_away(exporter: Exporter) -> None:
    answered = b""
    with connected(exporter) as client, suppress(OSError):  # tornado closes the connection without a word
        client.sendall(REQUEST[:-2] + b"X: " + b"x" * 2**20 + b"\r\n\r\n")
        answered = client.recv(12)
    assert b"200" not in answered
    assert is_whole(exporter.get().body)


def test_client_that_goes_away_before_its_answer_is_no_error(redis_server: RedisServer, tmp_path: Path) -> None:
    with running_exporter(tmp_path, "--redis.url", redis_server.url, *FLAGS, "--log.level", "debug") as exporter:
        for path in ("/metrics", "/api/v1/nodes", "/"):
            redis_server.pause()
            with connected(exporter) as client:
                client.sendall(b"GET %b HTTP/1.1\r\nHost: exporter\r\n\r\n" % path.encode() * 500)
            redis_server.resume()
            wait_for(lambda path=path: f"path={path} " in exporter.output(), "for the request to end")
        for _ in range(20):
            exporter.get("/api/v1/portfolios")
        assert exporter.output().count("path=/api/v1/nodes ") < 10, "what it asked for besides is left undone"
        assert "level=error" not in exporter.output()
        assert b'ginkgo_exporter_internal_errors_total{part="request"} 0.0\n' in exporter.get().body


@pytest.mark.slow
def test_kernel_ends_the_connection_of_a_client_that_does_not_read(exporter: Exporter) -> None:
    with connected(exporter, receive_buffer=4096) as client:
        client.sendall(REQUEST)
        client.recv(1)
        start, open_end = time.monotonic(), f":{client.getsockname()[1]:04X} 01 "
        assert open_end in Path("/proc/net/tcp").read_text()
        wait_for(lambda: open_end not in Path("/proc/net/tcp").read_text(), "for it to be cut off")
        assert time.monotonic() - start > 5
