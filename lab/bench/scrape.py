"""Measures whole scrapes over HTTP, to the last byte of the body; and the floor, a read of Redis without parsing."""

import socket
import time
from collections.abc import Sequence
from typing import Final

from exporter.source.protocol import CHUNK, hmget, pack, pttl
from exporter.source.server import STATE

_READ: Final = 1 << 20


class HttpScraper:
    """Scrapes over one connection that is kept open, as Prometheus does."""

    def __init__(self, port: int, encoding: str = "identity") -> None:
        self._port = port
        self._request = f"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: {encoding}\r\n\r\n".encode()
        self._socket: socket.socket | None = None
        self._buffer = bytearray(_READ)

    def scrape(self) -> bytes | memoryview:
        """Scrape, and return the body, which is valid until the next scrape."""
        return self.body_from(self.ask())

    def ask(self) -> socket.socket:
        """Send the request, and return the connection on which the answer will come."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port))
        self._socket.sendall(self._request)
        return self._socket

    def body_from(self, connection: socket.socket) -> bytes | memoryview:
        """Receive an answer, and return its body."""
        data = bytearray()
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += _receive(connection)
        head = bytes(data[:end]).lower()
        body = data[end + 4 :]
        if not head.startswith((b"http/1.1 200", b"http/1.0 200")):
            raise RuntimeError(head.decode())
        if b"transfer-encoding: chunked" in head:
            while not body.endswith(b"\r\n0\r\n\r\n"):
                body += _receive(connection)
            return _dechunked(body)
        if b"\r\ncontent-length: " in head:
            length = int(head.split(b"\r\ncontent-length: ")[1].split(b"\r\n")[0])
            whole = self._filled(connection, body, length)
            if head.startswith(b"http/1.0"):
                self.close()
            return whole
        while more := connection.recv(_READ):
            body += more
        self.close()
        return bytes(body)

    def _filled(self, connection: socket.socket, begin: bytearray, length: int) -> memoryview:
        """Receive the rest of a body of this length into the buffer of the last body, and return the whole body."""
        if len(self._buffer) < length:
            self._buffer = bytearray(length + length // 8)
        whole, there = memoryview(self._buffer)[:length], len(begin)
        whole[:there] = begin
        while there < length:
            received = connection.recv_into(whole[there:])
            if not received:
                raise RuntimeError("the connection was closed before the end of the body")
            there += received
        return whole

    def close(self) -> None:
        """Close the connection."""
        if self._socket:
            self._socket.close()
            self._socket = None


def _receive(connection: socket.socket) -> bytes:
    data = connection.recv(_READ)
    if not data:
        raise RuntimeError("the connection was closed before the end of the body")
    return data


def _dechunked(data: bytes | bytearray) -> bytes:
    body, start = bytearray(), 0
    while True:
        end = data.index(b"\r\n", start)
        length = int(data[start:end], 16)
        if not length:
            return bytes(body)
        body += data[end + 2 : end + 2 + length]
        start = end + 2 + length + 2


class Floor:
    """Sends the exporter's own requests chunk by chunk, each before the replies to the one before; drops the replies.

    An ECHO after each chunk marks the end of its replies, so that they need not be parsed.
    """

    _MARK = b"end of the replies to this chunk"

    def __init__(self, redis_port: int, names: Sequence[bytes]) -> None:
        self._socket = socket.create_connection(("127.0.0.1", redis_port))
        echo = pack(b"ECHO", self._MARK)
        self._requests = [STATE + echo]
        for start in range(0, len(names), CHUNK):
            some = names[start : start + CHUNK]
            beats = [b"heartbeat:node:" + name for name in some]
            hashes = [hmget(b"node:metrics:" + name) for name in some]
            self._requests.append(b"".join((*hashes, *map(pttl, beats), pack(b"MGET", *beats), echo)))

    def scrape(self) -> bytes:
        """Read all nodes once; return an empty body."""
        self._socket.sendall(self._requests[0])
        tail = b""
        for number in range(len(self._requests)):
            for request in self._requests[number + 1 : number + 2]:
                self._socket.sendall(request)
            while self._MARK not in tail:
                tail = tail[-len(self._MARK) :] + self._socket.recv(_READ)
            tail = tail.split(self._MARK, 1)[1]
        return b""

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def timed(scraper: HttpScraper | Floor) -> float:
    """Return the seconds that one scrape takes."""
    start = time.perf_counter()
    scraper.scrape()
    return time.perf_counter() - start
