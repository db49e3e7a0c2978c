"""Judges pages and events: each death has one page and one event, and no living node has any."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from exporter.push.alerts import MASS_LOSS, NODE_OFFLINE, REDIS_UNREACHABLE, WRITES_REFUSED
from exporter.source.names import shown_id
from lab.monitoring import Notice
from lab.oracle import GONE, OFFLINE, ONLINE, READ_TIMEOUT, Answer, Oracle
from lab.truth import HOLD, QUIET, TOLERANCE, TTL

DELIVERED_WITHIN: Final = 3.0 + READ_TIMEOUT
"""Seconds from a verdict to its page: a read that fails meanwhile, post, Alertmanager's groups, webhook."""
RECONNECTED_WITHIN: Final = 9.0
"""Seconds until the exporter has posted all alerts to an Alertmanager that is back: timeout, backoff, refresh."""
UNREACHABLE_FOR, WINDOW = 60.0, 120.0
EVENT_WITHIN: Final = 1.0
"""Seconds by which an event's time may differ from the look that shows the change."""


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
        oracle: The truth about each node.
        clock: Returns monotonic seconds.

    Attributes:
        counts: What came of deaths, and how many pages came.
    """

    def __init__(self, oracle: Oracle, clock: Callable[[], float] = time.monotonic) -> None:
        self._oracle, self._clock = oracle, clock
        self.counts: Counter[str] = Counter()
        self._open: dict[tuple[str, str], float] = {}  # pages whose alert has not ended, and when they came
        self._last: dict[tuple[str, str], float] = {}
        self._deaths: dict[str, Death] = {}
        self._disturbed: list[list[float]] = []  # spans in which pages could not be delivered
        self._heard = 0

    def disturb(self) -> None:
        """Take note that from now on pages may be late, or come twice."""
        self._disturbed.append([self._clock(), float("inf")])

    def undisturb(self) -> None:
        """Take note that from now on pages can be delivered again."""
        self._disturbed[-1][1] = self._clock()

    def disturbed(self, since: float, until: float) -> bool:
        """Return whether a page may have been late at any moment of a span, or its post may not have been answered."""
        return any(start <= until and since < stop + RECONNECTED_WITHIN for start, stop in self._disturbed)

    def exporter_started(self) -> None:
        """Take note of a new exporter process, which knows no earlier mass loss."""
        for death in self._deaths.values():
            death.member = False

    def saw(self, answer: Answer) -> None:
        """Take note of an answer of the exporter."""
        if answer.states is None:
            return
        for name in [name for name in self._deaths if answer.states.get(name, GONE) in (ONLINE, GONE)]:
            self.counts["deaths that were over early"] += not self._deaths.pop(name).paged
        for name, state in answer.states.items():
            if state == OFFLINE and name not in self._deaths:
                self._deaths[name] = Death(answer.until)
                self.counts["deaths"] += 1
        for name in answer.lost & self._deaths.keys():
            self._deaths[name].member = True

    def judge(self, notices: Sequence[Notice]) -> Iterator[str]:
        """Yield a text for each page that is wrong, and for each that is missing, given all notices so far."""
        heard = notices[self._heard :]  # another thread may append more
        self._heard += len(heard)
        for notice in heard:
            yield from self._hear(notice)
        now, chance = self._clock(), self._oracle.chance
        for name, death in self._deaths.items():
            member = death.member and (MASS_LOSS, "") in self._open
            late = now > death.said + self._delay and not self.disturbed(death.said, now - self._delay)
            if not death.paged and ((NODE_OFFLINE, name) in self._open or member or late):
                death.paged = True
                self.counts["deaths paged in common" if member else "deaths paged alone"] += 1
                if (NODE_OFFLINE, name) not in self._open and not member:
                    yield f"{name!r}: no page for its death, {now - death.said:.1f} s ago (member {death.member})"
        unreadable = chance.unreadable(now - WINDOW, now, surely=True)
        if unreadable > UNREACHABLE_FOR + self._delay + 1 and not self.disturbed(now - WINDOW, now):
            yield from self._expected(REDIS_UNREACHABLE, now - WINDOW, f"could not be read for {unreadable:.1f} s")
        for start, stop in chance.refusals():
            if now - stop < TTL / 3 and stop - start > QUIET + self._delay and not self.disturbed(start, now):
                yield from self._expected(WRITES_REFUSED, start, f"refused writes for {stop - start:.1f} s")

    def _hear(self, notice: Notice) -> Iterator[str]:
        key = alertname, name = notice.about
        self.counts[f"{alertname} {notice.status}"] += 1
        if notice.status != "firing":
            self._open.pop(key, None)
            return
        before, opened = self._last.get(key), self._open.setdefault(key, notice.at)
        self._last[key] = notice.at
        if before is not None and name and not self.disturbed(before - self._delay, notice.at):
            if opened != notice.at:
                yield f"{key}: a second page while the first is open"
            elif not self._oracle.beaten_since(name, before - TTL + TOLERANCE):
                yield f"{key}: a second page for one death, {notice.at - before:.1f} s after the first"
        since = notice.at - self._delay
        for start, stop in reversed(self._disturbed):
            since = min(since, start - self._delay) if stop + RECONNECTED_WITHIN > since else since
        if wrong := self._false(alertname, name, since, notice.at):
            yield f"{key}: a page though {wrong}"

    def _false(self, alertname: str, name: str, since: float, at: float) -> str:
        """Return why a page that was under way since a moment is false; empty if it is right."""
        oracle, chance = self._oracle, self._oracle.chance
        if alertname == NODE_OFFLINE:
            if not oracle.may_be_offline(name, since, at):
                return f"the node lives ({oracle.told(name, at)})"
            death = self._deaths.get(name)
            return "it is a member of a mass loss" if death and death.member and death.said < since else ""
        if alertname == MASS_LOSS:
            dead = [one for one in oracle.nodes if oracle.may_be_offline(one, since - TTL - HOLD, at)]
            return f"only {dead} may be dead" if len(dead) < 3 else ""
        if alertname == REDIS_UNREACHABLE:
            unreadable = chance.unreadable(since - WINDOW, at, surely=False)
            return f"Redis could not be read for {unreadable:.1f} s at most" if unreadable < UNREACHABLE_FOR else ""
        if alertname == WRITES_REFUSED:
            return "" if any(stop > since - QUIET for _, stop in chance.refusals()) else "Redis refused no write"
        return "there is no such alert"

    def _expected(self, alertname: str, since: float, why: str) -> Iterator[str]:
        key = alertname, ""
        if key not in self._open and self._last.get(key, since) <= since:
            self._last[key] = self._clock()  # the text is given once
            yield f"no {alertname}, though Redis {why}"

    @property
    def _delay(self) -> float:
        return DELIVERED_WITHIN + self._oracle.chance.slack


class Events:
    """Compares the journal of one exporter after the other with the truth.

    Args:
        oracle: The truth about each node.
        behind: Unix time less monotonic seconds.

    Attributes:
        counts: The events by their kinds.
    """

    def __init__(self, oracle: Oracle, behind: float | None = None) -> None:
        self._oracle, self.counts = oracle, Counter[str]()
        self.behind = time.time() - time.monotonic() if behind is None else behind
        self.exporter_started(0.0)

    def exporter_started(self, at: float) -> None:
        """Take note of a new process, whose journal begins empty."""
        self._started, self._ids, self._dead = at, set[int](), dict[str, float]()

    def saw(self, answer: Answer) -> None:
        """Take note of an answer: each death that it shows has its event."""
        for name, state in (answer.states or {}).items():
            if state == OFFLINE:
                self._dead.setdefault(name, answer.until)
            else:
                self._dead.pop(name, None)

    def judge(self, events: Iterable[Mapping[str, Any]], asked: float) -> Iterator[str]:
        """Yield a text for each untrue event and each death without one, given the last minute's events."""
        slack = EVENT_WITHIN + self._oracle.chance.slack
        names = {shown_id(name.encode()): name for name in self._oracle.nodes}
        told = set[str]()
        for event in events:
            at, dies = event["time"] - self.behind, event["kind"] == "node" and event["to"] == OFFLINE
            told.update(names.get(subject, "") for subject in event["subjects"] if dies)
            if event["id"] in self._ids:
                continue
            self._ids.add(event["id"])
            self.counts[f"{event['kind']}: {event['to']}"] += len(event["subjects"])
            for subject in event["subjects"] if dies else ():
                if not self._oracle.may_be_offline(names.get(subject, ""), at - slack, at + slack):
                    yield f"an event says that {subject!r} died, and it lives"
            faults = [fault for fault in self._oracle.chance.faults if not fault.readable]
            well = at > self._started + slack and not any(fault.meets(at - slack, at + slack) for fault in faults)
            if event["to"] == "cannot be read" and well:
                yield f"an event says that Redis cannot be read ({event['evidence'].get('because')}), and it is well"
        for name, at in self._dead.items():
            if self._started + 60 > asked and at + slack < asked and name not in told:
                self._dead[name] = asked + 3600  # it is told once
                yield f"no event of the death of {name!r}"
