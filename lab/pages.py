"""Judges pages: each death has one, and no living node has any."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from exporter.push.alerts import MASS_LOSS, NODE_OFFLINE, REDIS_UNREACHABLE, WRITES_REFUSED
from lab.monitoring import Notice
from lab.oracle import GONE, OFFLINE, ONLINE, READ_TIMEOUT, Answer, Oracle
from lab.truth import HOLD, QUIET, TOLERANCE, TTL

DELIVERED_WITHIN: Final = 3.0 + READ_TIMEOUT
"""Seconds from a verdict to its page: a read that fails meanwhile, post, Alertmanager's groups, webhook."""
UNREACHABLE_FOR, WINDOW = 60.0, 120.0


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

    Attributes:
        counts: What came of deaths, and how many pages came.
    """

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self.counts: Counter[str] = Counter()
        self._open: dict[tuple[str, str], float] = {}  # pages whose alert has not ended, and when they came
        self._last: dict[tuple[str, str], float] = {}
        self._deaths: dict[str, Death] = {}
        self._heard = 0

    def saw(self, answer: Answer) -> None:
        """Take note of an answer of the exporter."""
        if answer.states is None:
            return
        for name in [name for name in self._deaths if answer.states.get(name, GONE) in (ONLINE, GONE)]:
            del self._deaths[name]
        for name, state in answer.states.items():
            if state == OFFLINE and name not in self._deaths:
                self._deaths[name] = Death(answer.until)
                self.counts["deaths"] += 1
        for name in answer.lost & self._deaths.keys():
            self._deaths[name].member = True

    def judge(self, notices: Sequence[Notice], now: float) -> Iterator[str]:
        """Yield a text for each page that is wrong, and for each that is missing, given all notices until now."""
        heard = notices[self._heard :]  # another thread may append more
        self._heard += len(heard)
        for notice in heard:
            yield from self._hear(notice)
        for name, death in self._deaths.items():
            alone, member = (NODE_OFFLINE, name) in self._open, death.member and (MASS_LOSS, "") in self._open
            late = now > death.said + self._delay
            if not death.paged and (alone or member or late):
                death.paged = True
                self.counts["deaths paged in common" if member else "deaths paged alone"] += 1
                if not alone and not member:
                    yield f"{name!r}: no page for its death, {now - death.said:.1f} s ago (member {death.member})"

    def _hear(self, notice: Notice) -> Iterator[str]:
        key = alertname, name = notice.about
        self.counts[f"{alertname} {notice.status}"] += 1
        if notice.status != "firing":
            self._open.pop(key, None)
            return
        before, opened = self._last.get(key), self._open.setdefault(key, notice.at)
        self._last[key] = notice.at
        if before is not None and name:
            beats = [write.ended for write in tuple(self._oracle.heartbeat(name).writes) if write.value]
            if opened != notice.at:
                yield f"{key}: a second page while the first is open"
            elif max(beats, default=0.0) <= before - TTL + TOLERANCE:
                yield f"{key}: a second page for one death, {notice.at - before:.1f} s after the first"
        if wrong := self._false(alertname, name, notice.at - self._delay, notice.at):
            yield f"{key}: a page though {wrong}"

    def _false(self, alertname: str, name: str, since: float, at: float) -> str:
        """Return why a page that was under way since a moment is false; empty if it is right."""
        oracle, chance = self._oracle, self._oracle.chance
        if alertname == NODE_OFFLINE:
            if not oracle.may_be_offline(name, since, at):
                return f"the node lives ({oracle.told(name, at)})"
            death = self._deaths.get(name)
            return "it is a member of a mass loss" if death and death.member and death.said < since else ""
        true = {
            MASS_LOSS: sum(oracle.may_be_offline(each, since - TTL - HOLD, at) for each in oracle.nodes) > 2,
            REDIS_UNREACHABLE: chance.unreadable(since - WINDOW, at) > UNREACHABLE_FOR,
            WRITES_REFUSED: chance.refused(since - QUIET),
        }
        return "" if true.get(alertname) else "its cause is missing"

    @property
    def _delay(self) -> float:
        return DELIVERED_WITHIN + self._oracle.chance.slack
