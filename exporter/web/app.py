"""The routes and their answers."""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

from tornado.iostream import IOStream
from tornado.web import Application

from exporter.fleet import Fleet
from exporter.liveness.offline import OfflineSince, judged
from exporter.snapshot.rows import rows_of
from exporter.snapshot.snapshot import Snapshot
from exporter.web import page
from exporter.web.admission import Admission
from exporter.web.handler import Handler, log_request
from exporter.web.negotiation import CONTENT_TYPES, accepts_gzip, choose_format, time_limit
from exporter.web.page import PushedAlerts
from exporter.web.scrape import ScrapeOptions, Scrapes

_JSON = "application/json; charset=utf-8"


def application(  # noqa: PLR0913 - the parts of a server
    fleet: Fleet,
    scrapes: Scrapes,
    admission: Admission,
    pushed: PushedAlerts | None,
    *,
    request_started: Callable[[IOStream], None],
    request_finished: Callable[[IOStream], None],
) -> Application:
    """Return the web application over a started fleet.

    Args:
        fleet: The fleet.
        scrapes: Makes the bodies of scrapes.
        admission: Decides which requests are answered.
        pushed: Returns the alerts that are being pushed; None if push is off.
        request_started: Called with the connection's stream when a request began.
        request_finished: Called with the connection's stream when the request is answered.
    """
    parts: dict[str, Any] = {"fleet": fleet, "admission": admission}
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
        log_function=log_request,
        request_started=request_started,
        request_finished=request_finished,
    )


class Metrics(Handler):
    """The scrape."""

    def initialize(self, fleet: Fleet, admission: Admission, scrapes: Scrapes) -> None:  # type: ignore[override]
        """Take the parts that the application was made with."""
        super().initialize(fleet, admission)
        self.scrapes = scrapes

    async def get(self) -> None:
        """Answer in the format, compression and time that the request's headers name."""
        headers = self.request.headers
        options = ScrapeOptions(
            form=choose_format(headers.get("Accept", "")),
            gzip=accepts_gzip(headers.get("Accept-Encoding", "")),
            names=frozenset(self.get_query_arguments("name[]")),
        )
        limit = time_limit(headers.get("X-Prometheus-Scrape-Timeout-Seconds", ""), self.fleet.settings.redis.timeout)
        body = await self.scrapes.body(options, limit)
        self.set_header("Vary", "Accept, Accept-Encoding")
        if options.gzip:
            self.set_header("Content-Encoding", "gzip")
        await self.send(body, CONTENT_TYPES[options.form])


class Nodes(Handler):
    """All nodes as JSON."""

    async def get(self) -> None:
        """Answer with ``{"redis_up": …, "nodes": […]}``."""
        snapshot = await self.snapshot()
        body = await asyncio.to_thread(_nodes_json, snapshot, judged(self.fleet.judge))
        await self.send([body], _JSON)


class StatusPage(Handler):
    """The status page, and the data with which its script refreshes it."""

    def initialize(self, fleet: Fleet, admission: Admission, pushed: PushedAlerts | None) -> None:  # type: ignore[override]
        """Take the parts that the application was made with."""
        super().initialize(fleet, admission)
        self.pushed = pushed

    async def get(self) -> None:
        """Answer with the page; with ``?rows`` answer with the rows of its table as JSON."""
        snapshot, offline_since = await self.snapshot(), judged(self.fleet.judge)
        if "rows" in self.request.query_arguments:
            ttl = self.fleet.settings.heartbeat.ttl
            await self.send([await asyncio.to_thread(page.rows_json, snapshot, ttl, offline_since)], _JSON)
            return
        alerts = self.pushed() if self.pushed else None
        body = await asyncio.to_thread(page.render, snapshot, self.fleet.settings, alerts, offline_since)
        for name, value in page.HEADERS.items():
            self.set_header(name, value)
        await self.send([body], "text/html; charset=utf-8")


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
