"""The bridge: turns the judge's states into alerts, and hands them to every Alertmanager."""

import asyncio
import time
from collections import Counter as Count
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from exporter.fleet import Fleet
from exporter.liveness.faults import NEVER
from exporter.liveness.judge import Change
from exporter.push.alertmanager import LASTS, Alertmanager
from exporter.push.alerts import MASS_LOSS, NODE_OFFLINE, PUSHED, REDIS_UNREACHABLE, WRITES_REFUSED, Alert, AlertTexts
from exporter.push.changes import log_changes
from exporter.push.clock import Clocks, offsets
from exporter.push.config import HttpConfig
from exporter.push.journaling import PushJournal
from exporter.source.names import shown_id

REFRESH: Final = 4.0
"""Seconds between two posts of an alert that lasts; all offline nodes are read just before."""
LATEST_REFRESH: Final = 1.2
"""Longest time between two posts of an alert, as a multiple of ``REFRESH``, while Redis cannot be read."""
UNREACHABLE_FOR: Final = 60.0
"""Seconds without a readable Redis, of the last two minutes, from which on an alert fires."""
REFUSED_FOR: Final = 0.5
"""Time for which Redis refuses all writes, as a share of a TTL, from which on an alert fires."""
ACTIVE: Final = 60.0
"""Seconds after an accepted post during which push counts as working."""
STALE_AFTER: Final = 120.0
"""Seconds without an answer of Redis after which alerts about nodes are not posted any more.

The time is shorter than the rules' keep_firing_for. After it, GinkgoRedisUnreachable fires, which says
that nothing is known about any node. Another writer may see that a node is back. Prometheus
repeats such a resolve for 15 minutes. If this exporter kept posting the alert, each of its posts
would follow a resolve and page falsely. With --alertmanager.sole-writer there is no other writer.
"""
_STUCK: Final = 30.0
"""Seconds without a look of the watch after which push counts as not working."""
_PAUSE: Final = 0.25
"""Seconds between an error in a task and its restart."""


