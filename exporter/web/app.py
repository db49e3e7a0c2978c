"""The routes, and what each answers."""

import asyncio
import json
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Final

import structlog
from tornado.web import Application, RequestHandler

from exporter import __version__
from exporter.errors import SourceError
from exporter.fleet import Fleet
from exporter.rows import rows_of
from exporter.snapshot import Snapshot
from exporter.web.negotiation import CONTENT_TYPES, accepts_gzip, choose_format, time_limit
from exporter.web.scrape import Scrapes, Wanted

_TEMPLATES: Final = Path(__file__).parent / "templates"
_TEXT: Final = "text/plain; charset=utf-8"

log = structlog.get_logger(__name__)


def application(fleet: Fleet, scrapes: Scrapes) -> Application:
    """Return the web application over a started fleet."""
    parts: dict[str, Any] = {"fleet": fleet}
    return Application(
        [
            (fleet.settings.web.telemetry_path, Metrics, {**parts, "scrapes": scrapes}),
            ("/", StatusPage, parts),
            ("/api/v1/nodes", Nodes, parts),
            ("/-/healthy", Healthy, parts),
            ("/-/ready", Ready, parts),
        ],
        default_handler_class=NotFound,
        default_handler_args=parts,
        template_path=str(_TEMPLATES),
        log_function=_log_request,
    )


class Handler(RequestHandler):
    """What all routes share: plain errors, no cookies, no entity tags."""

    SUPPORTED_METHODS = ("GET", "HEAD")

    def initialize(self, fleet: Fleet) -> None:
        """Take the parts that the application was made with."""
        self.fleet = fleet

    def set_default_headers(self) -> None:
        """Say little about the server, and let nobody guess types."""
        self.set_header("Server", "ginkgo-exporter")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")

    def compute_etag(self) -> None:
        """Make none: a scrape is never asked for again unchanged."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer an error in one line."""
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

    async def snapshot(self) -> Snapshot | None:
        """Return the fleet as it is now, or None if Redis cannot be read in time."""
        try:
            async with asyncio.timeout(self.fleet.settings.redis.timeout):
                return await asyncio.shield(asyncio.wrap_future(self.fleet.request()))
        except (SourceError, TimeoutError):
            return None

    def head(self) -> Awaitable[None] | None:
        """Answer as GET does; tornado leaves the body out."""
        return self.get()


class Metrics(Handler):
    """The scrape."""

    def initialize(self, fleet: Fleet, scrapes: Scrapes) -> None:  # type: ignore[override]
        """Take the parts that the application was made with."""
        super().initialize(fleet)
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
        self.set_header("Content-Type", CONTENT_TYPES[wanted.form])
        self.set_header("Vary", "Accept, Accept-Encoding")
        if wanted.gzip:
            self.set_header("Content-Encoding", "gzip")
        self.set_header("Content-Length", str(len(body)))
        self.flush()  # the head alone: sent together they would be copied together
        self.finish(body)


class Nodes(Handler):
    """All nodes as JSON."""

    async def get(self) -> None:
        """Answer with ``{"redis_up": …, "nodes": […]}``."""
        snapshot = await self.snapshot()
        body = await asyncio.to_thread(_nodes_json, snapshot)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(body)


class StatusPage(Handler):
    """The page for people."""

    async def get(self) -> None:
        """Answer with the table of all nodes."""
        snapshot = await self.snapshot()
        self.set_header(
            "Content-Security-Policy", "default-src 'none'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
        )
        self.render(
            "status.html",
            snapshot=snapshot,
            rows=list(rows_of(snapshot)) if snapshot else [],
            metrics_path=self.fleet.settings.web.telemetry_path,
            version=__version__,
        )


class Healthy(Handler):
    """Whether the process works."""

    def get(self) -> None:
        """Answer 200, whatever Redis does."""
        self.text("healthy")


class Ready(Handler):
    """Whether names are discovered and Redis answers."""

    def get(self) -> None:
        """Answer 200 or 503."""
        ready = self.fleet.ready
        self.set_status(200 if ready else 503)
        self.text("ready" if ready else "not ready: Redis does not answer, or node names are not discovered yet")


class NotFound(Handler):
    """Every other path."""

    def get(self) -> None:
        """Answer 404."""
        self.set_status(404)
        self.text("404 Not Found")


def _nodes_json(snapshot: Snapshot | None) -> str:
    nodes = list(rows_of(snapshot)) if snapshot else []
    return json.dumps({"redis_up": snapshot is not None, "nodes": nodes}, ensure_ascii=False, separators=(",", ":"))


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
