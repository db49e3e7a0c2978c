"""The routes and their answers."""

import math
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from http.client import responses
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import structlog
from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream
from tornado.web import Application, RequestHandler

from exporter.exposition.families import own_families
from exporter.exposition.text import Format, exposition
from exporter.fleet import Fleet
from exporter.snapshot.snapshot import Snapshot
from exporter.web.answers import Answers, Wanted
from exporter.web.auth import BUSY, OK, WRONG, Auth

if TYPE_CHECKING:
    from exporter.web.page import PushStatus

_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json; charset=utf-8"
_HTML: Final = "text/html; charset=utf-8"
_CONTENT_TYPES: Final = {
    Format.TEXT: "text/plain; version=0.0.4; charset=utf-8",
    Format.OPENMETRICS: "application/openmetrics-text; version=1.0.0; charset=utf-8",
}
_AT_ONCE: Final = 64 * 1024
"""Bytes of a body that is sent in one piece together with the headers."""
_SCRAPE_MARGIN: Final = 0.5
"""Seconds that are left of a scrape's timeout for the way back."""
_GLANCE: Final = 1.0
"""Seconds that a runbook waits for a read of Redis, and every page while Redis is away."""
_MAKING: Final = 10.0
"""Seconds that page and JSON wait for their turn, beside the read."""

Q = TypeVar("Q")

log = structlog.get_logger(__name__)


class Parts(NamedTuple):
    """What the routes share."""

    fleet: Fleet
    auth: Auth
    answers: Answers
    push: "PushStatus | None"


def application(parts: Parts) -> Application:
    """Return the web application over a started fleet. Its setting ``server`` is to be the server."""
    routes: dict[str, type[Handler]] = {
        re.escape(parts.fleet.settings.web.telemetry_path): Metrics,
        "/?": StatusPage,
        "/api/v1/(nodes|portfolios|events)": Api,
        "/runbooks/([A-Za-z0-9]*)": Runbook,
        "/-/healthy": Healthy,
        "/-/ready": Ready,
    }
    # RFC 9112, section 3.2.2: a server must accept a target that is a whole URL, as proxies send it.
    return Application(
        [(f"(?:(?i:https?)://[^/]*)?{path}", handler) for path, handler in routes.items()],
        default_handler_class=NotFound,
        log_function=_log_request,
        parts=parts,
    )


