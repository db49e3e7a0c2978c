"""The bridge: what the watch sees becomes alerts, and every Alertmanager gets them."""

import asyncio
import time
from collections import Counter as Count
from collections.abc import Iterable, Iterator
from threading import Event, Thread
from typing import Any, Final

import structlog
from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from exporter.errors import SourceError
from exporter.fleet import Fleet
from exporter.push.alertmanager import LASTS, Alertmanager
from exporter.push.alerts import MASS_LOSS, NODE_OFFLINE, PUSHED, REDIS_UNREACHABLE, Alert, Texts
from exporter.push.config import HttpConfig
from exporter.push.mass import MassLoss
from exporter.push.watch import Changes, Watch

REFRESH: Final = 4.0
"""Seconds between two posts of an alert that lasts; all offline nodes are looked at right before."""
SLOT: Final = 0.05
"""Seconds that deadlines are gathered for, so that many nodes cost few reads."""
UNREACHABLE_AFTER: Final = 60.0
"""Seconds without Redis after which that is an alert."""
ACTIVE: Final = 60.0
"""Seconds since a post was taken for which push counts as working."""
BLIND: Final = 120.0
"""Seconds without a look at Redis after which an offline node is not pushed on: less than the rules' keep_firing_for.

A Redis that is away for longer is an alert of its own, which says that nothing is
known of any node. Pushing on would fight with whoever sees the node back, above all
with Prometheus, which repeats its resolve for 15 minutes, each of them followed by
this exporter's next post: a false page. Where nobody else writes, nobody is fought.
"""
_POLL: Final = 0.25
_STUCK: Final = 30.0
_ASK_AGAIN: Final = 1.0
_TOLD: Final = 10
"""Nodes that are logged by name at one time."""

log = structlog.get_logger(__name__)


