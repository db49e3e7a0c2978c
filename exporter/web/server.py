"""The HTTP server: opens the listening sockets, bounds the connections, and stops without cutting off requests."""

import asyncio
import errno
import resource
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog
from tornado.httpserver import HTTPServer
from tornado.ioloop import PeriodicCallback
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets

from exporter.errors import SettingsError
from exporter.fleet import Fleet
from exporter.settings import ListenAddress
from exporter.web.answers import Answers
from exporter.web.auth import Auth
from exporter.web.handlers import Parts, application
from exporter.web.memory import give_back

if TYPE_CHECKING:
    from exporter.web.page import PushStatus

_IDLE: Final = 120.0
"""Seconds that a connection may be idle or take to send its headers. Scrape intervals are shorter."""
_SEND_BUFFER: Final = 128 * 1024
"""Bytes that the kernel holds for each client, twice as many with its own notes. It would take up to 4 MiB for a client
that does not read, and may count them as memory of the container."""
_STANDS_STILL: Final = 10_000
"""Milliseconds after which the kernel ends the connection of a client that takes no byte of what was sent to it."""
_GRACE: Final = 0.1
"""Seconds that a new client has to send its request before its connection may be closed for another one."""
_FINISH: Final = 4.0
"""Seconds that requests have to finish when the server stops."""
_POLL: Final = 0.02
"""Seconds between two checks whether all answers are sent. A stream has no event for it."""
_PAUSE: Final = 0.02
"""Seconds between two tries to accept connections while no file descriptor is free."""
_RELOAD: Final = 1.0
"""Seconds between two checks whether a file of the web configuration has changed."""
_GIVE_BACK: Final = 30.0
"""Seconds between two returns of the memory that malloc keeps."""
_BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nServer: ginkgo-exporter\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 52\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
    b"503 Service Unavailable: all connections are in use\n"
)

log = structlog.get_logger(__name__)


class Listener(socket.socket):
    """A listening socket on which new clients wait while no file descriptor is free. tornado alone would log each try.

    Attributes:
        spent: Called while no file descriptor is free.
    """

    spent: Callable[[str], None]

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection and its address.

        Raises:
            BlockingIOError: No connection is waiting, or no file descriptor is free.
        """
        try:
            return super().accept()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                raise
            self.spent(f"{error.strerror}: new connections wait")
            time.sleep(_PAUSE)  # the event loop asks again at once
            raise BlockingIOError from None


class LimitedServer(HTTPServer):
    """An HTTP server with a bounded number of connections.

    When all are taken, the connection is closed whose last request is longest ago and that is not being answered; else
    the one whose client reads too slowly; else the new client gets 503.
    """

    def initialize(  # type: ignore[override]
        self, *args: Any, most: int, slow: Callable[[], IOStream | None], spent: Callable[[str], None], **options: Any
    ) -> None:
        """Take the limit, what names the slowest client, and what is told when all connections are taken."""
        self._most, self._slow, self._spent = most, slow, spent
        self._streams: dict[IOStream, float] = {}  # when the last request came, in this order
        self._served: set[IOStream] = set()
        super().initialize(*args, **options)

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Take a new connection, or answer 503."""
        self._streams = {each: at for each, at in self._streams.items() if not each.closed()}
        if len(self._streams) >= self._most and not self._make_room():
            self._spent("a new client was answered with 503")
            if not self.ssl_options:
                stream.write(_BUSY)
            stream.close()
            return
        self._streams[stream] = time.monotonic()
        super().handle_stream(stream, address)

    def _make_room(self) -> bool:
        by = time.monotonic() - _GRACE
        silent = (each for each, at in self._streams.items() if at < by and each not in self._served)
        stream = next((each for each in silent if not each.writing()), None)
        if stream is None and (stream := self._slow()):
            self._spent("a client that reads too slowly was disconnected")
        if stream:
            stream.close()
            self._streams.pop(stream, None)
        return stream is not None

    def began(self, stream: IOStream) -> None:
        """Record that a request began. Its connection is now the last in line to be closed."""
        self._streams.pop(stream, None)
        self._streams[stream] = time.monotonic()
        self._served.add(stream)

    def ended(self, stream: IOStream) -> None:
        """Record that a request is answered. A part of the answer may still be waiting to be sent."""
        self._served.discard(stream)

    @property
    def is_sending(self) -> bool:
        """Whether a request is not answered yet, or an answer not sent. tornado would cut these off at its end."""
        return any(each in self._served or each.writing() for each in self._streams if not each.closed())


class Server:
    """Serves a started fleet.

    Args:
        fleet: The fleet.
        push: What is being pushed; None if push is off.

    Raises:
        SettingsError: The web configuration is invalid.
    """

    def __init__(self, fleet: Fleet, push: "PushStatus | None" = None) -> None:
        web, telemetry = fleet.settings.web, fleet.telemetry
        answers = Answers(fleet.request, partial(telemetry.spent, "answers"))
        telemetry.answers_waiting.set_function(lambda: answers.sending)
        self._auth = Auth(web.config_file, partial(telemetry.spent, "passwords"))
        self._address, self._spent = web.listen_address, partial(telemetry.spent, "connections")
        routes = application(Parts(fleet, self._auth, answers, push))
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)  # -1 if there is no limit
        self._http = routes.settings["server"] = LimitedServer(
            routes,
            most=min(web.max_connections, descriptors // 2) if descriptors > 0 else web.max_connections,
            slow=answers.slow_stream,
            spent=self._spent,
            ssl_options=self._auth.tls,
            max_header_size=16 * 1024,
            max_body_size=4 * 1024,
            idle_connection_timeout=_IDLE,
            body_timeout=_IDLE,
        )
        self._regular = [
            PeriodicCallback(lambda: self.reload(changed=True), _RELOAD * 1000),
            PeriodicCallback(lambda: asyncio.to_thread(give_back), _GIVE_BACK * 1000),
        ]
        self.port = 0

    def listen(self) -> None:
        """Open the listening sockets. If port 0 was asked for, ``port`` is then the chosen one.

        Raises:
            SettingsError: The server cannot listen on the address.
        """
        try:
            sockets = bind_sockets(self._address.port, self._address.host or None)
        except (OSError, UnicodeError, OverflowError) as error:
            reason = getattr(error, "strerror", "") or str(error)
            if getattr(error, "errno", None) == errno.EADDRINUSE:
                reason += " (is another exporter running? choose another port)"
            raise SettingsError(f"--web.listen-address: cannot listen on {self._address}: {reason}") from None
        self.port = sockets[0].getsockname()[1]
        listeners = [Listener(fileno=each.detach()) for each in sockets]
        for each in listeners:  # accepted connections inherit these options
            each.spent = self._spent
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STANDS_STILL)
        self._http.add_sockets(listeners)
        for regular in self._regular:
            regular.start()
        log.info("serving", address=str(ListenAddress(self._address.host, self.port)))

    def reload(self, *, changed: bool = False) -> None:
        """Load the web configuration, its certificates and its users now; without one say that there is nothing to do.

        Args:
            changed: Load them only if one of the files has changed.
        """
        self._auth.reload(changed=changed)
        self._http.ssl_options = self._auth.tls

    async def stop(self) -> None:
        """Accept no more connections, finish the running requests, and close all connections."""
        self._http.stop()
        for regular in self._regular:
            regular.stop()
        try:
            async with asyncio.timeout(_FINISH):
                while self._http.is_sending:  # noqa: ASYNC110 - see _POLL
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            log.warning("some requests were cut off")
        await self._http.close_all_connections()
        self._auth.close()
