"""The servers behind the exporter: a real Prometheus and Alertmanager, and a webhook that keeps notifications."""

import json
import threading
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import yaml

from lab.servers import Process, binary, free_port, wait_for

Labels = dict[str, str]


def ask(port: int, path: str, body: Any = None) -> Any:
    """Return the answer of a server on the loopback interface; None without an answer of status 200."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        if body is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read().decode()
    except OSError:
        return None
    finally:
        connection.close()
    if response.status != 200:
        return None
    return json.loads(text) if text.startswith(("{", "[")) else text or "OK"


def started(process: Process, port: int) -> None:
    """Wait until a program is ready; if it ends instead, the test fails with the program's output."""
    wait_for(lambda: not process.alive or ask(port, "/-/ready"), f"for {process.log.stem}")
    assert process.alive, process.output()


class Alertmanager(Process):
    """An Alertmanager without peers, with the test's configuration."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.port = free_port()
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
        super().__init__(
            (
                binary("prometheus-alertmanager"),
                f"--config.file={folder / 'alertmanager.yml'}",
                f"--storage.path={folder / 'alertmanager'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--cluster.listen-address=",
            ),
            folder / "alertmanager.log",
        )
        started(self, self.port)

    def post(self, labels: Sequence[Labels]) -> None:
        """Let alerts with these labels fire."""
        assert ask(self.port, "/api/v2/alerts", [{"labels": alert} for alert in labels])

    def alerts(self) -> list[dict[str, Any]]:
        """Return all alerts that fire, inhibited or not."""
        found: list[dict[str, Any]] = ask(self.port, "/api/v2/alerts")
        return found


class Prometheus(Process):
    """A Prometheus with the test's configuration; its rule files are in the same folder."""

    def __init__(self, folder: Path, config: Mapping[str, Any], *flags: str) -> None:
        self.port = free_port()
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        super().__init__(
            (
                binary("prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                *flags,
            ),
            folder / "prometheus.log",
        )
        started(self, self.port)

    def rule_groups(self) -> list[dict[str, Any]]:
        """Return the rule groups, each with the duration of its last evaluation."""
        found: list[dict[str, Any]] = ask(self.port, "/api/v1/rules")["data"]["groups"]
        return found

    def value(self, query: str) -> float | None:
        """Return the value of a query that has one result, None without a result."""
        answer = ask(self.port, f"/api/v1/query?query={query}")
        results = answer["data"]["result"] if answer else []
        return float(results[0]["value"][1]) if results else None

    def firing(self) -> set[tuple[str, str]]:
        """Return alertname and node_id of all alerts that fire."""
        return {
            (alert["labels"]["alertname"], alert["labels"].get("node_id", ""))
            for alert in ask(self.port, "/api/v1/alerts")["data"]["alerts"]
            if alert["state"] == "firing"
        }


class _Server(ThreadingHTTPServer):
    request_queue_size = 1000  # Alertmanager sends all groups at once


class Webhook:
    """A receiver of notifications; ``told`` has each alert that it received, with the time."""

    def __init__(self) -> None:
        self.told: list[tuple[float, dict[str, Any]]] = []
        told = self.told

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                told.extend((time.time(), alert) for alert in message["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def messages(self, status: str, alertname: str = "", node_id: str = "") -> list[dict[str, Any]]:
        """Return the received alerts with a status; an empty name or node means any."""
        return [
            alert
            for _, alert in list(self.told)
            if alert["status"] == status
            and alertname in ("", alert["labels"]["alertname"])
            and node_id in ("", alert["labels"].get("node_id"))
        ]
