"""What the benchmarks time: a scrape over HTTP, and Redis's own share of it."""

import socket
import time
from collections.abc import Sequence

import hiredis

from exporter.contract import FIELDS

_READ = 1 << 20
_CHUNK = 500
_MARK = b"end of the replies to this chunk"


class HttpScraper:
    """Scrapes over one connection that is kept open, as Prometheus does.

    Args:
        port: The exporter's port.
        encoding: The accepted encoding.
    """

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
        """Receive an answer, and return its body.

        Raises:
            RuntimeError: The status is not 200, or the connection ended before the body.
        """
        data = bytearray()
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += _received(connection)
        head, body = bytes(data[:end]).lower(), data[end + 4 :]
        if b" 200 " not in head.split(b"\n")[0]:
            raise RuntimeError(head.decode())
        if b"transfer-encoding: chunked" in head:
            while not body.endswith(b"\r\n0\r\n\r\n"):
                body += _received(connection)
            return bytes(body)  # with the lengths of its chunks: they do no harm here
        whole = self._filled(connection, body, int(head.split(b"\r\ncontent-length: ")[1].split(b"\r\n")[0]))
        if head.startswith(b"http/1.0"):
            self.close()
        return whole

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


def _received(connection: socket.socket) -> bytes:
    data = connection.recv(_READ)
    if not data:
        raise RuntimeError("the connection was closed before the end of the body")
    return data


class Floor:
    """Sends the exporter's own requests chunk by chunk, each before the replies to the one before; drops the replies.

    An ECHO after each chunk marks the end of its replies, so that they need not be parsed.
    """

    def __init__(self, redis_port: int, names: Sequence[bytes]) -> None:
        self._socket = socket.create_connection(("127.0.0.1", redis_port))
        chunks = [names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK)]
        self._requests = [_packed([(b"INFO",)]), *map(_request, chunks)]

    def scrape(self) -> bytes:
        """Read all nodes once; return an empty body."""
        self._socket.sendall(self._requests[0])
        tail = b""
        for number in range(len(self._requests)):
            for request in self._requests[number + 1 : number + 2]:
                self._socket.sendall(request)
            while _MARK not in tail:
                tail = tail[-len(_MARK) :] + self._socket.recv(_READ)
            tail = tail.split(_MARK, 1)[1]
        return b""

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def _request(names: Sequence[bytes]) -> bytes:
    """Return the commands that read some nodes."""
    fields = [field.encode() for field in FIELDS]
    commands = [(b"HMGET", b"node:metrics:" + name, *fields) for name in names]
    lives = [(b"PTTL", b"heartbeat:node:" + name) for name in names]
    return _packed([*commands, *lives, (b"MGET", *(b"heartbeat:node:" + name for name in names))])


def _packed(commands: Sequence[tuple[bytes, ...]]) -> bytes:
    return b"".join(map(hiredis.pack_command, [*commands, (b"ECHO", _MARK)]))  # type: ignore[arg-type] # its stub is narrow


def timed(scraper: HttpScraper | Floor) -> float:
    """Return the seconds that one scrape takes."""
    start = time.perf_counter()
    scraper.scrape()
    return time.perf_counter() - start
