"""What the benchmarks time: a scrape over HTTP, and Redis's own share of it."""

import socket
from collections.abc import Sequence
from http.client import HTTPConnection

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
        self._connection, self._headers = HTTPConnection("127.0.0.1", port, timeout=600), {"Accept-Encoding": encoding}
        self.close = self._connection.close

    def scrape(self) -> bytes:
        """Scrape, and return the body.

        Raises:
            RuntimeError: The status is not 200.
        """
        self._connection.request("GET", "/metrics", headers=self._headers)
        reply = self._connection.getresponse()
        body = reply.read()
        if reply.status != 200:
            raise RuntimeError(f"HTTP {reply.status}")
        return body


class Floor:
    """Sends the exporter's own requests chunk by chunk, each before the replies to the one before; drops the replies.

    An ECHO after each chunk marks the end of its replies, so that they need not be parsed.
    """

    def __init__(self, redis_port: int, names: Sequence[bytes]) -> None:
        self._socket = socket.create_connection(("127.0.0.1", redis_port))
        self.close = self._socket.close
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


def _request(names: Sequence[bytes]) -> bytes:
    """Return the commands that read some nodes."""
    fields, beats = [field.encode() for field in FIELDS], [b"heartbeat:node:" + name for name in names]
    commands = [(b"HMGET", b"node:metrics:" + name, *fields) for name in names]
    return _packed([*commands, *((b"PTTL", beat) for beat in beats), (b"MGET", *beats)])


def _packed(commands: Sequence[tuple[bytes, ...]]) -> bytes:
    return b"".join(map(hiredis.pack_command, [*commands, (b"ECHO", _MARK)]))  # type: ignore[arg-type] # its stub is narrow
