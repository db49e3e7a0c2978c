"""The receiver of Alertmanager's notifications, in the demo and in compose.yaml: it tells each change as it arrives.

``GET /`` shows the last changes as a page. ``python -m exporter.demo.receiver`` runs it alone.
"""

import asyncio
import json
import signal
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.template import Template
from tornado.web import Application, RequestHandler

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
</style>
<h1>What Alertmanager sends</h1>
<p>Each change of an alert, the newest first. A pager would ring for the receiver <b>pager</b>.</p>
<ul>
{% for time, line, runbook in pages %}<li>{{ time }} {% if runbook %}<a href="{{ runbook }}">{{ line }}</a>
{% else %}{{ line }}{% end %}
{% end %}</ul>
{% if not pages %}<p>Nothing has arrived yet.</p>{% end %}
</html>
""",
    whitespace="oneline",
)


class Receiver:
    """A server that tells each change of an alert, and keeps the last ones. It listens until ``close``.

    Args:
        host: Its address.
        port: Its port; 0 for a free one.
        tell: Takes a line for each change.

    Attributes:
        port: Its port. The name of an Alertmanager receiver must follow the address, such as ``/pager``.
        kept: The time (UTC), the line and the runbook of each change, the newest first.
    """

    def __init__(self, host: str, port: int, tell: Callable[[str], None]) -> None:
        self.kept: deque[tuple[str, str, str]] = deque(maxlen=_KEPT)
        self._tell = tell
        self._last: dict[tuple[str, str], str] = {}
        routes: list[Any] = [("/([a-z-]*)", _Handler, {"receiver": self})]
        self._http = HTTPServer(Application(routes, log_function=lambda _: None), max_body_size=_MAX_BODY)
        sockets = bind_sockets(port, host)
        self._http.add_sockets(sockets)
        self.port: int = sockets[0].getsockname()[1]

    def take(self, name: str, notification: dict[str, Any]) -> None:
        """Tell and keep each alert whose state is new for a receiver.

        Args:
            name: Name of the receiver.
            notification: The body that Alertmanager posts: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
        """
        for alert in notification["alerts"]:
            key, state = (name, alert["fingerprint"]), alert["status"]
            if self._last.get(key) != state:
                self._last[key] = state
                labels, annotations = alert["labels"], alert["annotations"]
                what = f"{labels['alertname']} ({labels.get('severity', 'no severity')}): {annotations.get('summary')}"
                line, runbook = f"{name} is told: {state.upper()} {what}", annotations.get("runbook_url", "")
                link = runbook if runbook.startswith(("http://", "https://")) else ""
                self.kept.appendleft((f"{datetime.now(UTC):%H:%M:%S}", line, link))
                self._tell(line)

    async def close(self) -> None:
        """Stop listening."""
        self._http.stop()
        await self._http.close_all_connections()


class _Handler(RequestHandler):
    def initialize(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def get(self, _: str) -> None:
        self.set_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        self.write(_PAGE.generate(pages=self._receiver.kept))

    def post(self, name: str) -> None:
        self._receiver.take(name, json.loads(self.request.body))


async def main() -> None:
    """Receive notifications on port 8080 until SIGTERM or SIGINT, and print a line for each change."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    receiver = Receiver("", 8080, lambda line: print(line, flush=True))  # noqa: T201
    await ended.wait()
    await receiver.close()


if __name__ == "__main__":
    asyncio.run(main())
