"""Eight situations of an installation in a row, with a real exporter, a real Redis and a fake Alertmanager."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import redis

from lab.fakes import FakeAlertmanager
from lab.nodes import beat
from lab.servers import Exporter, RedisServer, running_exporter, running_redis, wait_for

NAMES = ("empty", "well", "dead", "untraded", "alertmanager", "loss", "refused", "away")
"""The situations in their order."""

_NODES = ("exec-hk-1", "exec-hk-2", "exec-sg-1", "exec-tokyo-1", "exec-tokyo-2")
_PORTFOLIOS: Mapping[str, Sequence[str]] = {
    "exec-hk-1": ("alpha-1", "carry-3"),
    "exec-hk-2": ("alpha-2",),
    "exec-sg-1": ("carry-1", "carry-2"),
    "exec-tokyo-1": ("momentum-1", "momentum-2"),
    "exec-tokyo-2": ("pairs-1",),
}
_LOST = tuple(f"exec-osaka-{number}" for number in range(1, 7))
_DEAD = "exec-sg-1"
_SHORT = 1.5
"""Seconds that the last heartbeat of a node lives that is to die soon."""


class Course:
    """Leads an installation through the situations.

    Attributes:
        exporter: The exporter, with its page.
    """

    def __init__(
        self, server: RedisServer, exporter: Exporter, client: "redis.Redis", alertmanager: FakeAlertmanager
    ) -> None:
        self.exporter, self._fake = exporter, alertmanager
        self._server, self._client = server, client
        self._living: list[str] = []
        self._moved: dict[str, Sequence[str]] = dict(_PORTFOLIOS)

    def go(self, name: str) -> None:
        """Bring about a situation, and wait until the page shows it."""
        step: Callable[[], None] = getattr(self, f"_{name}")
        step()

    def _beat(self) -> None:
        for number, name in enumerate(self._living):
            left = 29.0 - 1.7 * number
            beat(self._client, name, left, **_values(number, self._moved.get(name, ())))

    def _shows(self, *texts: str) -> None:
        wait_for(lambda: all(text in self._page() for text in texts), f"for {texts} on the page")

    def _page(self) -> str:
        with urlopen(f"{self.exporter.url}/") as answer:  # noqa: S310
            return str(answer.read().decode())

    def _empty(self) -> None:
        self._shows("No nodes are shown: Redis holds no key")

    def _well(self) -> None:
        self._living = list(_NODES)
        self._plan(_PORTFOLIOS)
        self._beat()
        self._shows("<b>5</b> online", "<b>8</b> traded")

    def _dead(self) -> None:
        self._moved |= {_DEAD: (), "exec-tokyo-2": (*_PORTFOLIOS["exec-tokyo-2"], *_PORTFOLIOS[_DEAD])}
        self._plan(self._moved)
        self._dies(_DEAD)
        self._shows("<b>1</b> offline", "<b>8</b> traded", "GinkgoNodeOffline")

    def _untraded(self) -> None:
        self._moved = dict(_PORTFOLIOS)
        self._plan({**_PORTFOLIOS, "__ORPHANED__": ("stat-arb-1",)})
        self._beat()
        self._shows("<b>3</b> untraded")

    def _alertmanager(self) -> None:
        self._plan(_PORTFOLIOS)
        self._beat()
        self._fake.status = 503
        self._shows("takes no posts: ", "HTTP 503")

    def _loss(self) -> None:
        self._fake.status = 200
        self._living = list(_NODES)
        self._moved |= {name: (f"osaka-{name[-1]}",) for name in _LOST}
        self._plan(self._moved)
        self._beat()
        self._dies(*_LOST)
        self._shows("<b>6</b> offline", "GinkgoMassHeartbeatLoss")

    def _refused(self) -> None:
        for key in self._client.scan_iter("*osaka*"):
            self._client.delete(key)
        self._moved = dict(_PORTFOLIOS)
        self._plan(_PORTFOLIOS)
        self._living = list(_NODES)
        self._beat()
        self._shows("<b>0</b> offline")
        for name in _NODES[:2]:
            self._client.pexpire(f"heartbeat:node:{name}", 4_000)
        self._shows("<b>5</b> online")
        self._client.config_set("maxmemory", 1)

        def refuses() -> bool:
            try:
                self._client.set("x", "y")
            except redis.ResponseError:
                page = self._page()
                return "Redis has refused writes since" in page and "nodes live: exec-hk-1, exec-hk-2." in page
            return False

        wait_for(refuses, "for refused writes on the page")

    def _away(self) -> None:
        self._server.kill()
        self._shows("Redis cannot be read: ", "The last known states are old")

    def _dies(self, *names: str) -> None:
        """Let nodes beat for the last time."""
        self._living = [name for name in self._living if name not in names]
        for name in names:
            beat(self._client, name, _SHORT, **_values(3, self._moved.get(name, ())))
        self._beat()

    def _plan(self, plan: Mapping[str, Sequence[str]]) -> None:
        self._client.delete("schedule:plan")
        self._client.hset("schedule:plan", mapping={p: node for node, portfolios in plan.items() for p in portfolios})


def _values(number: int, portfolios: Sequence[str]) -> dict[str, Any]:
    return {
        "portfolio_count": len(portfolios),
        "loaded_portfolio_ids": json.dumps(list(portfolios)),
        "queue_size": 12 + 7 * number,
        "cpu_usage": "0.0",
        "memory_usage": 0,
        "total_events": 1_204_000 + 73_211 * number,
        "backpressure_count": number,
        "dropped_events": 0,
    }


@contextmanager
def running_course(folder: Path) -> Iterator[Course]:
    """Start the installation, and end it with the block."""
    with FakeAlertmanager() as fake, running_redis(folder / "redis") as server, server.client() as client:
        flags = ("--redis.timeout", "500ms", "--discovery.interval", "100ms", "--alertmanager.url", fake.url)
        with running_exporter(folder, "--redis.url", server.url, *flags) as exporter:
            yield Course(server, exporter, client, fake)
