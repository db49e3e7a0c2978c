"""The receiver of Alertmanager's notifications in compose.yaml: it prints each change as it arrives.

``GET /`` shows the last changes as a page. ``python -m exporter.demo.receiver`` runs it.
"""

import asyncio
import json
import signal
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final

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


def application(tell: Callable[[str], None]) -> Application:
    """Return the server. Alertmanager posts to the path of its receiver's name, such as ``/pager``.

    Args:
        tell: Takes a line for each change.
    """
    parts = {"tell": tell, "kept": deque(maxlen=_KEPT), "last": {}}
    return Application([("/([a-z-]*)", _Handler, parts)], log_function=lambda _: None)


class _Handler(RequestHandler):
    def initialize(
        self, tell: Callable[[str], None], kept: deque[tuple[str, str, str]], last: dict[tuple[str, str], str]
    ) -> None:
        self._tell, self._kept, self._last = tell, kept, last

    def get(self, _: str) -> None:
        self.write(_PAGE.generate(pages=self._kept))

    def post(self, name: str) -> None:
        """Tell and keep each alert whose state is new for a receiver.

        The body is described in https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
        """
        for alert in json.loads(self.request.body)["alerts"]:
            key, state = (name, alert["fingerprint"]), alert["status"]
            if self._last.get(key) != state:
                self._last[key] = state
                labels, annotations = alert["labels"], alert["annotations"]
                what = f"{labels['alertname']} ({labels.get('severity', 'no severity')}): {annotations.get('summary')}"
                line, runbook = f"{name} is told: {state.upper()} {what}", annotations.get("runbook_url", "")
                link = runbook if runbook.startswith(("http://", "https://")) else ""
                self._kept.appendleft((f"{datetime.now(UTC):%H:%M:%S}", line, link))
                self._tell(line)


async def main() -> None:
    """Receive notifications on port 8080 until SIGTERM or SIGINT, and print a line for each change."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    application(partial(print, flush=True)).listen(8080, max_body_size=_MAX_BODY)
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(main())