class Handler(RequestHandler):
    """The base of all routes. Answers have no cookies and no entity tags."""

    SUPPORTED_METHODS = ("GET", "HEAD")
    guarded = True
    """Whether requests need admission."""

    def initialize(self) -> None:
        """Take the parts that the application was made with."""
        self.fleet, self.auth, self.answers, self.push = self.settings["parts"]

    def set_default_headers(self) -> None:
        """Hide the server's version, and forbid clients to guess content types or to cache."""
        self.set_header("Server", "ginkgo-exporter")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")

    def on_finish(self) -> None:
        """Tell the server that the request is answered."""
        self.settings["server"].ended(_stream_of(self.request))

    async def prepare(self) -> None:
        """Tell the server that a request began, and answer 401 or 503 if it is not admitted."""
        stream = _stream_of(self.request)
        self.settings["server"].began(stream)
        admitted = await self.auth.admits(self.request) if self.guarded else OK
        if admitted is BUSY:
            self.busy()
        elif admitted is WRONG:  # a wrong guess costs its connection
            if self.auth.users:
                self.set_header("WWW-Authenticate", 'Basic realm="ginkgo-exporter", charset="UTF-8"')
            self.set_header("Connection", "close")
            self.text("401 Unauthorized", WRONG)

    def compute_etag(self) -> None:
        """Return None: no answer is the same twice, so a hash of each body would be wasted."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer an error with one line."""
        if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.set_header("Allow", "GET, HEAD")
        if "exc_info" in kwargs and status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self.fleet.telemetry.fault("request", kwargs["exc_info"][1])
        self.text(f"{status_code} {responses.get(status_code, 'Unknown')}", status_code)

    def log_exception(self, *_: object) -> None:
        """Log nothing: ``write_error`` logs and counts the exception."""

    def set_headers(self, headers: Mapping[str, str]) -> None:
        """Set several headers of the answer."""
        for name, value in headers.items():
            self.set_header(name, value)

    def head(self, *path: str) -> Awaitable[None] | None:
        """Answer as GET does, given the parts of the path that the route names. tornado leaves out the body."""
        return self.get(*path)

    def text(self, line: str, status: int = OK) -> None:
        """Answer with one line of plain text."""
        self.set_status(status)
        self.set_header("Content-Type", _TEXT)
        self.finish(line + "\n")

    def busy(self) -> None:
        """Answer 503, and say when to try again."""
        self.set_header("Retry-After", "1")
        self.text("503 Service Unavailable: too much is being served", BUSY)

    def parsed(self, parse: Callable[[Mapping[str, Sequence[bytes]]], Q]) -> Q | None:
        """Return what the query asks for; None if ``parse`` calls it invalid, which is answered with 400."""
        try:
            return parse(self.request.query_arguments)
        except ValueError as error:
            self.text(f"400 Bad Request: {error}", HTTPStatus.BAD_REQUEST)
            return None

    async def answer(self, wanted: Wanted, content_type: str, read_within: float, within: float | None = None) -> None:
        """Answer with a body of ``Answers``; 503 if there is no room for it.

        Args:
            wanted: The body.
            content_type: Its type.
            read_within: Seconds to wait for a read of Redis; 0 to read nothing.
            within: Seconds to wait in all; None for a body that is read by people.
        """
        stream = _stream_of(self.request)
        body = await self.answers.body(wanted, stream, read_within, read_within + _MAKING if within is None else within)
        if body is None:
            self.busy()
            return
        self.set_header("Content-Type", content_type)
        if wanted.gzip:
            self.set_header("Content-Encoding", "gzip")
        length = sum(map(len, body))
        self.set_header("Content-Length", str(length))
        if length > _AT_ONCE:
            await self.answers.send(self, stream, body)
        else:
            await self.finish(None if self.request.method == "HEAD" else b"".join(body))

    @property
    def patience(self) -> float:
        """Seconds that a page waits for a read of Redis."""
        timeout: float = self.fleet.settings.redis.timeout
        return min(timeout, _GLANCE) if self.fleet.not_ready else timeout


class Metrics(Handler):
    """The scrape."""

    async def get(self) -> None:
        """Answer in the format, compression and time that the request's headers name."""
        headers = self.request.headers
        form = choose_format(headers.get("Accept", ""))
        gzip = accepts_gzip(headers.get("Accept-Encoding", ""))
        names = frozenset(self.get_query_arguments("name[]"))
        limit = time_limit(headers.get("X-Prometheus-Scrape-Timeout-Seconds", ""), self.fleet.settings.redis.timeout)

        def make(snapshot: Snapshot | None) -> Iterator[bytes]:
            families = (*own_families(snapshot, self.fleet.info), *self.fleet.telemetry.registry.collect())
            return exposition(snapshot, families, form, names)

        self.set_header("Vary", "Accept, Accept-Encoding")
        wanted = Wanted((form, gzip, names), make, whole=not names, gzip=gzip)
        await self.answer(wanted, _CONTENT_TYPES[form], limit, limit + _SCRAPE_MARGIN / 2)


class Api(Handler):
    """Nodes, portfolios or events as JSON: all of them, or those that the query asks for."""

    async def get(self, name: str) -> None:
        """Answer with the list of this name, or 400 if the query is invalid."""
        from exporter.web import api  # noqa: PLC0415 - scrapes do not need it

        parse, make = api.LISTS[name]
        if query := self.parsed(parse):
            wanted = Wanted((name, query), lambda snapshot: make(snapshot, query, self.fleet))
            await self.answer(wanted, _JSON, 0.0 if name == "events" else self.patience)


class StatusPage(Handler):
    """The status page, and its main part alone, with which its script refreshes it."""

    async def get(self) -> None:
        """Answer with the page that the query asks for, or 400 if the query is invalid."""
        from exporter.web import page  # noqa: PLC0415 - an exporter that is only scraped needs no page

        if view := self.parsed(page.view_of):
            self.set_headers(page.HEADERS)
            wanted = Wanted(view, lambda snapshot: [page.render(snapshot, self.fleet, self.push, view)])
            await self.answer(wanted, _HTML, self.patience)


