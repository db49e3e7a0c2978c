"""The HTTP server: opens the listening sockets, bounds the connections, and stops without cutting off requests."""

import asyncio
import resource
import socket
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any, Final

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
from exporter.web.handlers import PushStatus, application
from exporter.web.memory import give_back

_IDLE: Final = 120.0
"""Seconds that a connection may be idle or take to send its headers. Scrape intervals are shorter."""
_UNSENT: Final = 128 * 1024
"""Bytes for each client that the kernel holds and has not sent yet. It would take up to 4 MiB for a client that does
not read, and may count them as memory of the container. It holds any number that is on its way to a quick client."""
_STANDS_STILL: Final = 10_000
"""Milliseconds after which the kernel ends the connection of a client that takes no byte of what was sent to it."""
_GRACE: Final = 0.1
"""Seconds that a silent client has before its connection may be closed for another one."""
_WAIT: Final = 2.0
"""Seconds that a new client waits for a connection. Those that do not read are told apart within that time."""
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

log = structlog.get_logger(__name__)


class LimitedServer(HTTPServer):
    """An HTTP server with a bounded number of connections.

    When all are taken, the connection is closed that is silent for longest; else the one whose client reads too slowly.
    If there is no such connection yet, the new client waits for a moment, and then gets 503.
    """

    def initialize(  # type: ignore[override]
        self, *args: Any, most: int, slow: Callable[[], IOStream | None], spent: Callable[[str], None], **options: Any
    ) -> None:
        """Take the limit, what names the slowest client, and what is told when all connections are taken."""
        self._most, self._slow, self._spent = most, slow, spent
        self._silent_since: dict[IOStream, float] = {}  # infinite while a request is being answered
        self._waiting: deque[tuple[IOStream, Any, float]] = deque()  # with the time at which each came
        self._again = PeriodicCallback(self.admit, _GRACE * 1000)  # runs while anybody waits
        super().initialize(*args, **options)

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Take a new connection as soon as there is room."""
        self._waiting.append((stream, address, time.monotonic()))
        self.admit()

    def admit(self) -> None:
        """Take the clients that wait, the newest first; answer 503 to those that wait for too long, or are too many."""
        now = time.monotonic()
        while self._waiting and self._has_room(now):
            stream, address, _ = self._waiting.pop()
            self._silent_since[stream] = now
            super().handle_stream(stream, address)
        while self._waiting and (len(self._waiting) > 4 * self._most or self._waiting[0][2] < now - _WAIT):
            self._spent("a new client was answered with 503")
            refused = self._waiting.popleft()[0]
            if not self.ssl_options:  # a handshake costs more than a refusal may
                refused.write(_BUSY)
            refused.close()
        if not self._waiting:
            self._again.stop()
        elif not self._again.is_running():
            self._again.start()

    def _has_room(self, now: float) -> bool:
        """Return whether a connection is free; close one if all are taken."""
        since = self._silent_since = {each: at for each, at in self._silent_since.items() if not each.closed()}
        if len(since) < self._most:
            return True
        longest = min(since, key=since.__getitem__)
        closed = longest if since[longest] < now - _GRACE else self._slow()
        if closed:
            self._spent("a connection that was silent or read too slowly was closed for a new one")
            closed.close()
        return closed is not None

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

    def __init__(self, fleet: Fleet, push: PushStatus | None = None) -> None:
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
            SettingsError: The server cannot listen on the address.
        """
        try:
            sockets = bind_sockets(self._address.port, self._address.host or None, backlog=_BACKLOG)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", "") or error
            raise SettingsError(f"--web.listen-address: cannot listen on {self._address}: {reason}") from None
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
