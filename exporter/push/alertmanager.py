"""One Alertmanager: decides which alerts are posted to it, and when, in times that its clock and ours agree on.

An alert that lasts is posted again at each refresh. So an Alertmanager that lost its
alerts in a restart has them again after one refresh. The end of an alert is posted only
if the exporter is the sole writer of its alerts. Otherwise the post would also end the
alert that Prometheus writes.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import mktime_tz, parsedate_tz
from threading import Event, Thread
from typing import Any, Final, NamedTuple

import structlog
from prometheus_client import Counter, Histogram

from exporter.journal.event import EventKind
from exporter.journal.journal import Journal
from exporter.push.alerts import Alert, AlertTexts, Key
from exporter.push.transport import Transport
from exporter.telemetry import Telemetry

TOLERANCE: Final = 60.0
"""Largest difference of two clocks that agree, in seconds."""

log = structlog.get_logger(__name__)


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

    def __init__(self, transport: Transport, clocks: "Clocks", shared: Shared) -> None:
        self.url, self.last_accepted, self.problem = transport.url, float("-inf"), ""
        self._transport, self._clocks, self._shared = transport, clocks, shared
        self._posts, self._posts_failed = shared.posts.labels(self.url), shared.posts_failed.labels(self.url)
        self._alerts: Mapping[Key, Alert] = {}
        self._taken: dict[Key, tuple[Alert, float]] = {}  # what was accepted last of each alert, and when
        self._tried = float("-inf")
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
            if alert.exact:
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


class Clocks:
    """The two clocks of the times in posts to an Alertmanager. Turns monotonic times into the texts of a post.

    Alertmanager judges an alert by its own clock. An ``endsAt`` in its past means that the
    alert is over: Alertmanager answers 200 and notifies nobody. A ``startsAt`` in its future
    delays the notification by ``group_wait``. Without ``endsAt``, Alertmanager refuses a
    ``startsAt`` that is further ahead than ``resolve_timeout``. Neither clock can be trusted
    alone: the exporter's clock may be wrong, and the ``Date`` may come from a proxy. So:

    - ``startsAt`` comes from the earlier of the two clocks.
    - ``endsAt`` comes from the later one, if the two agree to within ``TOLERANCE``. An alert
      then lasts at most that much longer than its sender meant.
    - If they do not agree, or there is no readable ``Date``, ``endsAt`` is left out.
      Alertmanager then sets it by its own clock, ``resolve_timeout`` (5 min by default) after
      the last post.

    One case remains: two clocks that agree and are both wrong, such as those of an exporter and
    a proxy on the same machine. An alert is lost if both are behind by ``Pace.lasts``.

    Args:
        url: The Alertmanager, for the log.
        wall: Returns Unix time.
        monotonic: Returns monotonic seconds.
    """

    def __init__(
        self, url: str, *, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._url, self._wall, self._monotonic = url, wall, monotonic
        # Its clock less the monotonic one, by the last answer: up to a second too low, since a Date has whole seconds.
        self._date: float | None = None
        self._warned = False

    def observe(self, date: str | None, received: float) -> None:
        """Record the ``Date`` of an answer.

        Args:
            date: The header's text; None if it is missing.
            received: Monotonic time at which the answer was received.
        """
        unix = _parsed(date)
        self._date = None if unix is None else unix - received
        *_, agree = self._clocks()
        if not agree and not self._warned:
            log.warning("alerts end by resolve_timeout: Date and our clock are not the same", url=self._url, date=date)
        self._warned = not agree

    def times(self, starts: float, ends: float, *, over: bool = False) -> dict[str, str]:
        """Return ``startsAt`` and ``endsAt`` of an alert: without ``endsAt`` if it lasts and the clocks do not agree.

        If it is over, both are in the past by every clock.
        """
        earlier, later, agree = self._clocks()
        times = {"startsAt": _rfc3339(starts + earlier)}
        if over or agree:
            times["endsAt"] = _rfc3339(ends + (earlier if over else later))
        return times

    def _clocks(self) -> tuple[float, float, bool]:
        """Return the earlier and the later clock, each less the monotonic one, and whether they agree."""
        ours = self._wall() - self._monotonic()
        date = ours if self._date is None else self._date
        return min(ours, date), max(ours, date), self._date is not None and abs(ours - date) <= TOLERANCE


def _parsed(date: str | None) -> float | None:
    """Return the Unix time of a ``Date``; None if it is no date, or one before 1970."""
    try:
        unix = mktime_tz(parsedate_tz(date or "") or ())  # type: ignore[arg-type]
    except (ValueError, IndexError, OverflowError):
        return None
    return unix if unix >= 0 else None


def _rfc3339(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds")
