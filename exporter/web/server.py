"""The HTTP server: opens the listening sockets, bounds the connections, and stops without cutting off requests.

It gives memory back to the system, too: malloc keeps what a crowd of requests or a very large reply needed once.
"""

import asyncio
import ctypes
import resource
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Final

import structlog
from tornado.httpserver import HTTPServer
from tornado.ioloop import PeriodicCallback
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets

from exporter.errors import ExporterError
from exporter.fleet import Fleet
from exporter.settings import ListenAddress
from exporter.web.answers import Answers
from exporter.web.auth import Auth
from exporter.web.handlers import application

if TYPE_CHECKING:
    from exporter.push.bridge import Bridge

_IDLE: Final = 120.0
"""Seconds that a connection may be idle or take to send its headers. Scrape intervals are shorter."""
_UNSENT: Final = 16 * 1024
"""Bytes for each client that the kernel holds and has not sent yet. It would take up to 4 MiB for a client that does
not read, and may count them as memory of the container. It holds any number that is on its way to a quick client."""
_STANDS_STILL: Final = 10_000
"""Milliseconds after which the kernel ends the connection of a client that takes no byte of what was sent to it."""
_GRACE: Final = 0.1
"""Seconds that a silent client has before its connection may be closed for another one."""
_CROWD: Final = 5
"""Times the number of connections that may be open until it is known which clients are silent or slow."""
_BACKLOG: Final = 1024
"""New connections that the kernel holds for the server. It drops others, and their clients try again a second later."""
_FINISH: Final = 4.0
"""Seconds that requests have to finish when the server stops."""
_RELOAD: Final = 5.0
"""Seconds between two loads of the web configuration."""
_GIVE_BACK: Final = 30.0
"""Seconds between two returns of the memory that malloc keeps."""
_BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nServer: ginkgo-exporter\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 52\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
    b"503 Service Unavailable: all connections are in use\n"
)

_MALLOC_OPTIONS: Final = {-8: 1, -3: 12 * 2**20, -1: 64 * 2**20}
"""Options of glibc's malloc.h: M_ARENA_MAX, M_MMAP_THRESHOLD and M_TRIM_THRESHOLD.

All threads share one heap. malloc keeps the pages in which bodies of 10,000 nodes are made. It gives
larger blocks back at once."""

log = structlog.get_logger(__name__)


