"""Posts to a real Alertmanager as the bridge does: each alert that lasts is offered anew at every refresh."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

from exporter.push.alertmanager import Alertmanager
from exporter.push.alerts import NODE_OFFLINE, Alert, AlertTexts
from exporter.push.config import HttpConfig

REFRESH = 4.0
"""Seconds between two offers of an alert that lasts; in real time here, nothing is scaled."""


class Offering:
    """Dead nodes, and the Alertmanagers that are told of them."""

    def __init__(self, *urls: str, config: HttpConfig | None = None) -> None:
        self.taken: dict[str, list[bool]] = {url: [] for url in urls}
        self.alertmanagers = [
            Alertmanager(url, AlertTexts({}), config=config or HttpConfig(), posted=self._posted) for url in urls
        ]
        self._lasting: dict[str, Alert] = {}

    def die(self, node_id: str) -> None:
        """Have a node be found dead, half a minute after its last heartbeat."""
        self._lasting[node_id] = Alert(NODE_OFFLINE, node_id, time.monotonic() - 30.1)
        self._offer([self._lasting[node_id]])

    def come_back(self, node_id: str) -> None:
        """Have a node be found alive."""
        alert = self._lasting.pop(node_id)
        for alertmanager in self.alertmanagers:
            alertmanager.end([alert], resolve=False)

    async def refresh(self) -> None:
        """Offer all alerts again and again, until cancelled."""
        while True:
            await asyncio.sleep(REFRESH)
            self._offer(self._lasting.values())

    def _offer(self, alerts: Iterable[Alert]) -> None:
        for alertmanager in self.alertmanagers:
            alertmanager.offer(alerts, time.monotonic())

    def _posted(self, alertmanager: Alertmanager, taken: bool, _: Iterable[Alert]) -> None:  # noqa: FBT001
        self.taken[alertmanager.url].append(taken)


@asynccontextmanager
async def offering(*urls: str, config: HttpConfig | None = None, posting: bool = True) -> AsyncIterator[Offering]:
    """Lend dead nodes whose alerts are posted to Alertmanagers."""
    offered = Offering(*urls, config=config)
    work = (offered.refresh(), *(one.run() for one in offered.alertmanagers)) if posting else ()
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield offered
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for one in offered.alertmanagers:
            one.close()


async def until(condition: Callable[[], object], what: str = "", patience: float = 60.0) -> None:
    """Wait for a condition; the loop goes on meanwhile."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"waited {patience} s in vain {what}"
        await asyncio.sleep(0.01)


def run(scenario: Callable[[], Awaitable[Any]]) -> None:
    """Run a scenario."""

    async def running() -> None:
        await scenario()

    with suppress(asyncio.CancelledError):
        asyncio.run(running())
