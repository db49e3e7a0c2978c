"""The HTTP server: listens, keeps slow clients from shutting others out, and stops in good order."""

import asyncio
import errno
import resource
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

import structlog
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets

from exporter.errors import SettingsError
from exporter.fleet import Fleet
from exporter.settings import ListenAddress
from exporter.web.app import application
from exporter.web.door import Door
from exporter.web.page import Pushed
from exporter.web.scrape import Scrapes

CONNECTIONS: Final = 512
"""Connections at most; when one more comes, the one that was idle longest goes."""
_MAX_HEADER: Final = 16 * 1024
_MAX_BODY: Final = 4 * 1024
_IDLE: Final = 120.0
"""Seconds that a connection may be idle, or take for its headers: longer than scrape intervals."""
_FINISH: Final = 4.0
"""Seconds for what is being served when the server is told to stop."""
_PAUSE: Final = 0.2
"""Seconds after which it is tried again to accept connections when no descriptor was free."""
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_LOOK: Final = 0.02
"""Seconds between two looks at whether it has been served."""

log = structlog.get_logger(__name__)


class Server:
    """Serves a started fleet.

    Args:
        fleet: What is served.
        pushed: Returns the alerts that are being pushed; None if push is off.

    Raises:
        SettingsError: The web configuration cannot be used.
    """

    def __init__(self, fleet: Fleet, pushed: Pushed | None = None) -> None:
        self._scrapes = Scrapes(fleet)
        self._door = Door(fleet.settings.web.config.file)
        self._address = fleet.settings.web.listen_address
        self._http = _LimitedServer(
            application(
                fleet,
                self._scrapes,
                self._door,
                pushed,
                in_use=lambda stream: self._http.in_use(stream),  # noqa: PLW0108 - not made yet
                served=lambda stream: self._http.served(stream),  # noqa: PLW0108
            ),
            ssl_options=self._door.tls(),
            max_header_size=_MAX_HEADER,
            max_body_size=_MAX_BODY,
            idle_connection_timeout=_IDLE,
            body_timeout=_IDLE,
        )
        self._http.newest_tls = self._door.tls
        self.port = 0

    def listen(self) -> None:
        """Open the listening sockets; ``port`` is then the one that was chosen if 0 was asked for.

        Raises:
            SettingsError: The address cannot be had.
        """
        try:
            sockets = bind_sockets(self._address.port, self._address.host or None)
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno == errno.EADDRINUSE:
                reason += " (is another exporter running? choose another port)"
            raise SettingsError(f"--web.listen-address: cannot listen on {self._address}: {reason}") from None
        self.port = sockets[0].getsockname()[1]
        self._http.add_sockets([_Listener(fileno=each.detach()) for each in sockets])
        log.info("serving", address=str(ListenAddress(self._address.host, self.port)))

    async def stop(self) -> None:
        """Accept nothing more, finish what is being served, and close all connections."""
        self._http.stop()
        try:
            async with asyncio.timeout(_FINISH):
                await self._http.finish_requests()
        except TimeoutError:
            log.warning("some requests were cut off")
        await self._http.close_all_connections()
        self._scrapes.close()
        self._door.close()


class _Listener(socket.socket):
    """Accepts connections, and lets newcomers wait while no descriptor is free.

    tornado would try again without pause and log each try. Nobody is shut out in
    favour of a newcomer here: clients may hold no more than half of the descriptors,
    so others hold the rest.
    """

    _exhausted = False

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection, as tornado wants it.

        Raises:
            BlockingIOError: There is none, or none can be taken now.
        """
        try:
            accepted = super().accept()
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            if not self._exhausted:
                log.warning("no connection can be taken, newcomers wait", error=error.strerror)
            self._exhausted = True
            self._accept_later()
            raise BlockingIOError from None
        self._exhausted = False
        return accepted

    def _accept_later(self) -> None:
        loop = IOLoop.current()

        def accept_again() -> None:
            if self.fileno() >= 0:  # not closed meanwhile
                loop.update_handler(self.fileno(), IOLoop.READ)

        loop.update_handler(self.fileno(), 0)
        loop.call_later(_PAUSE, accept_again)


class _LimitedServer(HTTPServer):
    """Holds a bounded number of connections, and is never full for a newcomer.

    A client that dribbles its headers, never asks or never reads holds a place only
    until somebody else needs it: places are given up in the order in which they were
    last of use, that is, in which a request on them was last taken in.
    """

    newest_tls: Callable[[], ssl.SSLContext | None]
    """Returns the context for the next connection."""

    def initialize(self, *args: Any, **kwargs: Any) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._places = CONNECTIONS if soft == resource.RLIM_INFINITY else max(8, min(CONNECTIONS, soft // 2))
        self._streams: dict[IOStream, None] = {}
        self._serving: set[IOStream] = set()
        super().initialize(*args, **kwargs)

    def _handle_connection(self, connection: socket.socket, address: Any) -> None:
        # A context that a connection was begun with cannot be exchanged in full: what it asks of clients stays.
        self.ssl_options = self.newest_tls()
        super()._handle_connection(connection, address)

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        while len(self._streams) >= self._places:
            idle = next(iter(self._streams))
            del self._streams[idle]
            self._serving.discard(idle)
            idle.close()
        self._streams[stream] = None
        super().handle_stream(stream, address)

    def in_use(self, stream: IOStream) -> None:
        """Note that a request was taken in: its connection is the last to give up its place."""
        if self._streams.pop(stream, stream) is None:
            self._streams[stream] = None
            self._serving.add(stream)

    def served(self, stream: IOStream) -> None:
        """Note that a request was answered, though the answer may still be on its way out."""
        self._serving.discard(stream)

    async def finish_requests(self) -> None:
        """Wait until every request that was taken in is answered and sent: tornado itself cuts them off."""
        # A stream tells nobody that it has sent everything.
        while self._serving or any(stream.writing() for stream in self._streams):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK)

    def on_close(self, server_conn: object) -> None:
        stream: IOStream = server_conn.stream  # type: ignore[attr-defined]
        self._streams.pop(stream, None)
        self._serving.discard(stream)
        super().on_close(server_conn)
