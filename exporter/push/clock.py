"""The times in posts to one Alertmanager, from the exporter's clock and from the ``Date`` of its answers.

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
- A clock that shows a year outside of ``SANE_YEARS`` is not used at all.

One case remains: two clocks that agree and are both wrong, such as those of an exporter and
a proxy on the same machine. An alert is lost if both are behind by ``alertmanager.LASTS``.
"""

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import structlog
from prometheus_client.core import GaugeMetricFamily

TOLERANCE: Final = 60.0
"""Largest difference of two clocks that agree, in seconds."""
SANE_YEARS: Final = range(2020, 2100)
"""Years that a clock may show: a machine without a battery starts in 1970, and nothing ends in 9999."""
_SET: Final = 1.0
"""Largest drift of our clock from the monotonic clock since the last answer, in seconds: more shows a clock change."""

log = structlog.get_logger(__name__)


class Clocks:
    """The two clocks of the times in posts to an Alertmanager. Turns monotonic times into the texts of a post.

    Args:
        url: The Alertmanager, for the log and the metric.
        wall: Returns Unix time.
        monotonic: Returns monotonic seconds.

    Attributes:
        url: The Alertmanager.
        offset: Seconds by which the last ``Date`` was ahead of our clock. A ``Date`` has whole seconds, and the
            answer took time: of the offsets that fit, this is the one closest to 0. None before the first answer,
            and after an answer without a readable ``Date``.
    """

    def __init__(
        self, url: str, *, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.url = url
        self.offset: float | None = None
        self._unix, self._monotonic = wall, monotonic
        self._date = 0.0  # the earliest that Alertmanager's clock may be, less the monotonic one
        self._ours_then: float | None = None  # our clock less the monotonic one, at the last answer
        self._warned = False

    def observe(self, date: str | None, sent: float, received: float) -> None:
        """Record the ``Date`` of an answer.

        Args:
            date: The header's text; None if it is missing.
            sent: Monotonic time at which the request was sent.
            received: Monotonic time at which the answer was received.
        """
        self._ours_then = ours = self._ours()
        unix = _parsed(date)
        self.offset = None
        if unix is not None:
            self._date = unix - received
            self.offset = max(self._date - ours, min(0.0, unix + 1.0 - sent - ours))
        if (problem := self.problem) and not self._warned:
            log.warning("alerts end by Alertmanager's resolve_timeout", url=self.url, because=problem, date=date)
        elif self._warned and not problem:
            log.info("Alertmanager's clock and ours agree again", url=self.url)
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

    def firing(self, began: float, ends: float) -> dict[str, str]:
        """Return ``startsAt`` and ``endsAt`` of an alert that lasts, without a time that no clock can give."""
        clocks = self._sane()
        times = {"startsAt": _rfc3339(began + min(clocks))} if clocks else {}
        if len(clocks) > 1 and not self.problem:
            times["endsAt"] = _rfc3339(ends + max(clocks))
        return times

    def ended(self, began: float, now: float) -> dict[str, str]:
        """Return ``startsAt`` and ``endsAt`` of an alert that is over: both are in the past by every clock."""
        clock = min(self._sane(), default=0.0)
        return {"startsAt": _rfc3339(began + clock), "endsAt": _rfc3339(now + clock)}

    def _ours(self) -> float:
        return self._unix() - self._monotonic()

    def _sane(self) -> list[float]:
        """Return the usable clocks, each less the monotonic one."""
        known = self.offset is not None and not self.doubtful
        clocks = [self._ours(), self._date] if known else [self._ours()]
        now = self._monotonic()
        return [clock for clock in clocks if _EARLIEST <= clock + now < _LATEST]


def offsets(clocks: Iterable[Clocks]) -> GaugeMetricFamily:
    """Return how far each Alertmanager's clock is ahead of ours; unknown distances are left out."""
    family = GaugeMetricFamily(
        "ginkgo_bridge_clock_offset_seconds",
        "Seconds by which the Date of an Alertmanager's answers is ahead of the exporter's clock.",
        labels=("alertmanager",),
    )
    for each in clocks:
        if each.offset is not None:
            family.add_metric((each.url,), each.offset)
    return family


def _parsed(date: str | None) -> float | None:
    try:
        moment = parsedate_to_datetime(date or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _rfc3339(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds")


_EARLIEST: Final = datetime(SANE_YEARS.start, 1, 1, tzinfo=UTC).timestamp()
_LATEST: Final = datetime(SANE_YEARS.stop, 1, 1, tzinfo=UTC).timestamp()
