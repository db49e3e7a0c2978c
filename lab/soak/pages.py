"""Judges the pages: each death has one page, and no living node has a page."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from exporter.liveness.judge import State
from exporter.push.alerts import MASS_LOSS, NODE_OFFLINE, REDIS_UNREACHABLE, WRITES_REFUSED
from lab.soak.alertmanager import Notice
from lab.soak.answers import Answer
from lab.soak.model import HOLD, Model
from lab.soak.report import Report
from lab.soak.servers import READ_TIMEOUT, TTL
from lab.soak.truth import TOLERANCE, Span

DELIVERED_WITHIN: Final = 3.0 + READ_TIMEOUT
"""Seconds from a verdict to its page: a read that fails meanwhile, post, Alertmanager's groups, webhook."""
RECONNECTED_WITHIN: Final = 9.0
"""Seconds until the exporter has posted all alerts to an Alertmanager that is back: timeout, backoff, refresh."""
UNREACHABLE_FOR: Final = 60.0
WINDOW: Final = 120.0
_MASS: Final = 3
_SAVES_FOR: Final = 1.0
"""Seconds that Alertmanager may need to save its notification log."""


@dataclass(slots=True)
class Death:
    """A node that the exporter calls offline.

    Attributes:
        said: Time of the first answer that calls it offline.
        member: Whether an answer shows it as a member of a mass loss.
        paged: Whether there was a page for this death.
    """

    said: float
    member: bool = False
    paged: bool = False


