"""Judges events and pages: an answer, an event and a page tell of each death, and of no living node.

An answer that calls a node dead needs an event, an event needs a page, and a page needs an event.
"""

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from exporter.liveness import State
from exporter.push.alerts import MASS_LOSS, NODE_OFFLINE, PUSHED, REDIS_UNREACHABLE, WRITES_REFUSED
from lab.monitoring import Notice
from lab.oracle import OFFLINE, READ_TIMEOUT, Oracle
from lab.truth import HOLD, QUIET, TOLERANCE, TTL

DELIVERED_WITHIN: Final = 3.0 + READ_TIMEOUT
"""Seconds from a verdict to its page: a read that fails meanwhile, post, Alertmanager's groups, webhook."""
UNREACHABLE_FOR, WINDOW = 60.0, 120.0
UNIX: Final = time.time() - time.monotonic()
"""Unix time at the monotonic time 0."""
_STATES: Final = frozenset(State)


@dataclass(slots=True)
class Death:
    """A node's last death by the events.

    Attributes:
        said: Time of the event.
        over: Time of the node's next event.
        lost: Whether it is a member of a mass loss, which has one page.
        paged: Whether there was a page for this death.
    """

    said: float
    over: float = math.inf
    lost: bool = False
    paged: bool = False


class Pages:
    """Compares events and notifications with the writes of the nodes, with the exporter's answers and with each other.

    Args:
        oracle: The truth about each node, and what answers said of it.
        beside_rules: Whether Prometheus posts the same alerts. It repeats an end for minutes, which ends a new alert
            until the next post of the exporter.

    Attributes:
        counts: What came of deaths, how many pages came, and what else is counted for the report.
    """

    def __init__(self, oracle: Oracle, *, beside_rules: bool) -> None:
        self._oracle, self._beside_rules = oracle, beside_rules
        self.counts: Counter[str] = Counter()
        self._open: dict[tuple[str, str], float] = {}  # pages whose alert has not ended, and when they came
        self._last: dict[tuple[str, str], Notice] = {}
        self._deaths: dict[str, Death] = {}
        self._states: dict[str, str] = {}
        self._heard = self._newest = 0

    def judge(self, events: Sequence[Mapping[str, Any]], notices: Sequence[Notice], now: float) -> Iterator[str]:
        """Yield a text for all that is wrong or missing, given all notices and the events after them, newest first."""
        for event in reversed(events):
            if event["id"] > self._newest:
                self._newest = event["id"]
                yield from (f"event {event}: {wrong}" for wrong in self._judge_event(event, now))
        heard, self._heard = notices[self._heard :], len(notices)
        for notice in heard:
            yield from self._hear(notice)
        for name, memory in self._oracle.memories.items():
            last, told = self._deaths.get(name, Death(0.0, 0.0)), memory.told_at
            if told is not None and last.over < told - self._delay < now - 2 * self._delay:
                self._deaths[name] = Death(told)
                yield f"{name!r}: no event of its death, {now - told:.1f} s ago"
        for name, death in self._deaths.items():
            alone, member = (NODE_OFFLINE, name) in self._open, any(key[0] == MASS_LOSS for key in self._open)
            member = member and death.lost
            late = death.over == math.inf and now > death.said + self._delay
            if not death.paged and (alone or member or late):
                death.paged = True
                self.counts["death: paged in common" if member else "death: paged alone"] += 1
                if not alone and not member:
                    yield f"{name!r}: no page for its death, {now - death.said:.1f} s ago (member {death.lost})"

    def _judge_event(self, event: Mapping[str, Any], now: float) -> Iterator[str]:
        at, before, after = event["time"] - UNIX, event["from"], event["to"]
        if before == after:
            yield "nothing has changed"
        if event["time"] > now + UNIX + TOLERANCE:
            yield "it is from the future"
        for name in event["subjects"] if event["kind"] == "node" and after in _STATES else ():
            last, self._states[name] = self._states.get(name), after
            if before and last not in (before, None):
                yield f"{name!r} was {last}"
            if last == OFFLINE:
                self._deaths[name].over = at
            if after == OFFLINE:
                self._deaths[name] = Death(at, lost="loss" in event["evidence"])
                if not self._oracle.may_be_offline(name, at - self._delay, at + READ_TIMEOUT):  # its look began at `at`
                    yield f"the node lives ({self._oracle.told(name, at)})"

    def _hear(self, notice: Notice) -> Iterator[str]:
        key = alertname, name = notice.about
        self.counts[f"page: {alertname} {notice.status}"] += 1
        before = self._last.get(key)
        if notice.status != "firing":
            self._open.pop(key, None)
            if self._beside_rules and before and notice.alert["endsAt"] < before.alert["startsAt"]:
                del self._last[key]  # an earlier end was repeated
        if notice.status != "firing" or alertname not in PUSHED:
            return
        opened, self._last[key] = self._open.setdefault(key, notice.at), notice
        if before and name:
            beats = [write.ended for write in tuple(self._oracle.heartbeat(name).writes) if write.value]
            if opened != notice.at:
                yield f"{key}: a second page while the first is open"
            elif max(beats, default=0.0) <= before.at - TTL + TOLERANCE:
                yield f"{key}: a second page for one death, {notice.at - before.at:.1f} s after the first"
        if wrong := self._false(alertname, name, notice.at - self._delay, notice.at):
            yield f"{key}: a page though {wrong}"

    def _false(self, alertname: str, name: str, since: float, at: float) -> str:
        """Return why a page that was under way since a moment is false; empty if it is right."""
        oracle, chance = self._oracle, self._oracle.chance
        if alertname == NODE_OFFLINE:
            if not oracle.may_be_offline(name, since, at):
                return f"the node lives ({oracle.told(name, at)})"
            told = name in self._deaths and self._deaths[name].said >= since
            return "" if told else "no event tells of a death just before"
        true = {
            MASS_LOSS: sum(oracle.may_be_offline(each, since - TTL - HOLD, at) for each in oracle.nodes) > 2,
            REDIS_UNREACHABLE: chance.unreadable(since - WINDOW, at) > UNREACHABLE_FOR,
            WRITES_REFUSED: chance.refused(since - QUIET),
        }
        return "" if true[alertname] else "its cause is missing"

    @property
    def _delay(self) -> float:
        return DELIVERED_WITHIN + self._oracle.chance.slack
