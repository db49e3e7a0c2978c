"""One Alertmanager: decides which alerts are posted to it, and when, in times that its clock and ours agree on.

An alert that lasts is posted again at each refresh. So an Alertmanager that lost its
alerts in a restart has them again after one refresh. The end of an alert is posted only
if the exporter is the sole writer of its alerts. Otherwise the post would also end the
alert that Prometheus writes.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Event, Thread
from typing import Any, Final, NamedTuple

import structlog
from prometheus_client import Counter, Histogram

from exporter.journal.event import EventKind
from exporter.journal.journal import Journal
from exporter.push.alerts import Alert, AlertTexts, Key
from exporter.push.transport import Transport

BATCH: Final = 256
"""Largest number of alerts in one post."""
TOLERANCE: Final = 60.0
"""Largest difference of two clocks that agree, in seconds."""
_SET: Final = 1.0
"""Largest drift of our clock from the monotonic clock since the last answer, in seconds: more shows a clock change."""

log = structlog.get_logger(__name__)


class Pace(NamedTuple):
    """The times of posts, in seconds.

    Attributes:
        lasts: Time from a post to the ``endsAt`` of its alerts.
        refresh: Shortest time between two posts of an alert that lasts.
        fresh: Maximum age of an observation when it is posted: the node may have come back since.
        idle: Time without a post after which an empty one is sent. It shows whether posts are accepted.
        backoff: Pause after a post that was not accepted. Each pause varies at random by half.
    """

    lasts: float = 120.0
    refresh: float = 3.0
    fresh: float = 2.0
    idle: float = 15.0
    backoff: float = 0.5


class Alertmanager:
    """Posts to one Alertmanager, in a thread of its own. Only that thread changes the state, but for what is shown.

    Args:
        url: Its address.
        texts: Labels and annotations of alerts.
        transport: Sends the posts.
        clocks: The clocks of the posted times.
        journal: Is told of the first post of each alert, of its end, and whether posts are accepted.
        posts: Counts posts by Alertmanager and result.
        delay: Measures the time from the end of a heartbeat to the first accepted post about it.
        failed: Called with an unexpected error, after which the thread goes on.
        resolve: Whether the end of an alert is posted.
        pace: The times of posts.
        clock: Returns monotonic seconds.

    Attributes:
        url: Its address.
        last_accepted: Monotonic time of the last post that was accepted.
        problem: Why the last post was not accepted, in one line; empty if it was accepted, None before the first.
        failing_since: Monotonic time since which posts are not accepted; None if they are.
    """

    def __init__(  # noqa: PLR0913 - its parts, passed in
        self,
        url: str,
        texts: AlertTexts,
        transport: Transport,
        clocks: "Clocks",
        *,
        journal: Journal,
        posts: Counter,
        delay: Histogram,
        failed: Callable[[Exception], None],
        resolve: bool = False,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url, self.last_accepted = url, float("-inf")
        self.problem: str | None = None
        self.failing_since: float | None = None
        self._texts, self._transport, self._clocks, self._journal = texts, transport, clocks, journal
        self._posts, self._delay, self._failed, self._resolve = posts, delay, failed, resolve
        self._pace, self._clock = pace or Pace(), clock
        self._alerts: Mapping[Key, Alert] = {}
        self._taken: dict[Key, tuple[Alert, float]] = {}  # what was accepted last of each alert, and when
        self._tried = float("-inf")
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
        self._alerts = alerts
        self._wake.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._wake.wait(min(self._pace.idle, self._pace.refresh))
            self._wake.clear()  # before the posts: what is shown during the last one must not wait
            try:
                good = self.post_due()
            except Exception as error:  # noqa: BLE001 - the edge of this thread
                self._failed(error)
                good = False
            if not good:
                pause = self._pace.backoff * random.uniform(0.5, 1.5)  # noqa: S311 - exporters must not post in step
                self._closed.wait(pause)
                self._wake.set()

    def post_due(self) -> bool:
        """Post what is due, batch by batch; return False at the first batch that is not accepted.

        An empty post comes first if Alertmanager's clock is unknown, or if the last post
        timed out. A hanging Alertmanager may read all earlier posts when it continues, so
        these should hold few alerts. If the empty post fails, the alerts are posted anyway:
        an answer that is late or cut off does not show whether Alertmanager takes alerts.
        """
        good, nothing = True, not any(self._due())
        if nothing and self._clock() - self._tried < self._pace.idle:
            return True
        if nothing or self._unanswered or (self._clocks.doubtful and self.failing_since is None):
            good = self._post((), ())
            self._unanswered = False
        while any(due := self._due()) and not self._closed.is_set():
            if not (good := self._post(*due)):
                break
        return good

    def _due(self) -> tuple[Sequence[Alert], Sequence[Alert]]:
        """Return the next post: new alerts before those that were posted earlier, and alerts that have ended.

        Alerts from old observations are left out.
        """
        now, shown = self._clock(), self._alerts
        ended = [alert for key, (alert, _) in self._taken.items() if key not in shown]
        if not self._resolve:
            ended = self._forget(ended)
        fresh = (alert for alert in shown.values() if now - alert.seen <= self._pace.fresh)
        due = [alert for alert in fresh if self._is_new(alert) or now - self._taken[alert.key][1] >= self._pace.refresh]
        due.sort(key=lambda alert: not self._is_new(alert))
        return due[: BATCH - len(ended[:BATCH])], ended[:BATCH]

    def _is_new(self, alert: Alert) -> bool:
        before, _ = self._taken.get(alert.key, (None, None))
        return before is None or before.since != alert.since

    def _forget(self, ended: Sequence[Alert]) -> list[Alert]:
        """Tell the journal of alerts that are no longer posted; no one is left."""
        for alert in ended:
            del self._taken[alert.key]
        self._tell(ended, "taken", "ended", {"resolved": self._resolve})
        return []

    def _post(self, alerts: Sequence[Alert], ended: Sequence[Alert]) -> bool:
        now = self._tried = self._clock()
        body = [self._body(alert, self._clocks.firing(alert.starts, now + self._pace.lasts)) for alert in alerts]
        body += [self._body(alert, self._clocks.ended(alert.starts, now)) for alert in ended]
        reply = self._transport.post(body)
        self._unanswered = reply.timed_out
        if reply.date is not None:
            self._clocks.observe(reply.date, reply.received)
        self._note_result(reply.problem)
        if reply.problem:
            return False
        self.last_accepted = self._clock()
        new = [alert for alert in alerts if self._is_new(alert)]
        for alert in new:
            if alert.exact:
                self._delay.observe(self.last_accepted - alert.since)
        self._tell(new, None, "taken", {"alertmanager": self.url})
        self._taken.update((alert.key, (alert, self.last_accepted)) for alert in alerts)
        self._forget(ended)
        return True

    def _note_result(self, problem: str) -> None:
        """Count a post; log, and tell the journal, that posts are no longer accepted, or are accepted again."""
        self._posts.labels(self.url, "error" if problem else "ok").inc()
        before, self.problem = self.problem, problem
        if before is not None and bool(problem) == bool(before):
            return
        self.failing_since = self._tried if problem else None
        state = None if before is None else "refused" if before else "active"
        evidence = {"error": problem} if problem else {}
        after = "refused" if problem else "active"
        self._journal.note(EventKind.PUSH, self.url, state, after, alertmanager=self.url, **evidence)
        if problem:
            log.error("Alertmanager takes no posts", url=self.url, error=problem)
        elif before:
            log.info("Alertmanager takes posts again", url=self.url)

    def _tell(self, alerts: Sequence[Alert], before: str | None, after: str, evidence: Mapping[str, Any]) -> None:
        """Tell the journal of alerts: an event for those of each name, about the alert and its nodes."""
        for name in dict.fromkeys(alert.name for alert in alerts):
            subjects = [name, *(alert.subject for alert in alerts if alert.name == name and alert.subject)]
            rows = {subject: {"alertname": name, **evidence} for subject in subjects}
            self._journal.add(EventKind.PUSH, before, after, rows)

    def _body(self, alert: Alert, times: Mapping[str, str]) -> dict[str, Any]:
        return {"labels": self._texts.labels(alert), "annotations": self._texts.annotations(alert), **times}


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

    Attributes:
        offset: Seconds by which the last ``Date`` was ahead of our clock when its answer came; up to a second too low,
            since a ``Date`` has whole seconds. None before the first answer, and after one without a readable ``Date``.
    """

    def __init__(
        self, url: str, *, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.offset: float | None = None
        self._url, self._unix, self._monotonic = url, wall, monotonic
        self._date = 0.0  # the earliest that Alertmanager's clock may be, less the monotonic one
        self._ours_then: float | None = None  # our clock less the monotonic one, at the last answer
        self._warned = False

    def observe(self, date: str | None, received: float) -> None:
        """Record the ``Date`` of an answer.

        Args:
            date: The header's text; None if it is missing.
            received: Monotonic time at which the answer was received.
        """
        self._ours_then = ours = self._ours()
        unix = _parsed(date)
        self.offset = None
        if unix is not None:
            self._date = unix - received
            self.offset = self._date - ours
        if (problem := self.problem) and not self._warned:
            log.warning("alerts end by Alertmanager's resolve_timeout", url=self._url, because=problem, date=date)
        elif self._warned and not problem:
            log.info("Alertmanager's clock and ours agree again", url=self._url)
        self._warned = bool(problem)

    @property
    def problem(self) -> str:
        """What is wrong with the two clocks, in one line; empty if they agree."""
        if self.offset is None:
            return "its answers have no readable Date"
        if abs(self.offset) <= TOLERANCE:
            return ""
        where = "ahead of" if self.offset > 0 else "behind"
        return f"the Date of its answers is {abs(self.offset):.0f} s {where} this machine's clock"

    @property
    def doubtful(self) -> bool:
        """Whether the last ``Date`` is useless now: no answer came yet, our clock was changed, or the machine slept."""
        return self._ours_then is None or abs(self._ours() - self._ours_then) > _SET

    def firing(self, starts: float, ends: float) -> dict[str, str]:
        """Return ``startsAt`` and, if the two clocks agree, ``endsAt`` of an alert that lasts."""
        clocks = self._usable()
        times = {"startsAt": _rfc3339(starts + min(clocks))}
        if len(clocks) > 1 and not self.problem:
            times["endsAt"] = _rfc3339(ends + max(clocks))
        return times

    def ended(self, starts: float, now: float) -> dict[str, str]:
        """Return ``startsAt`` and ``endsAt`` of an alert that is over: both are in the past by every clock."""
        clock = min(self._usable())
        return {"startsAt": _rfc3339(starts + clock), "endsAt": _rfc3339(now + clock)}

    def _ours(self) -> float:
        return self._unix() - self._monotonic()

    def _usable(self) -> list[float]:
        """Return the usable clocks, each less the monotonic one."""
        known = self.offset is not None and not self.doubtful
        return [self._ours(), self._date] if known else [self._ours()]


def _parsed(date: str | None) -> float | None:
    """Return the Unix time of a ``Date``; None if it is no date, or one before 1970."""
    try:
        moment = parsedate_to_datetime(date or "")
        unix = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return unix if unix >= 0 else None


def _rfc3339(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds")
