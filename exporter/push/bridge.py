"""The bridge: turns the judge's view into alerts, and shows them to every Alertmanager."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from prometheus_client import Counter, Gauge, Histogram

from exporter.fleet import Fleet
from exporter.journal.sentences import shown
from exporter.liveness import Change, State, View
from exporter.push.alertmanager import PACE, Alertmanager, Clocks, Pace, Shared
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


class Bridge:
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
        pace: Pace = PACE,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        settings = fleet.settings.alertmanager
        self._fleet, self._clock, self._stale_after = fleet, clock, stale_after
        self._ttl, self._sole_writer = fleet.settings.heartbeat.ttl, settings.sole_writer
        self._texts = AlertTexts(settings.labels, settings.rules_file, fleet.settings.web.external_url)
        self._alerts: Mapping[Key, Alert] = {}
        self._stepped = float("-inf")
        registry, label = fleet.telemetry.registry, ("alertmanager",)
        shared = Shared(
            self._texts,
            fleet.journal,
            fleet.telemetry,
            Counter("ginkgo_bridge_posts", "Posts to Alertmanager.", label, registry=registry),
            Counter("ginkgo_bridge_posts_failed", "Posts that it did not take.", label, registry=registry),
            Histogram(
                "ginkgo_bridge_detection_delay_seconds",
                "Time from the end of a node's heartbeat to the post that an Alertmanager took.",
                buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
                registry=registry,
            ),
            self._sole_writer,
            pace,
            clock,
        )
        config = HttpConfig.load(settings.config_file)
        self._alertmanagers = [
            Alertmanager(Transport(url, config), Clocks(url, wall=wall, monotonic=clock), shared)
            for url in settings.url
        ]
        active = "1 while heartbeats are watched and an Alertmanager took a post in the last minute, else 0."
        Gauge("ginkgo_bridge_active", active, registry=registry).set_function(self._active)
        alerts = Gauge("ginkgo_bridge_alerts", "Alerts that are being pushed.", ("alertname",), registry=registry)
        for name in PUSHED:
            alerts.labels(name).set_function(partial(self._count, name))
        fleet.attend(self.step)

    def start(self) -> None:
        """Begin to post."""
        for alertmanager in self._alertmanagers:
            alertmanager.start()

    def stop(self) -> None:
        """Stop posting. The alerts end in Alertmanager unless another exporter posts them too."""
        for alertmanager in self._alertmanagers:
            alertmanager.stop()

    def pushed(self) -> list[dict[str, Any]]:
        """Return the alerts that last, each with its ``labels`` and its beginning as Unix time ``since``."""
        unix = self._fleet.journal.unix
        return [{"labels": self._texts.labels(alert), "since": unix(alert.since)} for alert in self._alerts.values()]

    def refusals(self) -> list[str]:
        """Return a sentence for each Alertmanager that takes no posts."""
        failing = [each for each in self._alertmanagers if each.problem]
        return [f"Alertmanager {each.url} takes no posts: {shown(each.problem)}." for each in failing]

    def _active(self) -> bool:
        now = self._clock()
        accepted = max(alertmanager.last_accepted for alertmanager in self._alertmanagers)
        return now - self._stepped < _STUCK and now - accepted < ACTIVE

    def _count(self, name: str) -> int:
        return sum(alert.name == name for alert in self._alerts.values())

    def step(self, _: Iterable[Change], view: View) -> None:
        """Show the alerts of a view to every Alertmanager. The watch calls this after each look."""
        now = self._stepped = self._clock()
        alerts = sorted((*self._of_redis(view, now), *self._of_nodes(view, now)), key=lambda alert: alert.seen)
        self._alerts = {alert.key: alert for alert in alerts}
        for alertmanager in self._alertmanagers:
            alertmanager.show(self._alerts)

    def _of_redis(self, view: View, now: float) -> Iterator[Alert]:
        """Yield the alerts about Redis. One that lasts keeps its begin."""
        unreadable = view.unreadable(now)
        refused = 0.0 if view.refusal_since is None else now - view.refusal_since
        refuses = view.refused_since is not None or (WRITES_REFUSED, "") in self._alerts
        for name, seconds, fires in (
            (REDIS_UNREACHABLE, unreadable, unreadable >= UNREACHABLE_FOR),
            (WRITES_REFUSED, refused, refuses and refused >= REFUSED_FOR * self._ttl),
        ):
            if fires:
                alert = Alert(name, "", now - seconds, now - seconds, now)
                yield self._alerts.get(alert.key, alert)._replace(seen=now)

    def _of_nodes(self, view: View, now: float) -> Iterator[Alert]:
        """Yield the alert of each offline node: its own one, or that of its mass loss."""
        for name, node in view.absent.items():
            died, loss = node.change.died, node.change.loss
            if node.change.after is not State.OFFLINE or died is None:
                continue
            # The alert is true at the last look. If its Redis has not answered since then, nobody can have seen the
            # node come back, for a while.
            blind = view.answered <= node.looked and now - node.looked < self._stale_after
            seen = now if blind or self._sole_writer else node.looked
            if loss:
                yield Alert(MASS_LOSS, shown_id(loss.name), loss.first, loss.first - self._ttl, seen)
            else:
                planned = self._fleet.discovery.planned.get(name, 0)
                yield Alert(NODE_OFFLINE, shown_id(name), died, died - self._ttl, seen, node.change.exact, planned)
