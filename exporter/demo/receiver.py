"""A receiver of Alertmanager's notifications, which tells them on the terminal as they come."""

import json
from collections.abc import Iterator
from typing import Any, Final

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from exporter.demo.terminal import Terminal

_HOST: Final = "127.0.0.1"
_MAX_BODY: Final = 16 * 1024 * 1024


class Receiver:
    """Listens on a free port of the loopback interface, from its making until it is closed.

    Attributes:
        url: Where notifications go, followed by the name of the receiver that they are for.
    """

    def __init__(self, terminal: Terminal) -> None:
        notifications = {"terminal": terminal, "told": {}}
        self._http = HTTPServer(
            Application([("/(.+)", _Notification, notifications)], log_function=lambda _: None),
            max_body_size=_MAX_BODY,
        )
        sockets = bind_sockets(0, _HOST)
        self._http.add_sockets(sockets)
        self.url = f"http://{_HOST}:{sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Stop listening."""
        self._http.stop()
        await self._http.close_all_connections()


class _Notification(RequestHandler):
    def initialize(self, terminal: Terminal, told: dict[tuple[str, str], str]) -> None:
        self._terminal = terminal
        self._told = told

    def post(self, name: str) -> None:
        for line in news(name, json.loads(self.request.body), self._told):
            self._terminal.tell(line)


def news(name: str, notification: dict[str, Any], told: dict[tuple[str, str], str]) -> Iterator[str]:
    """Yield a line for each alert whose state this receiver has not been told of yet.

    Args:
        name: The receiver's.
        notification: What Alertmanager posts: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
        told: The state told last, by receiver and alert; brought up to date.
    """
    for alert in notification["alerts"]:
        key = name, alert["fingerprint"]
        if told.get(key) != alert["status"]:
            told[key] = alert["status"]
            labels, summary = alert["labels"], alert["annotations"].get("summary", "")
            severity = labels.get("severity", "no severity")
            yield f"{name} is told: {alert['status'].upper()} {labels['alertname']} ({severity}): {summary}"
