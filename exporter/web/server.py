"""The HTTP server: listens, serves until it is told to stop, and finishes what is under way."""

import asyncio
from typing import Final

import structlog
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from exporter.errors import SettingsError
from exporter.fleet import Fleet
from exporter.settings import ListenAddress
from exporter.web.app import application
from exporter.web.scrape import Scrapes

_MAX_HEADER: Final = 16 * 1024
_MAX_BODY: Final = 4 * 1024
_IDLE: Final = 120.0
"""Seconds that a connection may be idle, or take for its headers: longer than scrape intervals."""
_FINISH: Final = 4.0
"""Seconds for what is being served when the server is told to stop."""

log = structlog.get_logger(__name__)


class Server:
    """Serves a started fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self._scrapes = Scrapes(fleet)
        self._address = fleet.settings.web.listen_address
        self._http = HTTPServer(
            application(fleet, self._scrapes),
            max_header_size=_MAX_HEADER,
            max_body_size=_MAX_BODY,
            idle_connection_timeout=_IDLE,
            body_timeout=_IDLE,
        )
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
            raise SettingsError(f"--web.listen-address: cannot listen on {self._address}: {reason}") from None
        self.port = sockets[0].getsockname()[1]
        self._http.add_sockets(sockets)
        log.info("serving", address=str(ListenAddress(self._address.host, self.port)))

    async def stop(self) -> None:
        """Accept nothing more, finish what is being served, and close all connections."""
        self._http.stop()
        try:
            async with asyncio.timeout(_FINISH):
                await self._http.close_all_connections()
        except TimeoutError:
            log.warning("some requests were cut off")
        self._scrapes.close()