class Bridge(Collector):
    """Makes alerts in the thread of the fleet's watch, and posts them in the event loop.

    The thread passes values to the loop. ``_alerts`` is replaced as a whole and never changed.

    Args:
        fleet: The fleet.
        refresh: See ``REFRESH``.
        lasts: See ``alertmanager.LASTS``.
        stale_after: See ``STALE_AFTER``.
        clock: Returns monotonic seconds.
        wall: Returns Unix time.
    """

    def __init__(  # noqa: PLR0913 - its times, passed in
        self,
        fleet: Fleet,
        *,
        refresh: float = REFRESH,
        lasts: float = LASTS,
        stale_after: float = STALE_AFTER,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._fleet, self._clock, self._wall = fleet, clock, wall
        self._stale_after = stale_after
        settings = fleet.settings.alertmanager
        self._ttl = fleet.settings.heartbeat.ttl
        self._resolve = settings.sole_writer
        self._texts = AlertTexts(settings.labels, settings.rules_file, fleet.settings.web.external_url)
        config = HttpConfig.load(settings.config_file)
        self._alertmanagers = [
            Alertmanager(
                url,
                self._texts,
                config=config,
                posted=self._posted,
                lasts=lasts,
                clock=clock,
                clocks=Clocks(url, wall=wall, monotonic=clock),
            )
            for url in settings.url
        ]
        self._journal = PushJournal(fleet.journal, self._texts, clock)
        self._alerts: dict[tuple[str, str], Alert] = {}
        self._general_before: list[Alert] = []
        self._refresh, self._refresh_by = refresh, float("-inf")
        self._stepped = float("-inf")
        self._changes: deque[Change] = deque()
        self._delivered: set[tuple[str, str, float]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        fleet.judge.on_changes(self._changes.extend)
        fleet.attend(self.step, refresh)
        registry = fleet.telemetry.registry
        registry.register(self)
        self._posts = Counter(
            "ginkgo_bridge_posts",
            "Posts to Alertmanager, by whether it took them.",
            ("alertmanager", "result"),
            registry=registry,
        )
        for url in settings.url:
            for result in ("ok", "error"):
                self._posts.labels(url, result)
        self._delay = Histogram(
            "ginkgo_bridge_detection_delay_seconds",
            "Time from the end of a node's heartbeat to the post that an Alertmanager took.",
            buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=registry,
        )

    def start(self) -> None:
        """Begin to post. To be called in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._tasks = [self._loop.create_task(self._post_on(alertmanager)) for alertmanager in self._alertmanagers]

    async def stop(self) -> None:
        """Stop posting. The alerts end in Alertmanager unless another exporter posts them too."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for alertmanager in self._alertmanagers:
            alertmanager.close()

    @property
    def active(self) -> bool:
        """Whether the watch runs and an Alertmanager accepted a post in the last minute."""
        now = self._clock()
        accepted = max((alertmanager.last_accepted for alertmanager in self._alertmanagers), default=float("-inf"))
        return now - self._stepped < _STUCK and now - accepted < ACTIVE

    def pushed(self) -> list[dict[str, Any]]:
        """Return the alerts that last, each with its ``labels`` and its beginning as Unix time ``since``."""
        offset = self._wall() - self._clock()
        return [{"labels": self._texts.labels(a), "since": a.began + offset} for a in self._alerts.values()]

    def refusals(self) -> list[str]:
        """Return a sentence for each Alertmanager that takes no posts."""
        return self._journal.refusals()

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Return nothing, so that registering collects nothing."""
        return ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield whether push works, and how many alerts last."""
        yield GaugeMetricFamily(
            "ginkgo_bridge_active",
            "1 while heartbeats are watched and an Alertmanager took a post in the last minute, else 0.",
            value=float(self.active),
        )
        alerts = GaugeMetricFamily("ginkgo_bridge_alerts", "Alerts that are being pushed.", labels=("alertname",))
        count = Count(name for name, _ in self._alerts)
        for name in PUSHED:
            alerts.add_metric((name,), count[name])
        yield alerts
        yield offsets(alertmanager.clocks for alertmanager in self._alertmanagers)

    def step(self, refreshed: bool) -> None:  # noqa: FBT001 - the attendant of the fleet's watch
        """Queue new, ended and refreshed alerts at every Alertmanager. The watch calls this after each look.

        Args:
            refreshed: Whether all offline nodes were read just now: the best time to post their alerts again.
        """
        now = self._stepped = self._clock()
        if refresh := refreshed or now >= self._refresh_by:
            self._refresh_by = now + LATEST_REFRESH * self._refresh
        changes = [self._changes.popleft() for _ in range(len(self._changes))]
        log_changes(changes)
        general = list(self._general_alerts(now))
        if not (refresh or changes or general != self._general_before):
            return
        self._general_before = general
        before, self._alerts = self._alerts, {alert.key: alert for alert in (*general, *self._node_alerts(now))}
        ended = [alert for key, alert in before.items() if key not in self._alerts]
        offered = [alert for key, alert in self._alerts.items() if refresh or key not in before]
        if (offered or ended) and self._loop and not self._closed:
            self._loop.call_soon_threadsafe(self._offer, offered, ended, now)

    def _general_alerts(self, now: float) -> Iterator[Alert]:
        """Yield the alerts that last and are not about a single node."""
        outages, judge = self._fleet.outages, self._fleet.judge
        if (seconds := outages.seconds()) >= UNREACHABLE_FOR:
            yield self._since(REDIS_UNREACHABLE, now - seconds)
        refused = judge.writes_refused_since()
        if refused is not None and now - refused >= REFUSED_FOR * self._ttl:
            yield self._since(WRITES_REFUSED, refused)
        lost = judge.mass_loss_since()
        if lost is not None and not judge.offline(self._heard_since(now)).keys().isdisjoint(judge.members()):
            yield self._since(MASS_LOSS, lost - self._ttl)

    def _since(self, name: str, began: float) -> Alert:
        """Return the alert of this name that lasts; if there is no such alert, a new one."""
        return self._alerts.get((name, "")) or Alert(name, "", began)

    def _node_alerts(self, now: float) -> Iterator[Alert]:
        """Yield an alert for each offline node that is not a member of a mass loss."""
        members = self._fleet.judge.members()
        for name, node in self._fleet.judge.offline(self._heard_since(now)).items():
            if name not in members and node.died is not None:
                began, expired = node.died - self._ttl, node.died if node.ended else None
                yield Alert(NODE_OFFLINE, shown_id(name), began, expired, self._fleet.planned_portfolios(name))

    def _heard_since(self, now: float) -> float:
        """Return since when the Redis of a node must have answered, or other writers may know a newer state of it."""
        return NEVER if self._resolve else now - self._stale_after

    def _stale(self, ended: Iterable[Alert]) -> set[Alert]:
        """Return the alerts among those that ended here that are still true as far as is known here."""
        judge = self._fleet.judge
        offline = {shown_id(name) for name in judge.offline()}
        lost = judge.mass_loss_since() is not None
        return {alert for alert in ended if alert.node_id in offline or (lost and alert.name == MASS_LOSS)}

    async def _post_on(self, alertmanager: Alertmanager) -> None:
        while True:
            try:
                await alertmanager.run()
            except Exception as error:  # noqa: BLE001 - the edge of this task
                self._fleet.telemetry.fault("push", error)
                await asyncio.sleep(_PAUSE)

    def _offer(self, offered: list[Alert], ended: list[Alert], at: float) -> None:
        for alertmanager in self._alertmanagers:
            alertmanager.end(ended, resolve=self._resolve)
            if offered:
                alertmanager.offer(offered, at)
        self._forget(ended)

    def _forget(self, ended: Sequence[Alert]) -> None:
        """Forget alerts that are no longer pushed, and tell the journal of their end."""
        for alert in ended:
            self._delivered.discard((*alert.key, alert.began))
        stale = self._stale(ended) if ended else set()
        self._journal.ended(stale, resolved=self._resolve, stale=True)
        self._journal.ended([alert for alert in ended if alert not in stale], resolved=self._resolve, stale=False)

    def _posted(self, alertmanager: Alertmanager, accepted: bool, alerts: Iterable[Alert]) -> None:  # noqa: FBT001
        self._posts.labels(alertmanager.url, "ok" if accepted else "error").inc()
        self._journal.posted(alertmanager.url, "" if accepted else alertmanager.problem, alerts)
        now = self._clock()
        for alert in alerts if accepted else ():
            key = (*alert.key, alert.began)
            if key not in self._delivered:
                self._delivered.add(key)
                if alert.expired is not None:
                    self._delay.observe(now - alert.expired)
        if accepted:
            self._forget([alert for alert in alerts if alert.key not in self._alerts])  # it ended during the post
