"""The bridge: what the judge says becomes alerts, and every Alertmanager gets them."""

import asyncio
import time
from collections import Counter as Count
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import structlog
from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from exporter.fleet import Fleet
from exporter.liveness.judge import Change, State
from exporter.push.alertmanager import LASTS, Alertmanager
from exporter.push.alerts import MASS_LOSS, NODE_OFFLINE, PUSHED, REDIS_UNREACHABLE, WRITES_REFUSED, Alert, Texts
from exporter.push.clock import offsets
from exporter.push.config import HttpConfig
from exporter.source.names import shown_id

REFRESH: Final = 4.0
"""Seconds between two posts of an alert that lasts; all offline nodes are looked at right before."""
LATEST_REFRESH: Final = 1.2
"""How much later than ``REFRESH`` alerts are posted anew while Redis cannot be looked at."""
UNREACHABLE_FOR: Final = 60.0
"""Seconds of the last two minutes for which Redis could not be read: from then on that is an alert."""
REFUSED_FOR: Final = 0.5
"""Share of a TTL for which Redis refuses all writes: from then on that is an alert."""
ACTIVE: Final = 60.0
"""Seconds since a post was taken for which push counts as working."""
BLIND: Final = 120.0
"""Seconds without a look at Redis after which an offline node is not pushed on: less than the rules' keep_firing_for.

A Redis that is away for longer is an alert of its own, which says that nothing is
known of any node. Pushing on would contradict another writer that sees the node back, above
all Prometheus, which repeats its resolve for 15 minutes, each of them followed by
this exporter's next post: a false page. With --alertmanager.sole-writer there is no other writer.
"""
_STUCK: Final = 30.0
_PAUSE: Final = 0.25
_TOLD: Final = 10
"""Nodes that are logged by name at one time."""

log = structlog.get_logger(__name__)


class Bridge(Collector):
    """Turns the judge's verdicts into alerts in the fleet's watch, and posts them in the event loop.

    The watch's thread hands values to the loop; ``_alerts`` is replaced, never changed.

    Args:
        fleet: The fleet.
        refresh: See ``REFRESH``.
        lasts: See ``alertmanager.LASTS``.
        blind: See ``BLIND``.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        refresh: float = REFRESH,
        lasts: float = LASTS,
        blind: float = BLIND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fleet, self._clock = fleet, clock
        self._blind = blind
        settings = fleet.settings.alertmanager
        self._ttl = fleet.settings.heartbeat.ttl
        self._resolve = settings.sole_writer
        self._texts = Texts(settings.labels, settings.rules_file)
        config = HttpConfig.load(settings.config_file)
        self._alertmanagers = [
            Alertmanager(url, self._texts, config=config, posted=self._posted, lasts=lasts) for url in settings.url
        ]
        self._alerts: dict[tuple[str, str], Alert] = {}
        self._causes_before: list[Alert] = []
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
        """Begin to post; called in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._tasks = [self._loop.create_task(self._post_on(alertmanager)) for alertmanager in self._alertmanagers]

    async def stop(self) -> None:
        """Post no more; the alerts end in Alertmanager unless another exporter goes on."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for alertmanager in self._alertmanagers:
            alertmanager.close()

    @property
    def active(self) -> bool:
        """Whether the watch runs and an Alertmanager took a post in the last minute."""
        now = self._clock()
        taken = max((alertmanager.last_taken for alertmanager in self._alertmanagers), default=float("-inf"))
        return now - self._stepped < _STUCK and now - taken < ACTIVE

    def pushed(self) -> list[dict[str, Any]]:
        """Return the alerts that last: ``labels`` of each, and the Unix time ``since``."""
        offset = time.time() - self._clock()
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
        yield offsets(alertmanager.clocks for alertmanager in self._alertmanagers)

    def step(self, refreshed: bool) -> None:  # noqa: FBT001 - the attendant of the fleet's watch
        """Offer what follows from the verdicts of now, after each look of the watch.

        Args:
            refreshed: All offline nodes were looked at just now: the best time to post their alerts anew.
        """
        now = self._stepped = self._clock()
        if refresh := refreshed or now >= self._refresh_by:
            self._refresh_by = now + LATEST_REFRESH * self._refresh
        changes = [self._changes.popleft() for _ in range(len(self._changes))]
        _tell(changes)
        causes = list(self._causes(now))
        if not (refresh or changes or causes != self._causes_before):
            return
        self._causes_before = causes
        before, self._alerts = self._alerts, {alert.key: alert for alert in (*causes, *self._deaths(now))}
        ended = [alert for key, alert in before.items() if key not in self._alerts]
        offered = [alert for key, alert in self._alerts.items() if refresh or key not in before]
        if (offered or ended) and self._loop and not self._closed:
            self._loop.call_soon_threadsafe(self._offer, offered, ended, now)

    def _causes(self, now: float) -> Iterator[Alert]:
        """Yield the alerts that last and are about no single node."""
        outages, judge = self._fleet.outages, self._fleet.judge
        if (seconds := outages.seconds()) >= UNREACHABLE_FOR:
            yield self._since(REDIS_UNREACHABLE, now - seconds)
        refused = judge.writes_refused_since()
        if refused is not None and now - refused >= REFUSED_FOR * self._ttl:
            yield self._since(WRITES_REFUSED, refused)
        lost = judge.mass_loss_since()
        if lost is not None and not self._is_blind(now):
            yield self._since(MASS_LOSS, lost - self._ttl)

    def _since(self, name: str, began: float) -> Alert:
        """Return an alert that begins now, or the same as before while it lasts."""
        return self._alerts.get((name, "")) or Alert(name, "", began)

    def _deaths(self, now: float) -> Iterator[Alert]:
        """Yield an alert for each offline node that is no member of a mass loss."""
        if self._is_blind(now):
            return
        members = self._fleet.judge.members()
        for name, node in self._fleet.judge.offline().items():
            if name not in members and node.died is not None:
                yield Alert(NODE_OFFLINE, shown_id(name), node.died - self._ttl, node.died if node.ended else None)

    def _is_blind(self, now: float) -> bool:
        """Return whether Redis was not seen for so long that other writers may know more."""
        return not self._resolve and now - self._fleet.watch.looked > self._blind

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
        for alert in ended:
            self._delivered.discard((*alert.key, alert.began))

    def _posted(self, alertmanager: Alertmanager, taken: bool, alerts: Iterable[Alert]) -> None:  # noqa: FBT001
        self._posts.labels(alertmanager.url, "ok" if taken else "error").inc()
        now = self._clock()
        for alert in alerts if taken else ():
            told = (*alert.key, alert.began)
            if told not in self._delivered:
                self._delivered.add(told)
                if alert.expired is not None:
                    self._delay.observe(now - alert.expired)


def _tell(changes: Sequence[Change]) -> None:
    """Log the nodes that went offline or came back; of many at once the first ones and how many more."""
    for nodes, one, many in (
        (
            [change for change in changes if change.after is State.OFFLINE],
            "a node is offline",
            "more nodes are offline",
        ),
        ([change for change in changes if _is_back(change)], "a node is back", "more nodes are back"),
    ):
        for change in nodes[:_TOLD]:
            log.warning(one, node_id=shown_id(change.name))
        if len(nodes) > _TOLD:
            log.warning(many, nodes=len(nodes) - _TOLD)


def _is_back(change: Change) -> bool:
    return change.before in (State.OFFLINE, State.FORGOTTEN) and change.after is State.ONLINE
