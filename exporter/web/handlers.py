"""The routes and their answers."""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import structlog
from tornado.iostream import IOStream
from tornado.web import Application, HTTPError, RequestHandler

from exporter.exposition.text import Format, exposition, own_families
from exporter.fleet import Fleet
from exporter.snapshot.snapshot import Snapshot
from exporter.web.answers import Answers, Wanted
from exporter.web.auth import BUSY, OK, WRONG, Auth

if TYPE_CHECKING:
    from exporter.push.bridge import Bridge

_JSON: Final = {"Content-Type": "application/json; charset=utf-8"}
_SCRAPE_MARGIN: Final = 0.5
"""Seconds that are left of a scrape's timeout for the way back."""
_GLANCE: Final = 1.0
"""Seconds that a runbook waits for a read of Redis, and every page while Redis is away."""
_MAKING: Final = 10.0
"""Seconds that page and JSON wait for their turn, beside the read."""

log = structlog.get_logger(__name__)


def application(fleet: Fleet, auth: Auth, answers: Answers, push: "Bridge | None") -> Application:
    """Return the web application over a started fleet. Its setting ``server`` is to be the server."""
    routes: list[Any] = [
        (re.escape(fleet.settings.web.telemetry_path), Metrics),
        ("/", StatusPage),
        ("/api/v1/(nodes|portfolios|events)", Api),
        ("/runbooks/([A-Za-z0-9]*)", Runbook),
        ("/-/(healthy|ready)", Health),
    ]
    return Application(
        routes, default_handler_class=NotFound, log_function=Handler.ended, parts=(fleet, auth, answers, push)
    )


class Handler(RequestHandler):
    """The base of all routes."""

    SUPPORTED_METHODS = ("GET", "HEAD")
    guarded = True
    """Whether requests need admission."""

    def initialize(self) -> None:
        """Take the parts that the application was made with, and tell the server at once that a request began."""
        self.fleet, self.auth, self.answers, self.push = self.settings["parts"]
        # tornado's documentation does not promise this attribute; pyproject.toml allows only versions that have it.
        self.stream: IOStream = self.request.connection.stream  # type: ignore[union-attr]
        self.settings["server"].began(self.stream)

    def set_default_headers(self) -> None:
        """Hide the server's version, and forbid clients to guess content types or to cache."""
        self.set_header("Server", "ginkgo-exporter")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")

    def ended(self) -> None:
        """Tell the server and the log that the request is answered."""
        self.settings["server"].ended(self.stream)
        log.debug("request", path=self.request.path, status=self.get_status(), client=self.request.remote_ip)

    async def prepare(self) -> None:
        """Answer 401 or 503 if the request is not admitted."""
        if self.stream.closed():  # tornado would answer all that the client asked for before it went
            self.detach()
            return
        admitted = await self.auth.admits(self.request.headers.get("Authorization", "")) if self.guarded else OK
        if admitted is BUSY:
            self.busy()
        elif admitted is WRONG:  # a wrong guess costs its connection
            self.set_header("WWW-Authenticate", 'Basic realm="ginkgo-exporter", charset="UTF-8"')
            self.set_header("Connection", "close")
            self.text("401 Unauthorized", WRONG)
            self.stream.close()  # the answer is sent; tornado would read on, whatever the header says

    def write_error(self, status_code: int, **_: Any) -> None:
        """Answer an error with one line."""
        if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.set_header("Allow", "GET, HEAD")
        self.text(f"{status_code} {HTTPStatus(status_code).phrase}", status_code)

    def log_exception(self, _: object, error: BaseException | None, __: object) -> None:
        """Log and count an exception, unless it is an answer."""
        if error and not isinstance(error, HTTPError):
            self.fleet.telemetry.fault("request", error)

    def head(self, *path: str) -> Awaitable[None] | None:
        """Answer as GET does, given the parts of the path that the route names. tornado leaves out the body."""
        return self.get(*path)

    def text(self, line: str, status: int = OK) -> None:
        """Answer with one line of plain text."""
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(line + "\n")

    def busy(self) -> None:
        """Answer 503, and say when to try again."""
        self.set_header("Retry-After", "1")
        self.text("503 Service Unavailable: too much is being served", BUSY)

    def parsed(self, parse: Callable[[Mapping[str, Sequence[str]]], Any]) -> Any:
        """Return what the query asks for; None if ``parse`` calls it invalid, which is answered with 400."""
        given = {
            name: [value.decode("utf-8", "backslashreplace") for value in values]
            for name, values in self.request.query_arguments.items()
        }
        try:
            return parse(given)
        except ValueError as error:
            self.text(f"400 Bad Request: {error}", HTTPStatus.BAD_REQUEST)
            return None

    async def answer(
        self, wanted: Wanted, headers: Mapping[str, str], read_within: float, more: float = _MAKING
    ) -> None:
        """Answer with a body of ``Answers``; 503 if there is no room for it.

        Args:
            wanted: The body.
            headers: Its headers.
            read_within: Seconds to wait for a read of Redis; 0 to read nothing.
            more: Seconds to wait in all, beside these.
        """
        body = await self.answers.body(wanted, self.stream, read_within, read_within + more)
        if body is None:
            self.busy()
            return
        for name, value in headers.items():
            self.set_header(name, value)
        await self.answers.send(self, self.stream, body)

    @property
    def patience(self) -> float:
        """Seconds that page and JSON wait for a read of Redis."""
        timeout: float = self.fleet.settings.redis.timeout
        return min(timeout, _GLANCE) if self.fleet.not_ready else timeout