class Runbook(Handler):
    """A runbook, with the node of an alert filled in; without a name the list of runbooks."""

    async def get(self, name: str) -> None:
        """Answer with the runbook of an alert; 404 if it has none."""
        from exporter.web import runbooks  # noqa: PLC0415 - as above

        self.set_headers(runbooks.HEADERS)
        node_id = self.get_query_argument("node_id", "", strip=False)
        if not name:
            await self.answer(Wanted("runbooks", lambda _: [runbooks.index()]), _HTML, 0.0)
        elif name not in runbooks.alerts():
            self.text("404 Not Found: no such runbook; see /runbooks/", HTTPStatus.NOT_FOUND)
        else:
            make = partial(runbooks.runbook, name, node_id, self.fleet)
            await self.answer(Wanted((name, node_id), lambda snapshot: [make(snapshot)]), _HTML, _GLANCE)


class Healthy(Handler):
    """Whether the process works."""

    guarded = False

    def get(self) -> None:
        """Answer 200, whatever the state of Redis."""
        self.text("healthy")


class Ready(Handler):
    """Whether names are discovered and Redis answers."""

    guarded = False

    def get(self) -> None:
        """Answer 200 or 503, with the reason."""
        from exporter.web.api import outage  # noqa: PLC0415 - as above

        reason = self.fleet.not_ready and (outage(self.fleet.view()) or self.fleet.not_ready)
        self.text(f"not ready: {reason}" if reason else "ready", BUSY if reason else OK)


class NotFound(Handler):
    """Every other path."""

    def get(self) -> None:
        """Answer 404."""
        self.text("404 Not Found", HTTPStatus.NOT_FOUND)


def _stream_of(request: HTTPServerRequest) -> IOStream:
    """Return the connection's stream of a request.

    It is the one part of tornado in this package that tornado's documentation does not promise; pyproject.toml allows
    only versions in which it is there.
    """
    stream: IOStream = request.connection.stream  # type: ignore[union-attr]
    return stream


def _log_request(handler: RequestHandler) -> None:
    request = handler.request
    log.debug(
        "request",
        method=request.method,
        path=request.path,
        status=handler.get_status(),
        client=request.remote_ip,
        seconds=round(request.request_time(), 6),
    )


# --- the headers of a scrape -----------------------------------------------------------------


def choose_format(accept: str) -> Format:
    """Return the supported format that an ``Accept`` header prefers; text 0.0.4 if it names neither.

    OpenMetrics is chosen only if the header names its version 1.0.0 or no version.
    """
    text, openmetrics = 0.0, 0.0
    for media_type, weight, version in _weighed(accept):
        if media_type == "application/openmetrics-text" and version in ("", "1.0.0"):
            openmetrics = max(openmetrics, weight)
        elif media_type in ("text/plain", "text/*", "*/*"):
            text = max(text, weight)
    return Format.OPENMETRICS if openmetrics > text else Format.TEXT


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether an ``Accept-Encoding`` header allows gzip."""
    weights = {coding: weight for coding, weight, _ in _weighed(accept_encoding)}
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def time_limit(header: str, longest: float) -> float:
    """Return the seconds that a scrape may take: the scraper's timeout less half a second for the way back.

    Args:
        header: Value of ``X-Prometheus-Scrape-Timeout-Seconds``; empty if the scraper does not send it.
        longest: Maximum in seconds. It is the limit when the header is empty or invalid.
    """
    try:
        seconds = float(header)
    except ValueError:
        return longest
    if not math.isfinite(seconds) or seconds <= 0:
        return longest
    return min(longest, max(seconds - _SCRAPE_MARGIN, seconds / 2))


def _weighed(header: str) -> Iterator[tuple[str, float, str]]:
    """Yield the name, the weight and the version of each item of a header (RFC 9110, section 12.4.2)."""
    for item in header.lower().split(","):
        name, *rest = item.split(";")
        parameters = {key.strip(): value.strip().strip('"') for key, _, value in (part.partition("=") for part in rest)}
        try:
            weight = float(parameters.get("q", "1"))
        except ValueError:
            weight = 0.0
        yield name.strip(), weight if 0 <= weight <= 1 else 0.0, parameters.get("version", "")
