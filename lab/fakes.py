"""Fake servers on this machine. They can be slow, silent or wrong in ways that no real server can be made to be."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer


@contextmanager
def fake_server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Let ``answer`` serve each connection in a thread of its own, and return the server's port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)

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
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@contextmanager
def answering(*statuses: int, context: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[str]]]:
    """Answer requests with these statuses, the last one again and again; yield the address and the asked paths."""
    left, asked = list(statuses), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(left.pop(0) if len(left) > 1 else left[0])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()
