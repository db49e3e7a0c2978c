"""One Alertmanager: decides which alerts are posted to it, and when.

An alert that lasts is posted again at each refresh. So an Alertmanager that lost its
alerts in a restart has them again after one refresh. The end of an alert is posted only
if the exporter is the sole writer of its alerts. Otherwise the post would also end the
alert that Prometheus writes.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import structlog

from exporter.push.alerts import Alert, AlertTexts
from exporter.push.clock import Clocks
from exporter.push.config import HttpConfig
from exporter.push.transport import Transport

LASTS: Final = 120.0
"""Seconds from a post to the ``endsAt`` of its alerts."""
BATCH: Final = 256
"""Largest number of alerts in one post."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """The times of posts, in seconds.

    Attributes:
        fresh: Maximum age of an observation when it is posted: the node may have come back since.
        idle: Time without an accepted post after which an empty one is sent. It shows whether posts are accepted.
        backoff: First and longest pause after a post that was not accepted. Each pause varies at random by half.
    """

    fresh: float = 2.0
    idle: float = 15.0
    backoff: tuple[float, float] = 0.25, 1.0


class Alertmanager:
    """Decides which alerts are posted to one Alertmanager, and when. To be used in the event loop.

    Args:
        url: Its address.
        texts: Labels and annotations of alerts.
        config: Authentication and TLS.
        posted: Called after each post, with whether it was accepted and with its alerts.
        lasts: See ``LASTS``.
        pace: The times of posts.
        clock: Returns monotonic seconds.
        clocks: The clocks of the posted times; the exporter's clock and the ``Date`` of answers if None.
        transport: Sends the posts; one for ``url`` and ``config`` if None.

    Attributes:
        url: Its address.
        last_accepted: Monotonic time of the last post that was accepted.
        problem: Why the last post was not accepted, in one line; empty if it was accepted.
        clocks: The clocks of the posted times; ``clocks.offset`` is how far Alertmanager's clock is ahead of ours.
    """

    def __init__(  # noqa: PLR0913 - its parts, passed in
        self,
        url: str,
        texts: AlertTexts,
        *,
        config: HttpConfig,
        posted: "Callable[[Alertmanager, bool, Iterable[Alert]], None]",
        lasts: float = LASTS,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
        clocks: Clocks | None = None,
        transport: Transport | None = None,
    ) -> None:
        self.url = url
        self.last_accepted = float("-inf")
        self.clocks = clocks or Clocks(url, monotonic=clock)
        self._clock = clock
        self._texts, self._posted, self._lasts = texts, posted, lasts
        self._pace = pace or Pace()
        self._transport = transport or Transport(url, config, clock=clock)
        self._pending: dict[tuple[str, str], tuple[Alert, float]] = {}
        self._ended: dict[tuple[str, str], Alert] = {}
        self._accepted: set[tuple[str, str]] = set()
        self._wake = asyncio.Event()
        self.problem = ""
        self._failing = False
        self._unanswered = False  # the last post timed out

    def offer(self, alerts: Iterable[Alert], at: float) -> None:
        """Queue alerts that were true at ``at`` (monotonic seconds); each replaces an older one of the same key."""
        for alert in alerts:
            self._pending[alert.key] = alert, at
            self._ended.pop(alert.key, None)
        self._wake.set()

    def end(self, alerts: Iterable[Alert], *, resolve: bool) -> None:
        """Stop posting alerts; with ``resolve``, post that they have ended."""
        for alert in alerts:
            self._pending.pop(alert.key, None)
            self._accepted.discard(alert.key)
            if resolve:
                self._ended[alert.key] = alert
                self._wake.set()

    async def run(self) -> None:
        """Post the queued alerts until cancelled."""
        backoff, longest = self._pace.backoff
        while True:
            self._wake.clear()  # before the posts: an alert that is queued during the last post must not wait
            if await self._post_all():
                backoff = self._pace.backoff[0]
                try:
                    async with asyncio.timeout(self._pace.idle):
                        await self._wake.wait()
                except TimeoutError:
                    pass
            else:
                await asyncio.sleep(backoff * random.uniform(0.5, 1.5))  # noqa: S311 - exporters must not post in step
                backoff = min(2 * backoff, longest)

    async def try_once(self) -> str:
        """Send an empty post, and return what was wrong with it; empty if it was accepted."""
        return await self._send([])

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    async def _post_all(self) -> bool:
        """Post the queued alerts, batch by batch; return False at the first batch that is not accepted.

        An empty post comes first if Alertmanager's clock is unknown, or if the last post
        timed out. A hanging Alertmanager may read all earlier posts when it continues, so
        these should hold few alerts. If the empty post fails, the alerts are posted anyway:
        an answer that is late or cut off does not show whether Alertmanager takes alerts.
        """
        posted = self._unanswered or (self.clocks.doubtful and not self._failing)
        good = not posted or await self._post([], {})
        self._unanswered = False
        while True:
            alerts, ended = self._batch(self._clock())
            if not alerts and not ended:
                break
            posted = True
            if not (good := await self._post(alerts, ended)):
                return False
        # While alerts wait for a fresh observation, an empty post would only delay them.
        if not posted and not self._pending and self._clock() - self.last_accepted >= self._pace.idle:
            return await self._post([], {})
        return good

    def _batch(self, now: float) -> tuple[list[Alert], dict[tuple[str, str], Alert]]:
        """Return the next post: ended alerts first, then new alerts, then alerts that were posted before.

        Alerts from old observations are left out.
        """
        ended = dict(islice(self._ended.items(), BATCH))
        fresh = [alert for alert, at in self._pending.values() if now - at <= self._pace.fresh]
        fresh.sort(key=lambda alert: alert.key in self._accepted)
        return fresh[: BATCH - len(ended)], ended

    async def _post(self, alerts: list[Alert], ended: Mapping[tuple[str, str], Alert]) -> bool:
        now = self._clock()
        body = [self._body(alert, self.clocks.firing(alert.began, now + self._lasts)) for alert in alerts]
        body += [self._body(alert, self.clocks.ended(alert.began, now)) for alert in ended.values()]
        sent = {alert.key: self._pending[alert.key] for alert in alerts}
        problem = await self._send(body)
        self.problem, accepted = problem, not problem
        if accepted:
            self.last_accepted = self._clock()
            self._forget(sent, ended)
        if accepted == self._failing:
            self._failing = not accepted
            if problem:
                log.error("Alertmanager takes no posts", url=self.url, error=problem)
            else:
                log.info("Alertmanager takes posts again", url=self.url)
        self._posted(self, accepted, alerts)
        return accepted

    def _forget(
        self, sent: Mapping[tuple[str, str], tuple[Alert, float]], ended: Mapping[tuple[str, str], Alert]
    ) -> None:
        """Remove accepted alerts from the queue; an alert that was queued during the post is newer and stays."""
        for key, item in sent.items():
            if self._pending.get(key) == item:
                del self._pending[key]
                self._accepted.add(key)
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
            self.clocks.observe(reply.date, reply.sent, reply.received)
        return reply.problem
