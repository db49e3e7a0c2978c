"""The routes, and what each answers."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from tornado.iostream import IOStream, StreamClosedError
from tornado.web import Application, RequestHandler

from exporter.errors import SourceError
from exporter.fleet import Fleet
from exporter.liveness.offline import OfflineSince, judged
from exporter.snapshot.rows import rows_of
from exporter.snapshot.snapshot import Snapshot
from exporter.web import page
from exporter.web.door import Door
from exporter.web.negotiation import CONTENT_TYPES, accepts_gzip, choose_format, time_limit
from exporter.web.page import Pushed
from exporter.web.scrape import Body, Scrapes, Wanted, in_blocks, shared

_TEXT: Final = "text/plain; charset=utf-8"
_READ_WITHIN: Final = 30.0
"""Seconds in which a client must have read an answer."""

log = structlog.get_logger(__name__)


def application(  # noqa: PLR0913 - the parts of a server
    fleet: Fleet,
    scrapes: Scrapes,
    door: Door,
    pushed: Pushed | None,
    *,
    in_use: Callable[[IOStream], None],
    served: Callable[[IOStream], None],
) -> Application:
    """Return the web application over a started fleet.

    Args:
        fleet: What is served.
        scrapes: Who answers scrapes.
        door: Who may ask.
        pushed: Returns the alerts that are being pushed; None if push is off.
        in_use: Told of the connection of each request.
        served: Told of it once more when the request is answered.
    """
    parts: dict[str, Any] = {"fleet": fleet, "door": door}
    return Application(
        [
            (re.escape(fleet.settings.web.telemetry_path), Metrics, {**parts, "scrapes": scrapes}),
            ("/", StatusPage, {**parts, "pushed": pushed}),
            ("/api/v1/nodes", Nodes, parts),
            ("/-/healthy", Healthy, parts),
            ("/-/ready", Ready, parts),
        ],
        default_handler_class=NotFound,
        default_handler_args=parts,
        log_function=_log_request,
        in_use=in_use,
        served=served,
    )


class Handler(RequestHandler):
    """What all routes share: plain errors, no cookies, no entity tags."""

    SUPPORTED_METHODS = ("GET", "HEAD")
    guarded = True

    def initialize(self, fleet: Fleet, door: Door) -> None:
        """Take the parts that the application was made with."""
        self.fleet = fleet
        self.door = door

    def set_default_headers(self) -> None:
        """Say little about the server, and let nobody guess types."""
        self.set_header("Server", "ginkgo-exporter")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")

    def on_finish(self) -> None:
        """Say that this request keeps the server from stopping no longer."""
        self.settings["served"](self.request.connection.stream)  # type: ignore[union-attr]

    async def prepare(self) -> None:
        """Let only those in whom the door admits."""
        self.settings["in_use"](self.request.connection.stream)  # type: ignore[union-attr]
        for name, value in self.door.headers:
            self.set_header(name, value)
        if self.guarded and not await self.door.admits(self.request):
            if self.door.wants_user:
                self.set_header("WWW-Authenticate", 'Basic realm="ginkgo-exporter", charset="UTF-8"')
            self.set_status(401)
            self.text("401 Unauthorized")

    def compute_etag(self) -> None:
        """Make none: a scrape is never asked for again unchanged."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer an error in one line, with the headers that every answer carries."""
        for name, value in self.door.headers:
            self.set_header(name, value)
        if status_code == 405:  # noqa: PLR2004
            self.set_header("Allow", "GET, HEAD")
        if "exc_info" in kwargs and status_code >= 500:  # noqa: PLR2004
            self.fleet.telemetry.fault("request", kwargs["exc_info"][1])
        self.text(f"{status_code} {self._reason}")

    def log_exception(self, *_: object) -> None:
        """Leave that to ``write_error``, which counts it too."""

    def text(self, line: str) -> None:
        """Answer with one line of plain text."""
        self.set_header("Content-Type", _TEXT)
        self.finish(line + "\n")

    async def send(self, body: Body, content_type: str) -> None:
        """Answer with a body that others may share; a client that does not read it in time is cut off."""
        self.set_header("Content-Type", content_type)
        self.set_header("Content-Length", str(sum(map(len, body))))
        self.flush()  # headers alone: written with them, the first block would be copied once more
        try:
            async with asyncio.timeout(_READ_WITHIN):
                if self.request.method != "HEAD":
                    for block in in_blocks(body):
                        self.write(block)
                        await self.flush()
                await self.finish()
        except TimeoutError:
            self.request.connection.stream.close()  # type: ignore[union-attr]
        except StreamClosedError:
            pass  # the client has gone

    async def snapshot(self) -> Snapshot | None:
        """Return the fleet as it is now, or None if Redis cannot be read in time."""
        try:
            async with asyncio.timeout(self.fleet.settings.redis.timeout):
                return await shared(self.fleet.request())
        except (SourceError, TimeoutError):
            return None

    def head(self) -> Awaitable[None] | None:
        """Answer as GET does; tornado leaves the body out."""
        return self.get()