class LimitedServer(HTTPServer):
    """An HTTP server with a bounded number of connections.

    When all are taken, a new client takes the place of the one that is silent for longest, else of the one that reads
    most slowly. Whether a client is silent or slow shows only after a moment. Until then the new client is served
    beside the others, so a scraper that comes in a crowd need not wait. A client beyond ``_CROWD`` gets 503.
    """

    def initialize(  # type: ignore[override]
        self, *args: Any, most: int, slow: Callable[[], IOStream | None], spent: Callable[[str], None], **options: Any
    ) -> None:
        """Take the limit, what names the slowest client, and what is told when all connections are taken."""
        self._most, self._slow, self._spent = most, slow, spent
        self._silent_since: dict[IOStream, float] = {}  # infinite while a request is being answered
        self._will_make_room = False
        super().initialize(*args, **options)

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Take a new connection, and have others closed for it if all are taken."""
        since = self._silent_since = {each: at for each, at in self._silent_since.items() if not each.closed()}
        if len(since) < _CROWD * self._most:
            since[stream] = time.monotonic()
            super().handle_stream(stream, address)
        else:
            self._spent("a new client was refused")
            if not self.ssl_options:  # a handshake costs more than a refusal may
                stream.write(_BUSY)
            stream.close()
        if len(since) > self._most and not self._will_make_room:
            # What arrived while a body was made is read first. Otherwise its senders would look silent.
            self._will_make_room = True
            asyncio.get_running_loop().call_later(0, self._make_room)

    def _make_room(self) -> None:
        """Close connections until no more than ``most`` are open. No reader is closed while anybody is silent."""
        now, self._will_make_room, since = time.monotonic(), False, self._silent_since
        while len(since) > self._most:
            longest = min(since, key=since.__getitem__)
            closed = self._slow() if since[longest] == inf else longest if since[longest] < now - _GRACE else None
            if closed is None:
                break
            self._spent("a connection that was silent or read too slowly was closed for a new one")
            closed.close()
            since.pop(closed, None)

    def began(self, stream: IOStream) -> None:
        """Record that a request began."""
        self._silent_since[stream] = inf

    def ended(self, stream: IOStream) -> None:
        """Record that a request is answered."""
        self._silent_since[stream] = time.monotonic()

    @property
    def is_answering(self) -> bool:
        """Whether a request is not answered yet. tornado would cut it off at its end."""
        return any(since == inf for stream, since in self._silent_since.items() if not stream.closed())


class Server:
    """Serves a started fleet.

    Args:
        fleet: The fleet.
        push: What is being pushed; None if push is off.

    Raises:
        SettingsError: The web configuration is invalid.
    """

    def __init__(self, fleet: Fleet, push: "Bridge | None" = None) -> None:
        web, telemetry = fleet.settings.web, fleet.telemetry
        answers = Answers(fleet.request, partial(telemetry.spent, "answers"))
        telemetry.answers_waiting.set_function(lambda: answers.sending)
        self._auth = Auth(web.config_file, partial(telemetry.spent, "passwords"))
        self._address = web.listen_address
        routes = application(fleet, self._auth, answers, push)
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)  # -1 if there is no limit
        self._http = routes.settings["server"] = LimitedServer(
            routes,
            most=min(web.max_connections, descriptors // 6) if descriptors > 0 else web.max_connections,
            slow=answers.slow_stream,
            spent=partial(telemetry.spent, "connections"),
            ssl_options=self._auth.tls,
            max_header_size=16 * 1024,
            max_body_size=4 * 1024,
            idle_connection_timeout=_IDLE,
            body_timeout=_IDLE,
        )
        self._regular = [PeriodicCallback(lambda: asyncio.to_thread(give_back), _GIVE_BACK * 1000)]
        if web.config_file:
            self._regular.append(PeriodicCallback(self.reload, _RELOAD * 1000))
        self.port = 0

    def listen(self) -> None:
        """Open the listening sockets. If port 0 was asked for, ``port`` is then the chosen one.

        Raises:
            ExporterError: The server cannot listen on the address.
        """
        try:
            sockets = bind_sockets(self._address.port, self._address.host or None, backlog=_BACKLOG)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", "") or error
            raise ExporterError(f"--web.listen-address: cannot listen on {self._address}: {reason}") from None
        self.port = sockets[0].getsockname()[1]
        for each in sockets:  # accepted connections inherit these options
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STANDS_STILL)
        self._http.add_sockets(sockets)
        for regular in self._regular:
            regular.start()
        log.info("serving", address=str(ListenAddress(self._address.host, self.port)))

    def reload(self) -> None:
        """Load the web configuration, its certificates and its users again."""
        self._auth.reload()
        self._http.ssl_options = self._auth.tls

    async def stop(self) -> None:
        """Accept no more connections, finish the running requests, and close all connections."""
        self._http.stop()
        for regular in self._regular:
            regular.stop()
        try:
            async with asyncio.timeout(_FINISH):
                while self._http.is_answering:  # noqa: ASYNC110 - a stream has no event for it
                    await asyncio.sleep(0.02)
        except TimeoutError:
            log.warning("some requests were cut off")
        await self._http.close_all_connections()


def set_malloc_options() -> None:
    """Set the options of glibc's malloc, before threads start. Other C libraries have no such options."""
    with suppress(AttributeError):
        for option, value in _MALLOC_OPTIONS.items():
            ctypes.CDLL(None).mallopt(option, value)


def give_back() -> None:
    """Have glibc's malloc give back what is free. Other C libraries have no such function."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
