"""The bridge: turns the judge's view into alerts, and shows them to every Alertmanager."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from typing import Any, Final

from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from exporter.fleet import Fleet
from exporter.journal.sentences import alertmanager_refuses
from exporter.liveness import Change, Kind, State, View
from exporter.push.alertmanager import Alertmanager, Clocks, Pace
from exporter.push.alerts import (
    MASS_LOSS,
    NODE_OFFLINE,
    PUSHED,
    REDIS_UNREACHABLE,
    WRITES_REFUSED,
    Alert,
    AlertTexts,
    Key,
)
from exporter.push.transport import HttpConfig, Transport
from exporter.source.names import shown_id

UNREACHABLE_FOR: Final = 60.0
"""Seconds without a readable Redis, of the last two minutes, from which on an alert fires."""
REFUSED_FOR: Final = 0.5
"""Time for which Redis refuses writes, all of them or some, as a share of a TTL, from which on an alert fires."""
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


class Bridge(Collector):
    """Makes alerts in the thread of the fleet's watch; each Alertmanager posts them in a thread of its own.

    The alerts of one view are a mapping that is replaced as a whole and never changed.

    Args:
        fleet: The fleet.
        stale_after: See ``STALE_AFTER``.
        pace: The times of posts.
        clock: Returns monotonic seconds.
        wall: Returns Unix time.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        stale_after: float = STALE_AFTER,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        settings = fleet.settings.alertmanager
        self._fleet, self._clock, self._stale_after = fleet, clock, stale_after
        self._ttl, self._sole_writer = fleet.settings.heartbeat.ttl, settings.sole_writer
        self._texts = AlertTexts(settings.labels, settings.rules_file, fleet.settings.web.external_url)
        self._alerts: Mapping[Key, Alert] = {}
        self._refused: dict[bytes, float] = {}  # since when each Redis refuses writes, with short pauses
        self._stepped = float("-inf")
        registry = fleet.telemetry.registry
        posts = Counter(
            "ginkgo_bridge_posts",
            "Posts to Alertmanager, by whether it took them.",
            ("alertmanager", "result"),
            registry=registry,
        )
        delay = Histogram(
            "ginkgo_bridge_detection_delay_seconds",
            "Time from the end of a node's heartbeat to the post that an Alertmanager took.",
            buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=registry,
        )
        for url, result in product(settings.url, ("ok", "error")):
            posts.labels(url, result)
        config = HttpConfig.load(settings.config_file)
        self._alertmanagers = [
            Alertmanager(
                url,
                self._texts,
                Transport(url, config, clock=clock),
                Clocks(url, wall=wall, monotonic=clock),
                journal=fleet.journal,
                posts=posts,
                delay=delay,
                failed=lambda error: fleet.telemetry.fault("push", error),
                resolve=self._sole_writer,
                pace=pace,
                clock=clock,
            )
            for url in settings.url
        ]
        registry.register(self)
        fleet.attend(self.step)

    def start(self) -> None:
        """Begin to post."""
        for alertmanager in self._alertmanagers:
            alertmanager.start()

    def stop(self) -> None:
        """Stop posting. The alerts end in Alertmanager unless another exporter posts them too."""
        for alertmanager in self._alertmanagers:
            alertmanager.stop()

    @property
    def active(self) -> bool:
        """Whether the watch runs and an Alertmanager accepted a post in the last minute."""
        now = self._clock()
        accepted = max((alertmanager.last_accepted for alertmanager in self._alertmanagers), default=float("-inf"))
        return now - self._stepped < _STUCK and now - accepted < ACTIVE

    def pushed(self) -> list[dict[str, Any]]:
        """Return the alerts that last, each with its ``labels`` and its beginning as Unix time ``since``."""
        unix = self._fleet.journal.unix
        return [{"labels": self._texts.labels(alert), "since": unix(alert.since)} for alert in self._alerts.values()]

    def refusals(self) -> list[str]:
        """Return a sentence for each Alertmanager that takes no posts, with since when and why."""
        return [
            alertmanager_refuses(each.url, self._fleet.journal.unix(each.failing_since), str(each.problem))
            for each in self._alertmanagers
            if each.failing_since is not None
        ]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield whether push works, and how many alerts last."""
        active = "1 while heartbeats are watched and an Alertmanager took a post in the last minute, else 0."
        yield GaugeMetricFamily("ginkgo_bridge_active", active, value=float(self.active))
        alerts = GaugeMetricFamily("ginkgo_bridge_alerts", "Alerts that are being pushed.", labels=("alertname",))
        for name in PUSHED:
            alerts.add_metric((name,), sum(key[0] == name for key in self._alerts))
        yield alerts

    def step(self, changes: Iterable[Change], view: View) -> None:
        """Show the alerts of a view to every Alertmanager. The watch calls this after each look."""
        now = self._stepped = self._clock()
        for change in changes:
            if change.kind is Kind.REDIS and change.after == "writes refused":
                self._refused[change.name] = change.at
            elif change.kind is Kind.REDIS and change.before == "writes refused":
                self._refused.pop(change.name, None)
        alerts = [*self._of_redis(view, now), *self._of_losses(view, now), *self._of_nodes(view, now)]
        self._alerts = {alert.key: alert for alert in alerts}
        for alertmanager in self._alertmanagers:
            alertmanager.show(self._alerts)

    def _of_redis(self, view: View, now: float) -> Iterator[Alert]:
        """Yield the alerts about Redis."""
        if (seconds := view.unreadable(now)) >= UNREACHABLE_FOR:
            yield self._lasting(REDIS_UNREACHABLE, now - seconds, now)
        since = min(self._refused.values(), default=now)
        lasts = (WRITES_REFUSED, "") in self._alerts or view.refused_since is not None
        if lasts and now - since >= REFUSED_FOR * self._ttl:
            yield self._lasting(WRITES_REFUSED, since, now)

    def _lasting(self, name: str, since: float, now: float) -> Alert:
        """Return an alert that is about no node; one that lasts keeps its begin."""
        before = self._alerts.get((name, ""))
        return before._replace(seen=now) if before else Alert(name, "", since, since, now)

    def _of_losses(self, view: View, now: float) -> Iterator[Alert]:
        """Yield an alert for each mass loss that has members."""
        seen: dict[bytes, float] = {}
        for name, node in view.absent.items():
            if node.change.after is State.OFFLINE and (loss := node.change.loss):
                seen[loss.name] = max(seen.get(loss.name, 0.0), self._seen(view, name, now))
        for loss in view.losses:
            if loss.name in seen:
                yield Alert(MASS_LOSS, shown_id(loss.name), loss.first, loss.first - self._ttl, seen[loss.name])

    def _of_nodes(self, view: View, now: float) -> Iterator[Alert]:
        """Yield an alert for each offline node that is not a member of a mass loss."""
        for name, node in view.absent.items():
            change = node.change
            if change.after is State.OFFLINE and change.loss is None and change.died is not None:
                planned = self._fleet.planned_portfolios(name)
                seen, starts = self._seen(view, name, now), change.died - self._ttl
                yield Alert(NODE_OFFLINE, shown_id(name), change.died, starts, seen, change.exact, planned)

    def _seen(self, view: View, name: bytes, now: float) -> float:
        """Return the latest moment at which nobody can have known that a node is back.

        That is its last look. If its Redis has not answered since then, nobody else has seen it either, for a while.
        """
        looked, heard = view.absent[name].looked, view.heard(name)
        blind = heard <= looked and now - looked < self._stale_after
        return now if blind or self._sole_writer else looked
