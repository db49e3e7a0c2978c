"""The bridge: shows the alerts of the judge's view to every Alertmanager, each of which decides what is posted when.

An alert that lasts is posted again at each refresh. So an Alertmanager that lost its
alerts in a restart has them again after one refresh. The end of an alert is posted only
if the exporter is the sole writer of its alerts. Otherwise the post would also end the
alert that Prometheus writes.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from threading import Event, Thread
from typing import Any, Final, NamedTuple

from prometheus_client import Counter, Gauge, Histogram

from exporter.fleet import Fleet
from exporter.journal.event import EventKind, shown
from exporter.journal.journal import Journal
from exporter.liveness import Change, View
from exporter.push.alerts import PUSHED, STALE_AFTER, Alert, Alerts, AlertTexts, Key
from exporter.push.transport import Clocks, HttpConfig, Transport
from exporter.telemetry import Telemetry

ACTIVE: Final = 60.0
"""Seconds after an accepted post during which push counts as working."""
_STUCK: Final = 30.0
"""Seconds without a look of the watch after which push counts as not working."""


class Pace(NamedTuple):
    """The times of posts, in seconds.

    Attributes:
        lasts: Time from a post to the ``endsAt`` of its alerts.
        refresh: Shortest time between two posts of an alert that lasts.
        fresh: Maximum age of an observation when it is posted: the node may have come back since.
        idle: Time without a post after which an empty one is sent. It shows whether posts are accepted.
        backoff: Pause after a post that was not accepted.
    """

    lasts: float = 120.0
    refresh: float = 3.0
    fresh: float = 2.0
    idle: float = 15.0
    backoff: float = 0.5


PACE: Final = Pace()


class Shared(NamedTuple):
    """What the clients of all Alertmanagers share.

    Attributes:
        texts: Labels and annotations of alerts.
        journal: Is told of the first post of each alert, of its end, and whether posts are accepted.
        telemetry: Counts unexpected errors, after which the threads go on.
        posts: Counts posts.
        posts_failed: Counts posts that were not accepted.
        delay: Measures the time from the end of a heartbeat to the first accepted post about it.
        resolve: Whether the end of an alert is posted.
        pace: The times of posts.
        clock: Returns monotonic seconds.
    """

    texts: AlertTexts
    journal: Journal
    telemetry: Telemetry
    posts: Counter
    posts_failed: Counter
    delay: Histogram
    resolve: bool = False
    pace: Pace = PACE
    clock: Callable[[], float] = time.monotonic


class Alertmanager:
    """Posts to one Alertmanager, in a thread of its own. Only that thread changes the state, but for what is shown.

    Args:
        transport: Sends the posts.
        clocks: The clocks of the posted times.
        shared: The other parts.

    Attributes:
        url: Its address.
        last_accepted: Monotonic time of the last post that was accepted.
        problem: Why the last post was not accepted, in one line; empty if it was accepted.
    """

    def __init__(self, transport: Transport, clocks: Clocks, shared: Shared) -> None:
        self.url, self.last_accepted, self.problem = transport.url, float("-inf"), ""
        self._transport, self._clocks, self._shared = transport, clocks, shared
        self._posts, self._posts_failed = shared.posts.labels(self.url), shared.posts_failed.labels(self.url)
        self._alerts: Mapping[Key, Alert] = {}
        self._taken: dict[Key, tuple[Alert, float]] = {}  # what was accepted last of each alert, and when
        self._tried, self._began = float("-inf"), shared.clock()
        self._state: str | None = None
        self._unanswered = False  # the last post timed out
        self._wake, self._closed = Event(), Event()
        self._thread = Thread(target=self._run, name="push", daemon=True)

    def start(self) -> None:
        """Begin to post."""
        self._thread.start()

    def stop(self) -> None:
        """Post nothing more. A post that is under way goes on; it does not keep the process from ending."""
        self._closed.set()
        self._wake.set()

    def show(self, alerts: Mapping[Key, Alert]) -> None:
        """Take the alerts that last now, in place of all earlier ones. To be called from any thread."""
        lasting = alerts or self._alerts
        self._alerts = alerts
        if lasting:
            self._wake.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._wake.wait(self._shared.pace.refresh)
            self._wake.clear()  # before the posts: what is shown during the last one must not wait
            try:
                good = self.post_due()
            except Exception as error:  # noqa: BLE001 - the edge of this thread
                self._shared.telemetry.fault("push", error)
                good = False
            if not good:
                self._closed.wait(self._shared.pace.backoff)
                self._wake.set()

    def post_due(self) -> bool:
        """Post what is due, or nothing if nothing was posted for long; return whether it was accepted.

        An empty post comes first if the last post timed out. A hanging Alertmanager may read all earlier posts when it
        continues, so these should hold few alerts. If the empty post fails, the alerts are posted anyway: an answer
        that is late or cut off does not show whether Alertmanager takes alerts.
        """
        good, idle = True, self._shared.clock() - self._tried >= self._shared.pace.idle
        if self._unanswered or (idle and not self._due()):
            good, self._unanswered = self._post(()), False
        due = self._due()
        return self._post(due) if due else good

    def _due(self) -> Sequence[Alert]:
        """Return the alerts to be posted: new ones, those that last, and those that have ended.

        Alerts from old observations are left out.
        """
        now, shown, pace = self._shared.clock(), self._alerts, self._shared.pace
        ended = [alert._replace(over=True) for key, (alert, _) in self._taken.items() if key not in shown]
        if not self._shared.resolve:
            self._forget(ended)
            ended = []
        fresh = [alert for alert in shown.values() if now - alert.seen <= pace.fresh]
        due = [alert for alert in fresh if self._is_new(alert) or now - self._taken[alert.key][1] >= pace.refresh]
        return due + ended

    def _is_new(self, alert: Alert) -> bool:
        return alert.key not in self._taken or self._taken[alert.key][0].since != alert.since

    def _forget(self, ended: Sequence[Alert]) -> None:
        """Tell the journal of alerts that are no longer posted."""
        for alert in ended:
            del self._taken[alert.key]
        self._tell(ended, "taken", "ended")

    def _post(self, alerts: Sequence[Alert]) -> bool:
        now = self._tried = self._shared.clock()
        reply = self._transport.post([self._body(alert, now) for alert in alerts])
        self._unanswered = reply.timed_out
        if reply.date is not None:
            self._clocks.observe(reply.date, self._shared.clock())
        self._note_result(reply.problem)
        if reply.problem:
            return False
        self.last_accepted = self._shared.clock()
        new = [alert for alert in alerts if self._is_new(alert)]
        for alert in new:
            if alert.exact and alert.since >= self._began:  # nobody watched an earlier death
                self._shared.delay.observe(self.last_accepted - alert.since)
        self._tell(new, None, "taken")
        self._taken.update((alert.key, (alert, self.last_accepted)) for alert in alerts)
        self._forget([alert for alert in alerts if alert.over])
        return True

    def _note_result(self, problem: str) -> None:
        """Count a post, and tell the journal that posts are no longer accepted, or are accepted again."""
        self._posts.inc()
        self._posts_failed.inc(bool(problem))
        before, self._state, self.problem = self._state, "refused" if problem else "active", problem
        if self._state != before:
            self._shared.journal.note(EventKind.PUSH, self.url, before, self._state, because=problem)

    def _tell(self, alerts: Sequence[Alert], before: str | None, after: str) -> None:
        """Tell the journal of alerts: an event about their names, nodes and mass losses."""
        rows: dict[str, dict[str, Any]] = {text: {} for alert in alerts for text in alert.key if text}
        self._shared.journal.add(EventKind.PUSH, before, after, rows, {"alertmanager": self.url})

    def _body(self, alert: Alert, now: float) -> dict[str, Any]:
        texts, ends = self._shared.texts, now if alert.over else now + self._shared.pace.lasts
        times = self._clocks.times(alert.starts, ends, over=alert.over)
        return {"labels": texts.labels(alert), "annotations": texts.annotations(alert), **times}


class Bridge:
    """Makes alerts in the thread of the fleet's watch; each Alertmanager posts them in a thread of its own.

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
        self._fleet, self._clock = fleet, clock
        self._texts = AlertTexts(settings.labels, settings.rules_file, fleet.settings.web.external_url)
        self._alerts = Alerts(fleet.settings.heartbeat.ttl, stale_after, sole_writer=settings.sole_writer)
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
            settings.sole_writer,
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
        return [
            {"labels": self._texts.labels(alert), "since": unix(alert.since)} for alert in self._alerts.last.values()
        ]

    def refusals(self) -> list[str]:
        """Return a sentence for each Alertmanager that takes no posts."""
        failing = [each for each in self._alertmanagers if each.problem]
        return [f"Alertmanager {each.url} takes no posts: {shown(each.problem)}." for each in failing]

    def _active(self) -> bool:
        now = self._clock()
        accepted = max(alertmanager.last_accepted for alertmanager in self._alertmanagers)
        return now - self._stepped < _STUCK and now - accepted < ACTIVE

    def _count(self, name: str) -> int:
        return sum(alert.name == name for alert in self._alerts.last.values())

    def step(self, _: Iterable[Change], view: View) -> None:
        """Show the alerts of a view to every Alertmanager. The watch calls this after each look."""
        now = self._stepped = self._clock()
        alerts = self._alerts.step(view, now, self._fleet.discovery.planned)
        for alertmanager in self._alertmanagers:
            alertmanager.show(alerts)