class Metrics(Handler):
    """The scrape."""

    async def get(self) -> None:
        """Answer in the format, compression and time that the request's headers name."""
        asked = self.request.headers
        form = Format.OPENMETRICS if "application/openmetrics-text" in asked.get("Accept", "") else Format.TEXT
        encodings = asked.get("Accept-Encoding", "").replace(" ", "")
        gzip = "gzip" in encodings and "gzip;q=0" not in encodings
        names = frozenset(self.get_query_arguments("name[]"))
        limit = time_limit(asked.get("X-Prometheus-Scrape-Timeout-Seconds", ""), self.fleet.settings.redis.timeout)

        def make(snapshot: Snapshot | None) -> Iterator[bytes]:
            families = (*own_families(snapshot, self.fleet.info), *self.fleet.telemetry.registry.collect())
            return exposition(snapshot, families, form, names)

        wanted = Wanted((form, gzip, names), make, whole=not names, gzip=gzip)
        headers = {"Content-Type": form.value, "Vary": "Accept, Accept-Encoding"}
        headers |= {"Content-Encoding": "gzip"} if gzip else {}
        await self.answer(wanted, headers, limit, _SCRAPE_MARGIN / 2)


class Api(Handler):
    """Nodes, portfolios or events as JSON: all of them, or those that the query asks for."""

    async def get(self, name: str) -> None:
        """Answer with the list of this name, or 400 if the query is invalid."""
        from exporter.web import api  # noqa: PLC0415 - scrapes do not need it

        parse, make = api.LISTS[name]
        if query := self.parsed(parse):
            patience = 0.0 if name == "events" else self.patience
            await self.answer(Wanted((name, query), lambda read: make(read, query, self.fleet)), _JSON, patience)


class StatusPage(Handler):
    """The status page."""

    async def get(self) -> None:
        """Answer with the page that the query asks for, or 400 if the query is invalid."""
        from exporter.web import page  # noqa: PLC0415 - an exporter that is only scraped needs no page

        if query := self.parsed(page.query_of):
            await self.answer(
                Wanted(query, lambda snapshot: [page.render(snapshot, self.fleet, self.push, query)]),
                page.HEADERS,
                self.patience,
            )


class Runbook(Handler):
    """A runbook, with the node of an alert filled in; without a name the list of runbooks."""

    async def get(self, name: str) -> None:
        """Answer with the runbook of an alert; 404 if it has none."""
        from exporter.bundled import alert_severities  # noqa: PLC0415 - as above
        from exporter.web import runbooks  # noqa: PLC0415

        # tornado's own function changes control characters.
        node_id = self.request.query_arguments.get("node_id", [b""])[-1].decode("utf-8", "backslashreplace")
        if not name:
            await self.answer(Wanted("runbooks", lambda _: [runbooks.index()]), runbooks.HEADERS, 0.0)
        elif name not in alert_severities():
            self.text("404 Not Found: no such runbook; see /runbooks/", HTTPStatus.NOT_FOUND)
        else:
            wanted = Wanted((name, node_id), lambda read: [runbooks.runbook(name, node_id, self.fleet, read)])
            await self.answer(wanted, runbooks.HEADERS, _GLANCE)


class Health(Handler):
    """Whether the process works, and whether names are discovered and Redis answers."""

    guarded = False

    def get(self, name: str) -> None:
        """Answer 200 or 503, with the reason. A process that answers is healthy, whatever the state of Redis."""
        reason = self.fleet.not_ready if name == "ready" else ""
        self.text(f"not ready: {reason}" if reason else name, BUSY if reason else OK)


class NotFound(Handler):
    """Every other path."""

    def get(self) -> None:
        """Answer 404."""
        self.text("404 Not Found", HTTPStatus.NOT_FOUND)


def time_limit(header: str, longest: float) -> float:
    """Return the seconds that a scrape may take: the scraper's timeout less half a second for the way back.

    Args:
        header: Value of ``X-Prometheus-Scrape-Timeout-Seconds``; empty if the scraper does not send it.
        longest: Maximum in seconds. It is the limit when the header is empty or invalid.
    """
    seconds = float(header) if re.fullmatch(r"[0-9]+(\.[0-9]*)?", header) else 0.0
    return min(longest, max(seconds - _SCRAPE_MARGIN, seconds / 2) or longest)
