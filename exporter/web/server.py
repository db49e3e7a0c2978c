"""The HTTP server: opens the listening sockets, serves the routes, and stops without cutting off requests."""

import asyncio
import errno
import socket
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from tornado.netutil import bind_sockets

from exporter.errors import SettingsError
from exporter.fleet import Fleet
from exporter.settings import ListenAddress
from exporter.web.admission import Admission
from exporter.web.app import application
from exporter.web.connections import LimitedServer, Listener
from exporter.web.memory import MemoryReturn
from exporter.web.precedence import Precedence
from exporter.web.scrape import Scrapes
from exporter.web.send_budget import SendBudget
from exporter.web.views import Views

if TYPE_CHECKING:
    from exporter.web.page import PushStatus

_MAX_HEADER: Final = 16 * 1024
_MAX_BODY: Final = 4 * 1024
_IDLE: Final = 120.0
"""Seconds that a connection may be idle or take to send its headers. Scrape intervals are shorter."""
_SEND_BUFFER: Final = 512 * 1024
"""Bytes that the kernel holds for each client, twice as many with its own notes. It would take up to 4 MiB for a client
that does not read, and may count them as memory of the container."""
_FINISH: Final = 4.0
"""Seconds that requests have to finish when the server stops."""

log = structlog.get_logger(__name__)


class Server:
    """Serves a started fleet.

    Args:
        fleet: The fleet.
        push: What is being pushed; None if push is off.

    Raises:
        SettingsError: The web configuration is invalid.
    """

    def __init__(self, fleet: Fleet, push: "PushStatus | None" = None) -> None:
        precedence, telemetry = Precedence(), fleet.telemetry
        self._scrapes = Scrapes(fleet, precedence)
        self._memory = MemoryReturn()
        answers_spent = partial(telemetry.spent, "answers")
        self._views = Views(fleet, precedence, answers_spent)
        budget = SendBudget(answers_spent)
        telemetry.answers_waiting.set_function(lambda: budget.waiting)
        self._admission = Admission(fleet.settings.web.config_file, spent=partial(telemetry.spent, "passwords"))
        self._address = fleet.settings.web.listen_address
        self._http = LimitedServer(
            application(
                fleet,
                self._scrapes,
                self._admission,
                self._views,
                push,
                budget=budget,
                request_started=lambda stream: self._http.request_started(stream),  # noqa: PLW0108 - not made yet
                request_finished=lambda stream: self._http.request_finished(stream),  # noqa: PLW0108
            ),
            ssl_options=self._admission.tls(),
            max_header_size=_MAX_HEADER,
            max_body_size=_MAX_BODY,
            idle_connection_timeout=_IDLE,
            body_timeout=_IDLE,
        )
        self._http.tls = self._admission.tls
        self._http.slowest = budget.slowest
        self._http.spent = partial(telemetry.spent, "connections")
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
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)  # accepted connections inherit it
        self._http.add_sockets([Listener(fileno=each.detach()) for each in sockets])
        self._memory.start()
        log.info("serving", address=str(ListenAddress(self._address.host, self.port)))

    def reload(self) -> None:
        """Read the web configuration, its certificates and its users now; without one say that there is nothing to do.

        They are also read again when a request comes after one of their files has changed.
        """
        self._admission.reload()

    async def stop(self) -> None:
        """Accept no more connections, finish the running requests, and close all connections."""
        self._http.stop()
        self._memory.stop()
        try:
            async with asyncio.timeout(_FINISH):
                await self._http.finish_requests()
        except TimeoutError:
            log.warning("some requests were cut off")
        await self._http.close_all_connections()
        self._scrapes.close()
        self._views.close()
        self._admission.close()