class Metrics(Handler):
    """The scrape."""

    def initialize(self, fleet: Fleet, door: Door, scrapes: Scrapes) -> None:  # type: ignore[override]
        """Take the parts that the application was made with."""
        super().initialize(fleet, door)
        self.scrapes = scrapes

    async def get(self) -> None:
        """Answer in the format, compression and time that the request asks for."""
        headers = self.request.headers
        wanted = Wanted(
            form=choose_format(headers.get("Accept", "")),
            gzip=accepts_gzip(headers.get("Accept-Encoding", "")),
            names=frozenset(self.get_query_arguments("name[]")),
        )
        limit = time_limit(headers.get("X-Prometheus-Scrape-Timeout-Seconds", ""), self.fleet.settings.redis.timeout)
        body = await self.scrapes.body(wanted, limit)
        self.set_header("Vary", "Accept, Accept-Encoding")
        if wanted.gzip:
            self.set_header("Content-Encoding", "gzip")
        await self.send(body, CONTENT_TYPES[wanted.form])


class Nodes(Handler):
    """All nodes as JSON."""

    async def get(self) -> None:
        """Answer with ``{"redis_up": …, "nodes": […]}``."""
        snapshot = await self.snapshot()
        body = await asyncio.to_thread(_nodes_json, snapshot, judged(self.fleet.judge))
        await self.send([body], "application/json; charset=utf-8")


class StatusPage(Handler):
    """The page for people."""

    def initialize(self, fleet: Fleet, door: Door, pushed: Pushed | None) -> None:  # type: ignore[override]
        """Take the parts that the application was made with."""
        super().initialize(fleet, door)
        self.pushed = pushed

    async def get(self) -> None:
        """Answer with the table of all nodes."""
        snapshot = await self.snapshot()
        alerts = self.pushed() if self.pushed else None
        body = await asyncio.to_thread(page.render, snapshot, self.fleet.settings, alerts, judged(self.fleet.judge))
        for name, value in page.HEADERS.items():
            self.set_header(name, value)
        await self.send([body], "text/html; charset=utf-8")


class Healthy(Handler):
    """Whether the process works."""

    guarded = False

    def get(self) -> None:
        """Answer 200, whatever Redis does."""
        self.text("healthy")


class Ready(Handler):
    """Whether names are discovered and Redis answers."""

    guarded = False

    def get(self) -> None:
        """Answer 200 or 503."""
        reason = self.fleet.not_ready
        self.set_status(503 if reason else 200)
        missing = ", ".join(sorted(self.fleet.info.missing_rights))
        ready = f"ready, but the Redis user may not run: {missing}" if missing else "ready"
        self.text(f"not ready: {reason}" if reason else ready)


class NotFound(Handler):
    """Every other path."""

    def get(self) -> None:
        """Answer 404."""
        self.set_status(404)
        self.text("404 Not Found")


def _nodes_json(snapshot: Snapshot | None, offline_since: OfflineSince) -> bytes:
    nodes = list(rows_of(snapshot, offline_since)) if snapshot else []
    answer = {"redis_up": snapshot is not None, "nodes": nodes}
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


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
