"""The servers behind the exporter: a real Prometheus and Alertmanager, and a webhook that keeps notifications."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Any
from urllib.request import Request, urlopen

import yaml

from exporter.bundled import RULES
from lab.fakes import Listening, request_from
from lab.servers import ROOT, Exporter, Server, binary, free_port

Labels = dict[str, str]


def ask(port: int, path: str, body: Any = None) -> Any:
    """Return the answer of a server on the loopback interface; None without an answer of status 200."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=10) as reply:  # noqa: S310
            text = reply.read().decode()
    except OSError:
        return None
    return json.loads(text) if text.startswith(("{", "[")) else text or "OK"


class _Server(Server):
    """A Prometheus or an Alertmanager with a configuration."""

    def __init__(self, folder: Path, program: str, config: Mapping[str, Any], *flags: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path, port = folder / f"{program}.yml", free_port()
        path.write_text(yaml.safe_dump(dict(config)))
        address = f"--web.listen-address=127.0.0.1:{port}"
        super().__init__(folder, port, binary(program), f"--config.file={path}", address, *flags)

    def answers(self) -> bool:
        return bool(ask(self.port, "/-/ready"))


class Alertmanager(_Server):
    """An Alertmanager without peers. Its notification log, which tells what it has sent, is saved twice a second."""

    def __init__(self, folder: Path, config: Mapping[str, Any], *flags: str) -> None:
        storage = (f"--storage.path={folder / 'alertmanager'}", "--data.maintenance-interval=500ms")
        super().__init__(folder, "prometheus-alertmanager", config, *storage, "--cluster.listen-address=", *flags)

    def post(self, labels: Sequence[Labels]) -> None:
        """Let alerts with these labels fire."""
        assert ask(self.port, "/api/v2/alerts", [{"labels": alert} for alert in labels])

    def alerts(self) -> list[dict[str, Any]]:
        """Return all alerts that fire, inhibited or not."""
        return list(ask(self.port, "/api/v2/alerts") or ())


def one_receiver(url: str, group_wait: float, group_interval: float, resolve_timeout: float = 300.0) -> dict[str, Any]:
    """Return a configuration of Alertmanager that sends all alerts to a webhook, in groups of one node or loss.

    Args:
        url: The webhook.
        group_wait: Seconds from an alert to its notification.
        group_interval: Seconds between two notifications of a group.
        resolve_timeout: Seconds after which an alert without an end has ended.
    """
    waits = {"group_wait": f"{group_wait * 1000:.0f}ms", "group_interval": f"{group_interval * 1000:.0f}ms"}
    return {
        "global": {"resolve_timeout": f"{resolve_timeout:.0f}s"},
        "route": {"receiver": "lab", "group_by": ["alertname", "node_id", "loss"], **waits, "repeat_interval": "4h"},
        "receivers": [{"name": "lab", "webhook_configs": [{"url": url, "max_alerts": 0}]}],
    }


def beside(exporters: Sequence[Exporter], *alertmanagers: Alertmanager, rules: Path = ROOT / RULES) -> dict[str, Any]:
    """Return a configuration of Prometheus that scrapes exporters and evaluates rules each second."""
    targets, receivers = ([each.url.partition("//")[2] for each in some] for some in (exporters, alertmanagers))
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "ginkgo-exporter", "static_configs": [{"targets": targets}]}],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": receivers}]}]},
    }


class Prometheus(_Server):
    """A Prometheus; its rule files are in the same folder."""

    def __init__(self, folder: Path, config: Mapping[str, Any], *flags: str) -> None:
        super().__init__(folder, "prometheus", config, f"--storage.tsdb.path={folder / 'prometheus'}", *flags)

    def value(self, query: str) -> float | None:
        """Return the value of a query that has one result, None without a result."""
        answer = ask(self.port, f"/api/v1/query?query={query}")
        results = answer["data"]["result"] if answer else []
        return float(results[0]["value"][1]) if results else None


@dataclass(frozen=True)
class Notice:
    """One alert of one notification.

    Attributes:
        at: Arrival in monotonic seconds.
        alert: The alert as Alertmanager sent it.
    """

    at: float
    alert: dict[str, Any]

    @property
    def status(self) -> str:
        """Whether the alert is ``firing`` or ``resolved``."""
        return str(self.alert["status"])

    @property
    def about(self) -> tuple[str, str]:
        """The alert's name, and its node, its mass loss or an empty text."""
        labels = self.alert["labels"]
        return labels["alertname"], labels.get("node_id") or labels.get("loss", "")


class Webhook(Listening):
    """Receives Alertmanager's notifications from its creation to its end, and keeps them.

    Attributes:
        notices: All of them, in the order of their arrival.
    """

    def __init__(self) -> None:
        super().__init__()
        self.notices: list[Notice] = []

    def answer(self, near: socket) -> None:
        """Take the notifications of a connection."""
        with near.makefile("rb") as lines:
            while got := request_from(lines):
                now = time.monotonic()
                self.notices += [Notice(now, alert) for alert in json.loads(got[1])["alerts"]]
                near.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
