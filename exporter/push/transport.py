"""Sends a post over HTTP or HTTPS, with a timeout that adapts to the time of Alertmanager's answers."""

import json
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakSet

from tornado.httpclient import HTTPClientError, HTTPRequest, HTTPResponse
from tornado.iostream import IOStream
from tornado.netutil import Resolver
from tornado.simple_httpclient import HTTPTimeoutError, SimpleAsyncHTTPClient
from tornado.tcpclient import TCPClient

from exporter.push.config import HttpConfig
from exporter.push.lookup import Lookup

CONNECT: Final = 2.0
"""Timeout of a TCP connection, in seconds. With TLS the handshake counts too, so the request's timeout is used."""
TIMEOUTS: Final = (5.0, 80.0)
"""The shortest and the longest timeout of a request, in seconds.

A request that times out doubles the timeout of the next one, up to the longest. An answer
sets the timeout to twice the time that the answer took. So a lost connection costs 5 s if
Alertmanager answers quickly, and an Alertmanager that needs 30 s still gets its posts.
"""


@dataclass(frozen=True, slots=True)
class Reply:
    """The result of a post.

    Attributes:
        problem: What was wrong, in one line; empty if the post was accepted.
        answered: Whether an HTTP answer came, with any status.
        timed_out: Whether no answer came in time. Alertmanager may still read the post, minutes later.
        date: The answer's ``Date`` header; None if it is missing.
        sent: Monotonic time at which the post began.
        received: Monotonic time at which the post ended.
    """

    problem: str
    answered: bool
    timed_out: bool
    date: str | None
    sent: float
    received: float


class _Connections(TCPClient):
    """Opens connections; the ones that are still in use when the client is closed are closed with it.

    Tornado's own client leaves the connection of a post that was cancelled open until the
    post's timeout, and beyond the end of the event loop.
    """

    def __init__(self, resolver: Resolver) -> None:
        super().__init__(resolver)
        self._opened: WeakSet[IOStream] = WeakSet()

    async def connect(self, *args: Any, **options: Any) -> IOStream:
        stream = await super().connect(*args, **options)
        self._opened.add(stream)
        return stream

    def close(self) -> None:
        for stream in tuple(self._opened):
            stream.close()
        super().close()


class _Client(SimpleAsyncHTTPClient):
    """Tornado's client with connections that end when it is closed."""

    def initialize(self, resolver: Resolver, defaults: dict[str, Any] | None = None) -> None:  # type: ignore[override]
        super().initialize(resolver=resolver, defaults=defaults)
        self.tcp_client = _Connections(resolver)


class Transport:
    """Sends posts to one Alertmanager. To be used in the event loop.

    Args:
        url: Its address, with the path prefix if it has one.
        config: Authentication and TLS.
        connect: See ``CONNECT``.
        timeouts: See ``TIMEOUTS``.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        url: str,
        config: HttpConfig,
        *,
        connect: float = CONNECT,
        timeouts: tuple[float, float] = TIMEOUTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url, self._config, self._connect, self._clock = url, config, connect, clock
        self._shortest, self._longest = timeouts
        self._timeout = self._shortest
        # The first post makes the client: it belongs to the event loop of that post.
        self._http: _Client | None = None

    async def post(self, alerts: Sequence[dict[str, Any]]) -> Reply:
        """Send alerts, and return the result. An empty list shows whether Alertmanager accepts posts."""
        self._http = self._http or _Client(force_instance=True, resolver=Lookup())
        sent = self._clock()
        problem, date, answered, timed_out = "", None, False, False
        try:
            response = await self._http.fetch(self._request(alerts), raise_error=False)
        except HTTPTimeoutError as error:
            problem, timed_out = _line(error), True
        except (ConnectionError, socket.gaierror) as error:
            problem = f"cannot connect: {error.strerror or error} (is it running there? see --alertmanager.url)"
        except (HTTPClientError, OSError, ValueError) as error:
            problem = _line(error)
        else:
            problem, date, answered = _refusal(response), response.headers.get("Date"), True
        received = self._clock()
        if timed_out:
            self._timeout = min(2 * self._timeout, self._longest)
        elif answered:
            self._timeout = min(max(2 * (received - sent), self._shortest), self._longest)
        return Reply(problem, answered, timed_out, date, sent, received)

    async def get(self, path: str) -> bytes | None:
        """Return what Alertmanager answers to a GET of a path; None if it does not answer with 200."""
        self._http = self._http or _Client(force_instance=True, resolver=Lookup())
        request = self._request([])
        request.method, request.url, request.body = "GET", f"{self._url}{path}", None  # type: ignore[assignment]
        with suppress(HTTPClientError, OSError, ValueError):
            response = await self._http.fetch(request, raise_error=False)
            return response.body if response.code == 200 else None  # noqa: PLR2004
        return None

    def close(self) -> None:
        """Close the connections."""
        if self._http:
            self._http.close()

    def _request(self, alerts: Sequence[dict[str, Any]]) -> HTTPRequest:
        tls = self._url.startswith("https:")
        return HTTPRequest(
            f"{self._url}/api/v2/alerts",
            method="POST",
            body=json.dumps(alerts, ensure_ascii=False).encode(),
            headers={"Content-Type": "application/json", **self._config.headers()},
            connect_timeout=self._timeout if tls else self._connect,
            request_timeout=self._timeout,
            follow_redirects=False,
            ssl_options=self._config.context() if tls else None,
        )


def _refusal(response: HTTPResponse) -> str:
    """Return why a post was refused; empty if it was accepted."""
    if response.code == 200:  # noqa: PLR2004
        return ""
    text = (response.body or b"")[:200].decode("utf-8", "replace")
    return " ".join(f"HTTP {response.code} {text}".split())


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
