"""The limit of connections: accepts connections, and closes the longest idle one when there are too many."""

import asyncio
import errno
import resource
import socket
from collections.abc import Callable
from typing import Any, Final

import structlog
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream

from exporter.web.send_budget import Sending
from exporter.web.tornado_private import FreshTlsServer, stream_of_closed

MOST_CONNECTIONS: Final = 512
"""Maximum number of open connections. A new connection above it closes the one that is idle longest."""
_PAUSE: Final = 0.2
"""Seconds between two tries to accept connections while no file descriptor is free."""
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_POLL: Final = 0.02
"""Seconds between two checks whether all answers are sent."""

log = structlog.get_logger(__name__)


class Listener(socket.socket):
    """A listening socket that pauses while no file descriptor is free. New clients then wait.

    tornado alone would try again without a pause and log each try. The listener closes no connection to
    make room: clients hold at most half of the descriptors, so other parts of the process hold the rest.
    """

    _exhausted = False

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection and its address.

        Raises:
            BlockingIOError: No connection is waiting, or no file descriptor is free.
        """
        try:
            accepted = super().accept()
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            if not self._exhausted:
                log.warning("no file descriptor is free, new connections wait", error=error.strerror)
            self._exhausted = True
            self._accept_later()
            raise BlockingIOError from None
        self._exhausted = False
        return accepted

    def _accept_later(self) -> None:
        loop = IOLoop.current()

        def accept_again() -> None:
            if self.fileno() >= 0:  # the server may have closed the socket meanwhile
                loop.update_handler(self.fileno(), IOLoop.READ)

        loop.update_handler(self.fileno(), 0)
        loop.call_later(_PAUSE, accept_again)


class LimitedServer(FreshTlsServer):
    """An HTTP server with a bounded number of connections that always accepts a new client.

    A client that sends its headers slowly, sends no request or does not read its answer loses its
    connection only when another client needs it. The connection whose last request is longest ago is
    closed first. A connection on which an answer is being made or sent is closed only when all are.
    """

    slowest: Callable[[], Sending | None]
    """Returns the answer whose client takes least; None if all are quick."""
    spent: Callable[[str], None]
    """Called when all connections are in use, with what was done about it."""

    def initialize(self, *args: Any, **kwargs: Any) -> None:
        """Choose the limit: at most half of the file descriptors that the process may have."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        unlimited = soft == resource.RLIM_INFINITY
        self._most = MOST_CONNECTIONS if unlimited else max(8, min(MOST_CONNECTIONS, soft // 2))
        self._streams: dict[IOStream, None] = {}  # in the order of their last request
        self._serving: set[IOStream] = set()
        super().initialize(*args, **kwargs)

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Take a new connection; before that close the longest idle ones above the limit."""
        while len(self._streams) >= self._most:
            self._make_room()
        self._streams[stream] = None
        super().handle_stream(stream, address)

    def _make_room(self) -> None:
        """Close one connection: the longest idle one, else the one whose client takes least of its answer."""
        stream = next((stream for stream in self._streams if not self._is_served(stream)), None)
        if stream is None:
            self.spent("a client was disconnected to let a new one in, though it was being answered")
            slow = self.slowest()
            stream = slow.stream if slow and slow.stream in self._streams else next(iter(self._streams))
        del self._streams[stream]
        self._serving.discard(stream)
        stream.close()

    def _is_served(self, stream: IOStream) -> bool:
        return stream in self._serving or bool(stream.writing())

    def request_started(self, stream: IOStream) -> None:
        """Record that a request began: its connection is now the last in line to be closed."""
        if self._streams.pop(stream, stream) is None:
            self._streams[stream] = None
            self._serving.add(stream)

    def request_finished(self, stream: IOStream) -> None:
        """Record that a request is answered. A part of the answer may still be waiting to be sent."""
        self._serving.discard(stream)

    async def finish_requests(self) -> None:
        """Wait until each started request is answered and sent. tornado itself would cut it off."""
        # A stream has no event for "everything is sent", so this polls.
        while self._serving or any(stream.writing() for stream in self._streams):  # noqa: ASYNC110
            await asyncio.sleep(_POLL)

    def on_close(self, server_conn: object) -> None:
        """Forget a connection that was closed."""
        stream = stream_of_closed(server_conn)
        self._streams.pop(stream, None)
        self._serving.discard(stream)
        super().on_close(server_conn)