class Bridge(Collector):
    """Watches the heartbeats in a thread of its own, and posts in the event loop.

    What the thread finds goes to the loop as values; ``_alerts`` is replaced, never changed.

    Args:
        fleet: The fleet.
        refresh: See ``REFRESH``.
        lasts: See ``alertmanager.LASTS``.
        blind: See ``BLIND``.
    """

    def __init__(self, fleet: Fleet, *, refresh: float = REFRESH, lasts: float = LASTS, blind: float = BLIND) -> None:
        self._fleet = fleet
        self._refresh, self._blind = refresh, blind
        settings = fleet.settings.alertmanager
        self._ttl = fleet.settings.heartbeat.ttl
        self._resolve = settings.sole_writer
        self._watch = Watch(fleet.judge, fleet.reader(), self._ttl)
        self._mass = MassLoss(self._ttl, settings.mass_loss_ratio, settings.mass_loss_nodes, settings.mass_loss_hold)
        self._texts = Texts(settings.labels)
        config = HttpConfig.load(settings.config_file)
        self._alertmanagers = [
            Alertmanager(url, self._texts, config=config, posted=self._posted, lasts=lasts) for url in settings.url
        ]
        self._alerts: dict[tuple[str, str], Alert] = {}
        self._refresh_at = float("-inf")
        self._late = float("-inf"), 0.0  # when it was asked how many are late, and the answer
        self._stepped = float("-inf")
        self._delivered: set[tuple[str, str, float]] = set()
        self._closed = Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._thread = Thread(target=self._run, name="watch", daemon=True)
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
        """Begin to watch and to post; called in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._tasks = [
            self._loop.create_task(self._post_for_ever(alertmanager)) for alertmanager in self._alertmanagers
        ]
        self._thread.start()

    async def stop(self) -> None:
        """Watch and post no more; the alerts end in Alertmanager unless another exporter goes on."""
        self._closed.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for alertmanager in self._alertmanagers:
            alertmanager.close()

    @property
    def active(self) -> bool:
        """Whether the watch runs and an Alertmanager took a post in the last minute."""
        now = time.monotonic()
        taken = max((alertmanager.last_taken for alertmanager in self._alertmanagers), default=float("-inf"))
        return now - self._stepped < _STUCK and now - taken < ACTIVE

    def pushed(self) -> list[dict[str, Any]]:
        """Return the alerts that last: ``labels`` of each, and the Unix time ``since``."""
        offset = time.time() - time.monotonic()
        return [{"labels": self._texts.labels(a), "since": a.began + offset} for a in self._alerts.values()]

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

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                now = time.monotonic()
                self._step(now)
                self._stepped = time.monotonic()
            except Exception as error:  # noqa: BLE001 - the edge of this thread
                self._fleet.telemetry.fault("push", error)
            next_due = min(self._watch.next_due, self._refresh_at) - time.monotonic()
            self._closed.wait(min(max(next_due, SLOT), _POLL))

    def _step(self, now: float) -> None:
        """Look at the nodes that are due, and offer what follows."""
        if refresh := now >= self._refresh_at:
            self._refresh_at = now + self._refresh
        self._watch.know(self._fleet.names, now)
        changes = self._look(now)
        _tell(changes)
        now = time.monotonic()
        if not (refresh or changes or self._mass.next_release <= now):
            return
        late = self._late_share(now) if changes.died and self._mass.since is None else 0.0
        self._mass.note(changes.died, self._watch.offline, self._watch.online, now, late)
        before, self._alerts = self._alerts, {alert.key: alert for alert in self._lasting(now)}
        ended = [alert for key, alert in before.items() if key not in self._alerts]
        offered = [alert for key, alert in self._alerts.items() if refresh or key not in before]
        if (offered or ended) and self._loop and not self._closed.is_set():
            self._loop.call_soon_threadsafe(self._offer, offered, ended, now)

    def _look(self, now: float) -> Changes:
        if names := self._watch.due(now):
            try:
                return self._watch.look(names, self._refresh_at, now + self._fleet.settings.redis.timeout)
            except SourceError as error:
                log.debug("watch could not read", error=str(error))
        return Changes()

    def _late_share(self, now: float) -> float:
        """Return the share of the beating nodes that are late too; asked once a second at most."""
        asked, share = self._late
        if now - asked >= _ASK_AGAIN:
            try:
                share = self._watch.late(now + self._fleet.settings.redis.timeout)
            except SourceError as error:
                log.debug("watch could not read", error=str(error))
                share = 0.0
            self._late = now, share
        return share

    def _lasting(self, now: float) -> Iterator[Alert]:
        unreadable = self._fleet.unreadable_since
        if unreadable is not None and now - unreadable >= UNREACHABLE_AFTER:
            yield Alert(REDIS_UNREACHABLE, "", unreadable)
        if not self._resolve and now - self._watch.looked > self._blind:
            return
        if self._mass.since is not None:
            yield Alert(MASS_LOSS, "", self._mass.since - self._ttl)
        for node_id, (since, expired) in self._watch.offline.items():
            if not self._mass.holds(node_id):
                yield Alert(NODE_OFFLINE, node_id, since - self._ttl, expired)

    async def _post_for_ever(self, alertmanager: Alertmanager) -> None:
        while True:
            try:
                await alertmanager.run()
            except Exception as error:  # noqa: BLE001 - the edge of this task
                self._fleet.telemetry.fault("push", error)
                await asyncio.sleep(_POLL)

    def _offer(self, offered: list[Alert], ended: list[Alert], at: float) -> None:
        for alertmanager in self._alertmanagers:
            alertmanager.end(ended, resolve=self._resolve)
            if offered:
                alertmanager.offer(offered, at)
        for alert in ended:
            self._delivered.discard((*alert.key, alert.began))

    def _posted(self, alertmanager: Alertmanager, taken: bool, alerts: Iterable[Alert]) -> None:  # noqa: FBT001
        self._posts.labels(alertmanager.url, "ok" if taken else "error").inc()
        now = time.monotonic()
        for alert in alerts if taken else ():
            told = (*alert.key, alert.began)
            if told not in self._delivered:
                self._delivered.add(told)
                if alert.expired is not None:
                    self._delay.observe(now - alert.expired)


def _tell(changes: Changes) -> None:
    """Log who went offline and who is back; of many at once how many."""
    for nodes, one, many in (
        (changes.offline, "a node is offline", "more nodes are offline"),
        (changes.back, "a node is back", "more nodes are back"),
    ):
        for node_id in nodes[:_TOLD]:
            log.warning(one, node_id=node_id)
        if len(nodes) > _TOLD:
            log.warning(many, nodes=len(nodes) - _TOLD)