class Pages:
    """Compares notifications with the writes of the nodes and with the exporter's answers.

    Args:
        model: The truth about each node.
        report: The counts.
        clock: Returns monotonic seconds.
    """

    def __init__(self, model: Model, report: Report, clock: Callable[[], float] = time.monotonic) -> None:
        self._model, self._report, self._clock = model, report, clock
        self._open: dict[tuple[str, str], float] = {}  # pages whose alert has not ended, and when they came
        self._last: dict[tuple[str, str], float] = {}
        self._resolved: dict[tuple[str, str], float] = {}
        self._deaths: dict[str, Death] = {}
        self._disturbed: list[list[float]] = []  # spans in which pages could not be delivered
        self._log_lost: list[Span] = []  # spans whose pages Alertmanager may not remember to have sent
        self._restarted = self._clock()
        self._notices: Sequence[Notice] = ()

    def disturb(self) -> None:
        """Take note that from now on pages may be late."""
        self._disturbed.append([self._clock(), float("inf")])

    def undisturb(self) -> None:
        """Take note that from now on pages can be delivered again."""
        self._disturbed[-1][1] = self._clock()

    def disturbed(self, at: float) -> bool:
        """Return whether a page that came at a moment may have been late, or its post was not answered."""
        return any(start <= at < stop + RECONNECTED_WITHIN for start, stop in self._disturbed)

    def alertmanager_killed(self, saved: float) -> None:
        """Take note that Alertmanager may have lost the last lines of its notification log.

        Args:
            saved: When the log was saved last, in monotonic seconds.
        """
        self._log_lost.append((saved - _SAVES_FOR - self._model.chance.slack, self._clock()))

    def exporter_started(self) -> None:
        """Take note of a new exporter process, which knows no earlier mass loss."""
        self._restarted = self._clock()
        for death in self._deaths.values():
            death.member = False

    def saw(self, answer: Answer) -> None:
        """Take note of an answer of the exporter."""
        if answer.nodes is None or answer.fresh:
            return
        for name in [name for name in self._deaths if name not in answer.nodes]:
            self._end(name)
        for name, seen in answer.nodes.items():
            if seen.state is State.ONLINE:
                self._end(name)
            elif seen.state is State.OFFLINE and name not in self._deaths:
                self._deaths[name] = Death(answer.until)
                self._report.deaths["said"] += 1
        for name in answer.mass_lost or ():
            if name in self._deaths:
                self._deaths[name].member = True

    def judge(self, notices: Sequence[Notice]) -> Iterator[str]:
        """Yield a text for each page that is wrong, and for each page that is missing.

        Args:
            notices: All notices so far.
        """
        heard = notices[len(self._notices) :]  # another thread may append more
        self._notices = [*self._notices, *heard]
        for notice in heard:
            yield from self._hear(notice)
        now = self._clock()
        for name, death in self._deaths.items():
            if death.paged:
                continue
            if (NODE_OFFLINE, name) in self._open:
                death.paged = True
                before = self._open[NODE_OFFLINE, name] < death.said - self._delay(now)
                self._report.deaths["told by a page that was still open" if before else "paged alone"] += 1
            elif death.member and (MASS_LOSS, "") in self._open:
                death.paged = True
                self._report.deaths["paged in common"] += 1
            elif now <= self._due(death.said, now):
                continue
            elif self._may_be_swallowed(name):
                death.paged = True
                self._report.deaths["not paged, after Alertmanager lost its log"] += 1
            else:
                death.paged = True
                told = self._history((NODE_OFFLINE, name), now)
                yield f"{name!r}: no page for its death, {now - death.said:.1f} s ago (member {death.member}; {told})"
        yield from self._missing(now)

    # --- pages that came -------------------------------------------------------------------

    def _hear(self, notice: Notice) -> Iterator[str]:
        key = notice.alertname, notice.node_id
        if not notice.firing:
            self._open.pop(key, None)
            self._resolved[key] = notice.at
            self._report.pages[f"{notice.alertname} resolved"] += 1
            return
        self._report.pages[notice.alertname] += 1
        before = self._last.get(key)
        self._last[key] = notice.at
        again = key in self._open
        self._open.setdefault(key, notice.at)
        since = self._told_since(notice.at)
        if before is not None and self._log_may_be_lost(before):
            self._report.pages["again, after Alertmanager lost its log"] += 1
        elif again:
            yield f"{key}: a second page while the first is open ({self._history(key, notice.at)})"
        elif before is not None and notice.node_id and not self._model.beaten_since(notice.node_id, self._died(before)):
            yield f"{key}: a second page for one death, {notice.at - before:.1f} s after the first"
        if notice.alertname == NODE_OFFLINE:
            wrong = self._false_death(notice, since)
        else:
            wrong = self._false_cause(notice, since)
        if wrong:
            yield f"{key}: a page though {wrong}"

    def _false_death(self, notice: Notice, since: float) -> str:
        """Return why a page of a node is false; empty if it is right."""
        name = notice.node_id
        if not self._model.may_be_offline(name, since, notice.at):
            return f"the node lives ({self._model.told(name, since, notice.at)})"
        death = self._deaths.get(name)
        if not death or not death.member or death.said >= since:
            return ""
        history = self._history((NODE_OFFLINE, name), notice.at)
        return f"the node is a member of a mass loss, dead for {notice.at - death.said:.2f} s ({history})"

    def _false_cause(self, notice: Notice, since: float) -> str:
        """Return why a page without a node is false; empty if it is right."""
        model = self._model
        if notice.alertname == MASS_LOSS:
            dead = [name for name in model.platform.nodes if model.may_be_offline(name, since - TTL - HOLD, notice.at)]
            return f"only {dead} may be dead" if len(dead) < _MASS else ""
        if notice.alertname == REDIS_UNREACHABLE:
            unreadable = model.chance.unreadable(since - WINDOW, notice.at, surely=False)
            return f"Redis could not be read for {unreadable:.1f} s at most" if unreadable < UNREACHABLE_FOR else ""
        if notice.alertname == WRITES_REFUSED:
            refused = any(stop > since - TTL / 2 for _, stop in model.chance.refusals())
            return "" if refused else "Redis refused no write"
        return "there is no such alert"

    def _may_be_swallowed(self, name: str) -> bool:
        """Return whether Alertmanager may have lost the end of an alert, and so take the next page for a repetition."""
        keys = (NODE_OFFLINE, name), (MASS_LOSS, "")
        return any(key in self._resolved and self._log_may_be_lost(self._resolved[key]) for key in keys)

    def _history(self, key: tuple[str, str], now: float) -> str:
        """Return in words the last notices of an alert, and when Alertmanager was killed."""
        about = [notice for notice in self._notices if (notice.alertname, notice.node_id) == key][-4:]
        told = [f"{'firing' if notice.firing else 'resolved'} {now - notice.at:.2f}" for notice in about]
        killed = [f"Alertmanager killed {now - stop:.2f}" for _, stop in self._log_lost[-1:]]
        disturbed = [f"disturbed {now - start:.2f}-{now - stop:.2f}" for start, stop in self._disturbed[-2:]]
        return ", ".join((*told, *killed, *disturbed))

    def _log_may_be_lost(self, at: float) -> bool:
        return any(start <= at <= stop for start, stop in self._log_lost)

    def _died(self, paged: float) -> float:
        """Return a moment before which the last beat of a node was, if a page tells of its death."""
        delayed = [start for start, stop in self._disturbed if start < paged < stop + RECONNECTED_WITHIN]
        return min([paged, *delayed]) - TTL + TOLERANCE

    def _told_since(self, at: float) -> float:
        """Return since when a page that came may have been under way."""
        since = at - self._delay(at)
        for start, stop in reversed(self._disturbed):
            if stop + RECONNECTED_WITHIN > since:
                since = min(since, start - self._delay(at))
        return since

    # --- pages that did not come -----------------------------------------------------------

    def _missing(self, now: float) -> Iterator[str]:
        chance = self._model.chance
        if not any(stop + RECONNECTED_WITHIN > now for _, stop in self._disturbed):
            since = max(now - WINDOW, self._restarted)
            unreadable = chance.unreadable(since, now, surely=True)
            if unreadable > UNREACHABLE_FOR + self._delay(now) + 1:
                yield from self._expected(REDIS_UNREACHABLE, since, f"could not be read for {unreadable:.1f} s")
            for start, stop in chance.refusals():
                if now - stop < TTL / 3 and stop - max(start, self._restarted) > TTL / 2 + self._delay(now):
                    yield from self._expected(WRITES_REFUSED, start, f"refused writes for {stop - start:.1f} s")

    def _expected(self, alertname: str, since: float, why: str) -> Iterator[str]:
        key = alertname, ""
        if key not in self._open and self._last.get(key, since) <= since:
            self._last[key] = self._clock()  # the text is given once
            yield f"no {alertname}, though Redis {why}"

    def _due(self, said: float, now: float) -> float:
        due = said + self._delay(now)
        for _, stop in self._disturbed:
            if stop + RECONNECTED_WITHIN > said:
                due = max(due, stop + RECONNECTED_WITHIN + self._delay(now))
        return due

    def _delay(self, at: float) -> float:
        del at
        return DELIVERED_WITHIN + self._model.chance.slack

    def _end(self, name: str) -> None:
        death = self._deaths.pop(name, None)
        if death and not death.paged:
            self._report.deaths["over before their page was due"] += 1
