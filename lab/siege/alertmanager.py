"""A fake Alertmanager: it counts the pages that it is sent, and answers well or badly."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

_GOOD: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class FakeAlertmanager:
    """Takes posts.

    Args:
        answer: Yields the pieces of each answer; None for a good one.

    Attributes:
        port: Where it listens.
        pages: The names of the alerts that it was sent.
    """

    def __init__(self, answer: Callable[[], Iterator[bytes]] | None = None) -> None:
        self._answer = answer or (lambda: iter((_GOOD,)))
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = int(self._listener.getsockname()[1])
        self.pages: set[str] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._take, args=(connection,), daemon=True).start()

    def _take(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, ValueError), connection.makefile("rb") as lines:
            length = 0
            while (line := lines.readline().strip()) != b"":
                if line.lower().startswith(b"content-length:"):
                    length = int(line[15:])
            for alert in json.loads(lines.read(length) or b"[]"):
                self.pages.add(alert["labels"]["alertname"])
            for piece in self._answer():
                connection.sendall(piece)


def large_header() -> Iterator[bytes]:
    """Answer with a header of 20 MB."""
    yield b"HTTP/1.1 200 OK\r\nX: "
    for _ in range(200):
        yield b"x" * 100_000
    yield b"\r\nContent-Length: 0\r\n\r\n"


def large_body() -> Iterator[bytes]:
    """Answer with a body that says 10 GB and does not end."""
    yield b"HTTP/1.1 500 Broken\r\nContent-Length: 10000000000\r\n\r\n"
    for _ in range(5000):
        yield b"x" * 100_000


def no_http() -> Iterator[bytes]:
    """Answer with what is no HTTP."""
    yield b"\xff\x00 what?\r\n\r\n"
