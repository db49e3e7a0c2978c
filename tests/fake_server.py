"""A fake server on this machine. It can be slow, silent or wrong in ways that no real server can be made to be."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


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
