"""A real Alertmanager, and the receiver of its notifications."""

import json
import shutil
import signal
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Final

from lab.bench.servers import free_port
from lab.soak.servers import Daemon

_GROUP_INTERVAL: Final = "200ms"
"""Time between two pages for the same node."""
_SAVE_EVERY: Final = "500ms"
"""Time between two saves of the notification log, which says which pages were sent."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One alert of one notification.

    Attributes:
        at: Arrival in monotonic seconds.
        firing: Whether the alert fires; False if it has ended.
        alertname: Name of the alert.
        node_id: Node of the alert; empty if the alert is not about a node.
    """

    at: float
    firing: bool
    alertname: str
    node_id: str


class Webhook:
    """Receives Alertmanager's notifications and keeps them.

    Attributes:
        notices: All of them, in the order of their arrival.
        url: Address for Alertmanager's configuration.
    """

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        notices = self.notices

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                now = time.monotonic()
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                for alert in body["alerts"]:
                    labels = alert["labels"]
                    firing = alert["status"] == "firing"
                    notices.append(Notice(now, firing, labels["alertname"], labels.get("node_id", "")))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        Thread(target=self._server.serve_forever, name="webhook", daemon=True).start()

    def close(self) -> None:
        """Take no more notifications."""
        self._server.shutdown()
        self._server.server_close()


def alertmanager_binary() -> str | None:
    """Return the program of an installed Alertmanager; None if there is no such program."""
    return shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")


class Alertmanager:
    """An Alertmanager that pages at once, and sends one page for each node.

    Args:
        folder: Folder for its configuration and data.
        program: Its program.
        webhook: Receiver of its notifications.
    """

    def __init__(self, folder: Path, program: str, webhook: Webhook) -> None:
        self._folder, self._program = folder / "alertmanager", program
        self._folder.mkdir()
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        route = {
            "receiver": "soak",
            "group_by": ["alertname", "node_id"],
            "group_wait": "0s",
            "group_interval": _GROUP_INTERVAL,
            "repeat_interval": "4h",
        }
        receivers = [{"name": "soak", "webhook_configs": [{"url": webhook.url, "max_alerts": 0}]}]
        (self._folder / "alertmanager.yml").write_text(json.dumps({"route": route, "receivers": receivers}))
        self.start()

    def start(self) -> None:
        """Start Alertmanager with the notification log of its last run."""
        command = (
            self._program,
            f"--config.file={self._folder / 'alertmanager.yml'}",
            f"--storage.path={self._folder}",
            f"--web.listen-address=127.0.0.1:{self._port}",
            "--cluster.listen-address=",
            f"--data.maintenance-interval={_SAVE_EVERY}",
        )
        self._process = Daemon(list(command), self._port)

    def kill(self) -> float:
        """Kill Alertmanager, and return when it last saved its notification log, in monotonic seconds."""
        self._process.stop()
        try:
            age = time.time() - (self._folder / "nflog").stat().st_mtime
        except FileNotFoundError:
            return 0.0
        return time.monotonic() - age

    def suspend(self) -> None:
        """Suspend Alertmanager."""
        self._process.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume Alertmanager."""
        self._process.send(signal.SIGCONT)
