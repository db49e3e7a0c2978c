"""The parts of tornado that its documentation does not promise. No other module of ``web`` uses such a part.

pyproject.toml allows only tornado's versions in which these parts were tested. ``tests/web/test_tornado_private.py``
fails when a part is missing or works in another way.
"""

import socket
import ssl
from collections.abc import Callable
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream


def stream_of(request: HTTPServerRequest) -> IOStream:
    """Return the connection's stream of a request."""
    stream: IOStream = request.connection.stream  # type: ignore[union-attr]
    return stream


def stream_of_closed(server_connection: object) -> IOStream:
    """Return the stream of the connection that ``HTTPServer.on_close`` is called with."""
    stream: IOStream = server_connection.stream  # type: ignore[attr-defined]
    return stream


class FreshTlsServer(HTTPServer):
    """An HTTP server that asks for the TLS context anew for each connection.

    tornado takes one context for all connections. Replacing it inside a handshake (by server name) is no
    way out: such a context does not change whether the client needs a certificate.
    """

    tls: Callable[[], ssl.SSLContext | None]
    """Returns the TLS context for the next connection; None if TLS is off."""

    def _handle_connection(self, connection: socket.socket, address: Any) -> None:
        self.ssl_options = self.tls()
        super()._handle_connection(connection, address)
