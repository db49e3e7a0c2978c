"""Fake servers on this machine. They can be slow, silent or wrong in ways that no real server can be made to be."""

import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any, Self


@contextmanager
def fake_server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Let ``answer`` serve each connection in a thread of its own, and return the server's port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)

    def serve(near: socket.socket) -> None:
        with near, suppress(OSError):
            answer(near)

    def accept() -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                threading.Thread(target=serve, args=(near,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def request_from(lines: IO[bytes]) -> tuple[str, bytes] | None:
    """Return the head and the body of the next request on a connection; None if that ends before or within it."""
    head = ""
    while not head.endswith("\r\n\r\n"):
        if not (line := lines.readline().decode("latin-1")):
            return None
        head += line
    length = sum(map(int, re.findall(r"(?i)content-length: *(\d+)", head)))
    body = lines.read(length)
    return (head, body) if len(body) == length else None


class Listening(ExitStack):
    """A server that listens until a block ends, and serves each connection in a thread of its own.

    Attributes:
        port, url: Its address.
    """

    scheme, port = "http", 0

    def __enter__(self) -> Self:
        self.port = self.enter_context(fake_server(self.answer))
        return self

    def answer(self, near: socket.socket) -> None:
        """Serve a connection."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"


class FakeAlertmanager(Listening):
    """An Alertmanager that keeps what it is sent, and answers as it is told.

    Args:
        context: For TLS; None for plain HTTP.

    Attributes:
        posts: The alerts of each post.
        heads: The head of each request, as it came.
        status, headers, text: What it answers with. A header ``Date`` with a text takes the place of the right time.
        hangs: Whether it does not answer for now.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self._context, self.scheme = context, "https" if context else "http"
        self.callback(setattr, self, "hangs", False)
        self.posts: list[list[dict[str, Any]]] = []
        self.heads: list[str] = []
        self.status, self.text, self.hangs = 200, b"", False
        self.headers: Mapping[str, str] = {}

    def answer(self, near: socket.socket) -> None:
        secured = self._context.wrap_socket(near, server_side=True) if self._context else near
        with secured as connection, connection.makefile("rb") as lines:
            while got := request_from(lines):
                head, body = got
                self.heads.append(head)
                if head.startswith("POST"):
                    self.posts.append(json.loads(body))
                while self.hangs:
                    time.sleep(0.005)
                date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
                headers = {"Date": date, "Content-Length": str(len(self.text)), **self.headers}
                told = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value)
                connection.sendall(f"HTTP/1.1 {self.status} Told\r\n{told}\r\n".encode() + self.text)
