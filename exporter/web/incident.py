"""The routes for looking into an incident: the events, and the runbooks."""

import asyncio
from typing import Final

from exporter.fleet import situation
from exporter.liveness.offline import judged
from exporter.snapshot.snapshot import Snapshot
from exporter.web.handler import Handler
from exporter.web.precedence import Pause
from exporter.web.view_handler import View

_JSON: Final = "application/json; charset=utf-8"
_HTML: Final = "text/html; charset=utf-8"


class Events(Handler):
    """What happened: the events, newest first."""

    async def get(self) -> None:
        """Answer with ``{"events": […], "next": …}``, or 400 if the query is invalid."""
        from exporter.web.event_list import EventQuery, events_json  # noqa: PLC0415 - scrapes do not need it

        if (wanted := self.parsed(EventQuery.of)) is None:
            return
        if not await self.budget.room(scrape=False):
            self.busy()
            return
        await self.send(await asyncio.to_thread(events_json, self.fleet.journal, wanted), _JSON)


class Runbooks(View):
    """The list of runbooks."""

    async def get(self) -> None:
        """Answer with a page of links."""
        from exporter.web import runbooks  # noqa: PLC0415 - an exporter that is only scraped needs no runbooks

        for name, value in runbooks.HEADERS.items():
            self.set_header(name, value)
        await self.send_view("runbooks", lambda *_: [runbooks.index()], _HTML)


class Runbook(View):
    """A runbook, with the node of an alert filled in."""

    async def get(self, name: str) -> None:
        """Answer with the runbook of an alert; 404 if it has none."""
        from exporter.web import runbooks  # noqa: PLC0415 - as above
        from exporter.web.known import known_of  # noqa: PLC0415 - as above

        if name not in runbooks.alert_summaries():
            self.set_status(404)
            self.text("404 Not Found: no such runbook; see /runbooks/")
            return
        node_id = self.get_query_argument("node_id", "", strip=False)
        journal, offline_since = self.fleet.journal, judged(self.fleet.judge)
        for header, value in runbooks.HEADERS.items():
            self.set_header(header, value)

        def make(snapshot: Snapshot | None, _: Pause) -> list[bytes]:
            known = known_of(node_id, snapshot, offline_since, journal, situation.trouble(self.fleet), alert=name)
            return [runbooks.runbook(name, node_id, known) or b""]

        await self.send_view(("runbook", name, node_id), make, _HTML)
