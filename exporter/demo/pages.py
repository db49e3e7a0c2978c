"""The receiver of compose.yaml: ``python -m exporter.demo.pages`` shows what Alertmanager sends, as it arrives.

It prints a line for each change, and ``/`` shows the last changes as a page. The name of an Alertmanager receiver must
follow its address, such as ``http://pages:8080/pager``.
"""

import argparse
import asyncio
import json
import signal
import sys
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.template import Template
from tornado.web import Application, RequestHandler

from exporter.demo.receiver import new_alerts
from exporter.settings import format_duration

_KEPT: Final = 100
"""Number of changes on the page."""
_MAX_BODY: Final = 16 * 1024 * 1024
_PAGE: Final = Template(
    """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="2">
<title>Pages</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { border-bottom: 1px solid #ddd; padding: .3rem .6rem; text-align: left; vertical-align: top }
.firing { color: #a40000; font-weight: 600 }
</style>
<h1>What Alertmanager sends</h1>
<p>Each change of an alert, the newest first. A pager would ring for the receiver <b>pager</b>.</p>
<table>
<tr><th>arrived (UTC)<th>receiver<th>state<th>alert<th>summary<th>delay
{% for page in pages %}<tr><td>{{ page["arrived"][11:19] }}<td>{{ page["receiver"] }}
<td class="{{ "firing" if page["status"] == "firing" else "" }}">{{ page["status"] }}
<td>{% if page["runbook"] %}<a href="{{ page["runbook"] }}">{{ page["alertname"] }}</a>
{% else %}{{ page["alertname"] }}{% end %}
<td>{{ page["summary"] }}<td>{{ page["delay"] }}
{% end %}</table>
{% if not pages %}<p>Nothing has arrived yet.</p>{% end %}
</html>
""",
    whitespace="oneline",
)


class Pages:
    """A server that keeps the last changes. It listens from its creation until ``close``.

    Attributes:
        port: The port.
        kept: The changes as the page shows them, the newest first.
    """

    def __init__(self, host: str, port: int) -> None:
        self.kept: deque[dict[str, str]] = deque(maxlen=_KEPT)
        given: dict[str, Any] = {"kept": self.kept}
        routes: list[Any] = [
            ("/", _Page, given),
            ("/-/healthy", _Healthy),
            ("/([a-z-]+)", _Notification, given | {"last_states": {}}),
        ]
        self._http = HTTPServer(Application(routes, log_function=lambda _: None), max_body_size=_MAX_BODY)
        sockets = bind_sockets(port, host)
        self._http.add_sockets(sockets)
        self.port: int = sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening."""
        self._http.stop()
        await self._http.close_all_connections()


class _Page(RequestHandler):
    def initialize(self, kept: deque[dict[str, str]]) -> None:
        self._kept = kept

    def get(self) -> None:
        if "application/json" in self.request.headers.get("Accept", ""):
            self.write({"pages": list(self._kept)})
            return
        self.set_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.write(_PAGE.generate(pages=self._kept))


class _Healthy(RequestHandler):
    def get(self) -> None:
        self.write("healthy\n")


class _Notification(RequestHandler):
    def initialize(self, kept: deque[dict[str, str]], last_states: dict[tuple[str, str], str]) -> None:
        self._kept, self._last_states = kept, last_states

    def post(self, receiver: str) -> None:
        now = datetime.now(UTC)
        for alert in new_alerts(receiver, json.loads(self.request.body), self._last_states):
            page = _shown(receiver, alert, now)
            self._kept.appendleft(page)
            state = page["status"].upper()
            sys.stdout.write(f"{page['arrived'][11:19]} {receiver}: {state} {page['alertname']}: {page['summary']}\n")
        sys.stdout.flush()


def _shown(receiver: str, alert: dict[str, Any], now: datetime) -> dict[str, str]:
    labels, annotations = alert["labels"], alert["annotations"]
    firing = alert["status"] == "firing"
    changed = datetime.fromisoformat(alert["startsAt" if firing else "endsAt"])
    delay = format_duration(max(0, round((now - changed).total_seconds())))
    runbook = annotations.get("runbook_url", "")
    return {
        "arrived": now.isoformat(),
        "receiver": receiver,
        "status": alert["status"],
        "alertname": labels["alertname"],
        "summary": annotations.get("summary", ""),
        "runbook": runbook if runbook.startswith(("http://", "https://")) else "",
        "delay": f"{delay} after it {'began' if firing else 'ended'}",
    }


async def serve(host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    pages = Pages(host, port)
    sys.stdout.write(f"pages on http://{host or 'localhost'}:{pages.port}/\n")
    sys.stdout.flush()
    await ended.wait()
    await pages.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m exporter.demo.pages", description=__doc__)
    parser.add_argument("--listen", default=":8080", metavar="HOST:PORT", help="address to serve on [%(default)s]")
    host, _, port = parser.parse_args(arguments).listen.rpartition(":")
    asyncio.run(serve(host, int(port)))


if __name__ == "__main__":
    main()
