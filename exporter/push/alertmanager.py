"""One Alertmanager: which alerts are posted to it, and when.

An alert is posted again while it lasts. Its end is never posted, unless nobody else
writes these alerts: a second writer's end would end it for Prometheus too. Every post
carries all alerts that last, at each refresh, so an Alertmanager that was restarted and
has lost its memory knows them again after one refresh at most.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import structlog

from exporter.push.alerts import Alert, Texts
from exporter.push.clock import Clocks
from exporter.push.config import HttpConfig
from exporter.push.transport import Transport

LASTS: Final = 120.0
"""Seconds from a post to the end that it gives an alert."""
BATCH: Final = 256
"""Alerts in one post."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """When posts are sent. All times are in seconds.

    Attributes:
        fresh: Maximum age of an observation when it is posted: the node may be back by then.
        idle: Time without an accepted post after which an empty one is sent, to know that the next will be accepted.
        backoff: First and longest pause after a post that was not accepted, half of it more or less by chance.
    """

    fresh: float = 2.0
    idle: float = 15.0
    backoff: tuple[float, float] = 0.25, 1.0


class Alertmanager:
    """Posts to one Alertmanager. For the event loop.

    Args:
        url: Its address.
        texts: Labels and annotations.
        config: Authentication and TLS.
        posted: Told of each post: whether it was accepted, and the alerts in it.
        lasts: See ``LASTS``.
        pace: When posts are sent.
        clocks: What time it is; our clock and the answers' ``Date`` if None.
        transport: The way to it; one for ``url`` and ``config`` if None.

    Attributes:
        url: Its address.
        last_taken: Monotonic time of the last post that was accepted.
        clocks: What time it is there; ``clocks.offset`` is how far its clock is ahead of ours.
    """

    def __init__(  # noqa: PLR0913 - its parts, passed in
        self,
        url: str,
        texts: Texts,
        *,
        config: HttpConfig,
        posted: "Callable[[Alertmanager, bool, Iterable[Alert]], None]",
        lasts: float = LASTS,
        pace: Pace | None = None,
        clocks: Clocks | None = None,
        transport: Transport | None = None,
    ) -> None:
        self.url = url
        self.last_taken = float("-inf")
        self.clocks = clocks or Clocks(url)
        self._texts, self._posted, self._lasts = texts, posted, lasts
        self._pace = pace or Pace()
        self._transport = transport or Transport(url, config)
        self._pending: dict[tuple[str, str], tuple[Alert, float]] = {}
        self._ended: dict[tuple[str, str], Alert] = {}
        self._told: set[tuple[str, str]] = set()
        self._wake = asyncio.Event()
        self._failing = False
        self._unanswered = False  # the last post timed out

    def offer(self, alerts: Iterable[Alert], at: float) -> None:
        """Have alerts posted that were true at ``at`` (monotonic seconds); newer ones replace those that wait."""
        for alert in alerts:
            self._pending[alert.key] = alert, at
            self._ended.pop(alert.key, None)
        self._wake.set()

    def end(self, alerts: Iterable[Alert], *, resolve: bool) -> None:
        """Post alerts no more; with ``resolve``, post that they ended."""
        for alert in alerts:
            self._pending.pop(alert.key, None)
            self._told.discard(alert.key)
            if resolve:
                self._ended[alert.key] = alert
                self._wake.set()

    async def run(self) -> None:
        """Post the alerts that are offered, until cancelled."""
        backoff, longest = self._pace.backoff
        while True:
            self._wake.clear()  # before the posts: an alert that is offered during the last of them must not wait
            if await self._post_all():
                backoff = self._pace.backoff[0]
                try:
                    async with asyncio.timeout(self._pace.idle):
                        await self._wake.wait()
                except TimeoutError:
                    pass
            else:
                await asyncio.sleep(backoff * random.uniform(0.5, 1.5))  # noqa: S311 - not in step with other posters
                backoff = min(2 * backoff, longest)

    async def try_once(self) -> str:
        """Send an empty post, and return what was wrong with it; empty if it was accepted."""
        return await self._send([])

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    async def _post_all(self) -> bool:
        """Post the alerts that wait, batch by batch; return False at the first that is not accepted.

        An empty post goes first if Alertmanager's clock is not known, or if the last post
        timed out: a hanging Alertmanager may read all that was sent when it wakes up, so
        it should find few old alerts. If the empty post fails, the alerts are posted all
        the same: an answer that is late or cut off does not say what becomes of them.
        """
        asked = self._unanswered or (self.clocks.doubtful and not self._failing)
        good = not asked or await self._post([], {})
        self._unanswered = False
        while True:
            alerts, ended = self._batch(time.monotonic())
            if not alerts and not ended:
                break
            asked = True
            if not (good := await self._post(alerts, ended)):
                return False
        # While alerts wait for a fresh observation, an empty post could only be in their way.
        if not asked and not self._pending and time.monotonic() - self.last_taken >= self._pace.idle:
            return await self._post([], {})
        return good

    def _batch(self, now: float) -> tuple[list[Alert], dict[tuple[str, str], Alert]]:
        """Return what to post next: ends, then new alerts, then those posted before; no old observation."""
        ended = dict(islice(self._ended.items(), BATCH))
        fresh = [alert for alert, at in self._pending.values() if now - at <= self._pace.fresh]
        fresh.sort(key=lambda alert: alert.key in self._told)
        return fresh[: BATCH - len(ended)], ended

    async def _post(self, alerts: list[Alert], ended: Mapping[tuple[str, str], Alert]) -> bool:
        now = time.monotonic()
        body = [self._body(alert, self.clocks.firing(alert.began, now + self._lasts)) for alert in alerts]
        body += [self._body(alert, self.clocks.ended(alert.began, now)) for alert in ended.values()]
        sent = {alert.key: self._pending[alert.key] for alert in alerts}
        problem = await self._send(body)
        accepted = not problem
        if accepted:
            self.last_taken = time.monotonic()
            self._forget(sent, ended)
        if accepted == self._failing:
            self._failing = not accepted
            if problem:
                log.error("Alertmanager takes no alerts", url=self.url, error=problem)
            else:
                log.info("Alertmanager takes alerts again", url=self.url)
        self._posted(self, accepted, alerts)
        return accepted

    def _forget(
        self, sent: Mapping[tuple[str, str], tuple[Alert, float]], ended: Mapping[tuple[str, str], Alert]
    ) -> None:
        """Let go what was accepted; an alert that was offered meanwhile is newer and stays."""
        for key, item in sent.items():
            if self._pending.get(key) == item:
                del self._pending[key]
                self._told.add(key)
        for key, alert in ended.items():
            if self._ended.get(key) is alert:
                del self._ended[key]

    def _body(self, alert: Alert, times: Mapping[str, str]) -> dict[str, Any]:
        return {"labels": self._texts.labels(alert), "annotations": self._texts.annotations(alert), **times}

    async def _send(self, body: list[dict[str, Any]]) -> str:
        """Send a post, and return what was wrong with it in one line; empty if it was accepted."""
        reply = await self._transport.post(body)
        self._unanswered = reply.timed_out
        if reply.answered:
            self.clocks.answered(reply.date, reply.sent, reply.received)
        return reply.problem
