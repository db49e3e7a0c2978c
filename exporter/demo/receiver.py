"""Receives Alertmanager's notifications, and prints them on the terminal."""

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
    """A server on a free port of the loopback interface. It listens from its creation until ``close``.

    Attributes:
        url: The address for notifications. The name of an Alertmanager receiver must follow it.
    """

    def __init__(self, terminal: Terminal) -> None:
        notifications = {"terminal": terminal, "last_states": {}}
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
    def initialize(self, terminal: Terminal, last_states: dict[tuple[str, str], str]) -> None:
        self._terminal = terminal
        self._last_states = last_states

    def post(self, name: str) -> None:
        for line in news(name, json.loads(self.request.body), self._last_states):
            self._terminal.log(line)


def news(name: str, notification: dict[str, Any], last_states: dict[tuple[str, str], str]) -> Iterator[str]:
    """Yield a line for each alert whose state is new for this receiver; see ``new_alerts``."""
    for alert in new_alerts(name, notification, last_states):
        labels, summary = alert["labels"], alert["annotations"].get("summary", "")
        severity = labels.get("severity", "no severity")
        yield f"{name} is told: {alert['status'].upper()} {labels['alertname']} ({severity}): {summary}"


def new_alerts(
    name: str, notification: dict[str, Any], last_states: dict[tuple[str, str], str]
) -> Iterator[dict[str, Any]]:
    """Yield each alert whose state is new for this receiver.

    Args:
        name: Name of the receiver.
        notification: The body that Alertmanager posts: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
        last_states: The last state by receiver and alert. The function updates it.
    """
    for alert in notification["alerts"]:
        key = name, alert["fingerprint"]
        if last_states.get(key) != alert["status"]:
            last_states[key] = alert["status"]
            yield alert
