"""The routes and their answers."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream
from tornado.web import Application

from exporter.fleet import Fleet, situation
from exporter.liveness.offline import judged
from exporter.web.admission import Admission
from exporter.web.handler import Handler, log_request
from exporter.web.incident import Events, Runbook, Runbooks
from exporter.web.negotiation import CONTENT_TYPES, accepts_gzip, choose_format, time_limit
from exporter.web.scrape import ScrapeOptions, Scrapes
from exporter.web.send_budget import SendBudget
from exporter.web.view_handler import View
from exporter.web.views import Views

if TYPE_CHECKING:
    from exporter.web.page import PushStatus

_JSON = "application/json; charset=utf-8"
_HTML = "text/html; charset=utf-8"


def application(  # noqa: PLR0913 - the parts of a server
    fleet: Fleet,
    scrapes: Scrapes,
    admission: Admission,
    views: Views,
    push: "PushStatus | None",
    *,
    budget: SendBudget,
    request_started: Callable[[IOStream], None],
    request_finished: Callable[[IOStream], None],
) -> Application:
    """Return the web application over a started fleet.

    Args:
        fleet: The fleet.
        scrapes: Makes the bodies of scrapes.
        views: Makes the bodies of page and JSON.
        admission: Decides which requests are answered.
        push: What is being pushed; None if push is off.
        budget: Bounds the bytes that wait to be sent.
        request_started: Called with the connection's stream when a request began.
        request_finished: Called with the connection's stream when the request is answered.
    """
    parts: dict[str, Any] = {"fleet": fleet, "admission": admission, "budget": budget}
    return _Application(
        [
            (re.escape(fleet.settings.web.telemetry_path), Metrics, {**parts, "scrapes": scrapes}),
            ("/", StatusPage, {**parts, "views": views, "push": push}),
            ("/api/v1/nodes", Nodes, {**parts, "views": views}),
            ("/api/v1/portfolios", Portfolios, {**parts, "views": views}),
            ("/api/v1/events", Events, parts),
            ("/runbooks/", Runbooks, {**parts, "views": views}),
            ("/runbooks/([A-Za-z0-9]+)", Runbook, {**parts, "views": views}),
            ("/-/healthy", Healthy, parts),
            ("/-/ready", Ready, parts),
        ],
        default_handler_class=NotFound,
        default_handler_args=parts,
        log_function=log_request,
        request_started=request_started,
        request_finished=request_finished,
    )


class _Application(Application):
    """An application that also serves requests whose target is a whole URL, as proxies send them."""

    def find_handler(self, request: HTTPServerRequest, **options: Any) -> Any:
        """Return what answers a request. RFC 9112, section 3.2.2: a server must accept the absolute form."""
        scheme, separator, rest = request.path.partition("://")
        if separator and scheme.lower() in ("http", "https"):
            request.path = "/" + rest.partition("/")[2]
        return super().find_handler(request, **options)


class Metrics(Handler):
    """The scrape."""

    def initialize(self, scrapes: Scrapes, **parts: Any) -> None:  # type: ignore[override]
        """Take the parts that the application was made with."""
        super().initialize(**parts)
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
        if not await self.budget.room(scrape=True):
            self.busy()
            return
        body = await self.scrapes.body(options, limit)
        self.set_header("Vary", "Accept, Accept-Encoding")
        if options.gzip:
            self.set_header("Content-Encoding", "gzip")
        await self.send(body, CONTENT_TYPES[options.form], scrape=True)


class Nodes(View):
    """Nodes as JSON: all of them, or those that the query asks for."""

    async def get(self) -> None:
        """Answer with ``{"redis_up": …, "nodes": […]}``, or 400 if the query is invalid."""
        from exporter.web.node_list import NodeQuery, nodes_json  # noqa: PLC0415 - scrapes do not need it

        if (query := self.parsed(NodeQuery.of)) is None:
            return
        offline_since = judged(self.fleet.judge)
        await self.send_view(
            query,
            lambda snapshot, pause: nodes_json(snapshot, offline_since, query, pause, situation.trouble(self.fleet)),
            _JSON,
        )


class Portfolios(View):
    """Portfolios as JSON: all of them, or those that the query asks for."""

    async def get(self) -> None:
        """Answer with ``{"redis_up": …, "portfolios": […]}``, or 400 if the query is invalid."""
        from exporter.web.portfolio_list import PortfolioQuery, portfolios_json  # noqa: PLC0415 - as above

        if (query := self.parsed(PortfolioQuery.of)) is None:
            return
        await self.send_view(
            query, lambda snapshot, pause: portfolios_json(snapshot, query, pause, situation.trouble(self.fleet)), _JSON
        )


class StatusPage(View):
    """The status page, and the data with which its script refreshes it."""

    def initialize(self, push: "PushStatus | None", **parts: Any) -> None:  # type: ignore[override]
        """Take the parts that the application was made with."""
        super().initialize(**parts)
        self.push = push

    async def get(self) -> None:
        """Answer with the page; with ``?rows`` or ``?portfolios`` answer with what its script refreshes."""
        # An exporter that is only scraped needs no page.
        from exporter.web import page  # noqa: PLC0415
        from exporter.web.event_section import event_section  # noqa: PLC0415
        from exporter.web.portfolio_section import portfolio_section  # noqa: PLC0415

        offline_since, settings = judged(self.fleet.judge), self.fleet.settings
        journal = self.fleet.journal
        if "rows" in self.request.query_arguments:
            await self.send_view(
                "rows",
                lambda snapshot, pause: [
                    page.rows_json(
                        snapshot,
                        settings.heartbeat.ttl,
                        offline_since,
                        pause=pause,
                        trouble=situation.trouble(self.fleet),
                        notice=situation.refusal(self.fleet),
                        events=event_section(journal),
                    )
                ],
                _JSON,
            )
            return
        if "portfolios" in self.request.query_arguments:
            everything = self.get_query_argument("portfolios") == "all"
            await self.send_view(
                ("portfolios", everything),
                lambda snapshot, pause: [portfolio_section(snapshot, everything=everything, pause=pause)],
                _HTML,
            )
            return
        alerts, refusals = (self.push.pushed(), self.push.refusals()) if self.push else (None, ())
        for name, value in page.HEADERS.items():
            self.set_header(name, value)
        await self.send_view(
            "page",
            lambda snapshot, pause: [
                page.render(
                    snapshot,
                    settings,
                    alerts,
                    offline_since,
                    refusals=refusals,
                    trouble=situation.trouble(self.fleet),
                    notice=situation.refusal(self.fleet),
                    events=event_section(journal),
                    pause=pause,
                )
            ],
            _HTML,
        )


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
        reason = self.fleet.not_ready and (situation.outage(self.fleet) or self.fleet.not_ready)
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
