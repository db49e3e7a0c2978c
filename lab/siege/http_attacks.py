"""Attackers that come over HTTP."""

import itertools
import random
import selectors
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from lab.siege.attack import Field

_PAUSE: Final = 0.02


def request(path: str, *headers: str) -> bytes:
    """Return a GET request."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: exporter", *headers, "", ""]).encode()


def connect(port: int, receive_buffer: int = 0) -> socket.socket:
    """Return a connection to the exporter, with a receive buffer of so many bytes if one is given."""
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(10)
    connection.connect(("127.0.0.1", port))
    return connection


def _is_open(connection: socket.socket) -> bool:
    """Return whether the exporter has left a connection open; what has arrived stays unread."""
    try:
        connection.setblocking(False)
        return connection.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


class Unread:
    """Clients that ask and do not read; each that is cut off comes again.

    Args:
        count: How many clients there are.
        requests: Yields what each next client asks for.
        drip: Bytes that each client reads in a second.
    """

    def __init__(self, count: int, requests: Callable[[], Iterator[bytes]], drip: int = 0) -> None:
        self._count, self._requests, self._drip = count, requests, drip

    def __call__(self, field: Field) -> None:
        """Attack."""
        requests, clients = self._requests(), list[socket.socket]()
        for _ in field.rounds(1.0):
            clients = [client for client in clients if self._stays(client)]
            while len(clients) < self._count and field.lasts:
                with suppress(OSError):
                    clients.append(client := connect(field.exporter_port, 4096))
                    client.sendall(next(requests))

    def _stays(self, client: socket.socket) -> bool:
        with suppress(OSError):
            client.setblocking(False)
            if self._drip:
                client.recv(self._drip)
        if _is_open(client):
            return True
        client.close()
        return False


def repeated(*requests: bytes) -> Callable[[], Iterator[bytes]]:
    """Return a function that yields these requests again and again."""
    return lambda: itertools.cycle(requests)


def filters() -> Iterator[bytes]:
    """Yield scrapes of all families, each with another filter."""
    names = ("up", "heartbeat_ttl_seconds", "portfolios", "queue_size", "events_total", "status")
    query = "&".join(f"name[]=ginkgo_node_{name}" for name in names)
    for number in itertools.count():
        yield request(f"/metrics?{query}&name[]=x{number}", *(("Accept-Encoding: gzip",) if number % 2 else ()))


def views() -> Iterator[bytes]:
    """Yield requests for all nodes as JSON, each in another way."""
    for number in itertools.count():
        yield request(f"/api/v1/nodes?sort=-queue_size&limit={20_000 + number}")


class Reload:
    """Clients that ask, read the whole answer, and ask again.

    Args:
        count: How many clients there are.
        paths: What they ask for, in turn.
    """

    def __init__(self, count: int, *paths: str) -> None:
        self._count, self._paths = count, paths

    def __call__(self, field: Field) -> None:
        """Attack."""
        in_threads(self._count, self._reload, field)

    def _reload(self, number: int, field: Field) -> None:
        while field.lasts:
            with suppress(OSError), connect(field.exporter_port) as client:
                client.settimeout(max(0.1, field.until - time.monotonic()))
                client.sendall(request(self._paths[number % len(self._paths)], "Connection: close"))
                while client.recv(1 << 20):
                    pass


def in_threads(count: int, work: Callable[[int, Field], None], field: Field) -> None:
    """Have so many threads attack side by side until the attack ends."""
    threads = [threading.Thread(target=work, args=(number, field), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, field.until - time.monotonic()) + 1)


def guess_passwords(number: int, field: Field) -> None:
    """Guess the password of a user that there is, on one connection after the other."""
    for guess in itertools.count():
        if not field.lasts:
            return
        pair = b64encode(f"prometheus:guess-{number}-{guess}".encode()).decode()
        with suppress(OSError), connect(field.exporter_port) as client:
            client.settimeout(30)
            client.sendall(request("/metrics", f"Authorization: Basic {pair}"))
            client.recv(4096)


class Silent:
    """Clients that connect, say nothing or crawl, and come again when they are cut off.

    Args:
        count: How many clients there are.
        pieces: What each of them sends, a piece in a round; nothing if it is empty.
    """

    def __init__(self, count: int, pieces: Sequence[bytes] = ()) -> None:
        self._count, self._pieces = count, pieces

    def __call__(self, field: Field) -> None:
        """Attack."""
        clients = list[socket.socket]()
        for number in field.rounds(0.2):
            clients = [client for client in clients if self._stays(client)]
            while len(clients) < self._count and field.lasts:
                with suppress(OSError):
                    clients.append(connect(field.exporter_port))
            for client in clients if self._pieces else ():
                with suppress(OSError):
                    client.send(self._pieces[number % len(self._pieces)])

    def _stays(self, client: socket.socket) -> bool:
        if _is_open(client):
            return True
        client.close()
        return False


class Flood:
    """Connections that each send the same bytes, wait for an answer or not, and go.

    Args:
        makes: Returns what the next connection sends.
        waits: Whether the client waits for the first bytes of an answer.
    """

    def __init__(self, makes: Callable[[], bytes], *, waits: bool = True) -> None:
        self._makes, self._waits = makes, waits

    def __call__(self, field: Field) -> None:
        """Attack."""
        in_threads(4, self._flood, field)

    def _flood(self, _: int, field: Field) -> None:
        while field.lasts:
            with suppress(OSError), connect(field.exporter_port) as client:
                client.settimeout(1)
                client.sendall(self._makes())
                if self._waits:
                    client.recv(4096)


def random_path() -> bytes:
    """Return a request for a path that there is not."""
    return request(f"/{random.getrandbits(64):x}")


def pipelined(field: Field) -> None:
    """Send requests without end on 50 connections, and read no answer."""
    selector, many = selectors.DefaultSelector(), request("/api/v1/nodes") * 200
    clients = [connect(field.exporter_port, 4096) for _ in range(50)]
    for client in clients:
        client.setblocking(False)
        selector.register(client, selectors.EVENT_WRITE)
    for _ in field.rounds(_PAUSE):
        for key, _events in selector.select(_PAUSE):
            try:
                key.fileobj.send(many)  # type: ignore[union-attr]
            except OSError:
                selector.unregister(key.fileobj)
                if not selector.get_map():
                    return
