"""What all routes have in common: admission, headers, errors in one line, and the sending of large bodies."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from http.client import responses
from typing import Any, Final, TypeVar

import structlog
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler

from exporter.fleet import Fleet
from exporter.web.admission import Admission
from exporter.web.password_check import Verdict
from exporter.web.scrape import Body, in_blocks
from exporter.web.send_budget import SendBudget
from exporter.web.tornado_private import stream_of

_TEXT: Final = "text/plain; charset=utf-8"
_READ_WITHIN: Final = 30.0
"""Seconds that a client has to read an answer."""
_AT_ONCE: Final = 1 << 16
"""Bytes of a body that is sent in one piece together with the headers."""

Q = TypeVar("Q")

log = structlog.get_logger(__name__)


class Handler(RequestHandler):
    """The base of all routes. Answers have no cookies and no entity tags."""

    SUPPORTED_METHODS = ("GET", "HEAD")
    guarded = True
    """Whether requests need admission."""

    def initialize(self, fleet: Fleet, admission: Admission, budget: SendBudget) -> None:
        """Take the parts that the application was made with."""
        self.fleet = fleet
        self.admission = admission
        self.budget = budget

    def set_default_headers(self) -> None:
        """Hide the server's version, and forbid clients to guess content types or to cache."""
        self.set_header("Server", "ginkgo-exporter")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")

    def on_finish(self) -> None:
        """Tell the server that the request is answered."""
        self.settings["request_finished"](stream_of(self.request))

    async def prepare(self) -> None:
        """Tell the server that a request began, and answer 401 or 503 if admission refuses it."""
        self.settings["request_started"](stream_of(self.request))
        for name, value in self.admission.headers:
            self.set_header(name, value)
        verdict = await self.admission.admits(self.request) if self.guarded else Verdict.RIGHT
        if verdict is Verdict.BUSY:
            self.busy()
        elif verdict is Verdict.WRONG:
            await self._refuse()

    async def _refuse(self) -> None:
        """Answer 401. A wrong guess costs its connection."""
        if self.admission.wants_user:
            self.set_header("WWW-Authenticate", 'Basic realm="ginkgo-exporter", charset="UTF-8"')
        self.set_header("Connection", "close")
        self.set_header("Content-Type", _TEXT)
        self.set_status(HTTPStatus.UNAUTHORIZED)
        stream = stream_of(self.request)
        with suppress(StreamClosedError):
            await self.finish("401 Unauthorized\n")
        stream.close()

    def compute_etag(self) -> None:
        """Return None: no answer is the same twice, so a hash of each body would be wasted."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer an error with one line. The headers of the web configuration are added here too."""
        for name, value in self.admission.headers:
            self.set_header(name, value)
        if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.set_header("Allow", "GET, HEAD")
        if "exc_info" in kwargs and status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self.fleet.telemetry.fault("request", kwargs["exc_info"][1])
        self.text(f"{status_code} {responses.get(status_code, 'Unknown')}")

    def log_exception(self, *_: object) -> None:
        """Log nothing: ``write_error`` logs and counts the exception."""

    def text(self, line: str) -> None:
        """Answer with one line of plain text."""
        self.set_header("Content-Type", _TEXT)
        self.finish(line + "\n")

    def parsed(self, parse: Callable[[Mapping[str, Sequence[bytes]]], Q]) -> Q | None:
        """Return what the query asks for; None if ``parse`` calls it invalid, which is answered with 400."""
        try:
            return parse(self.request.query_arguments)
        except ValueError as error:
            self.set_status(HTTPStatus.BAD_REQUEST)
            self.text(f"400 Bad Request: {error}")
            return None

    def busy(self) -> None:
        """Answer 503, and say when to try again."""
        self.set_status(HTTPStatus.SERVICE_UNAVAILABLE)
        self.set_header("Retry-After", "1")
        self.text("503 Service Unavailable: too much is being served")

    async def send(self, body: Body, content_type: str, *, scrape: bool = False) -> None:
        """Answer with a body that other answers may share. A client that reads too slowly is disconnected."""
        self.set_header("Content-Type", content_type)
        length = sum(map(len, body))
        self.set_header("Content-Length", str(length))
        stream, head = stream_of(self.request), self.request.method == "HEAD"
        if length > _AT_ONCE:
            self.flush()  # tornado copies a block that it sends together with the headers, so they go first
        try:
            with self.budget.sending(body, stream, scrape=scrape) as sending:
                async with asyncio.timeout(_READ_WITHIN):
                    if length <= _AT_ONCE:
                        await self.finish(None if head else b"".join(body))
                        return
                    if not head:
                        for block in in_blocks(body, shared=self.budget.crowded):
                            self.write(block)
                            await self.flush()
                            sending.taken += len(block)
                    await self.finish()
        except TimeoutError:
            stream.close()
        except StreamClosedError:
            pass  # the client has gone

    def head(self, *path: str) -> Awaitable[None] | None:
        """Answer as GET does, given the parts of the path that the route names. tornado leaves out the body."""
        return self.get(*path)


def log_request(handler: RequestHandler) -> None:
    """Log an answered request at level debug."""
    request = handler.request
    log.debug(
        "request",
        method=request.method,
        path=request.path,
        status=handler.get_status(),
        client=request.remote_ip,
        seconds=round(request.request_time(), 6),
    )
