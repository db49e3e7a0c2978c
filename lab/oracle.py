"""The independent judge: what the contract lets a scrape say, from the values that Redis may have held.

It knows nothing of how the exporter works. What it calls wrong is wrong in any case. Events and pages are judged, too:
an answer that calls a node dead needs an event, an event needs a page, and a page needs an event.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from exporter.contract import GAUGES, HEARTBEAT_TTL, MASS_LOST, NUMBERS, STATUS, STATUSES, UP
from exporter.liveness import State
from exporter.push.alerts import MASS_LOSS, NODE_OFFLINE, PUSHED, REDIS_UNREACHABLE, WRITES_REFUSED
from lab.monitoring import Notice
from lab.platform import COUNTERS, RandomNode
from lab.servers import series_of
from lab.truth import GRACE, HOLD, NEVER, PLAN, QUIET, TOLERANCE, TTL, USUAL_SLACK, Chance, Key, Recorder, Write

DISCOVERY: Final = 1.0
"""Seconds between two looks of the exporter for names."""
READ_TIMEOUT: Final = 2.0
"""Seconds that the exporter gives Redis for one read."""
BUSY_MACHINE: Final = 2.0
"""Additional seconds that discovery may take on a busy machine."""
FAULT_SINCE: Final = "ginkgo_portfolio_fault_since_timestamp_seconds"
ONLINE, OFFLINE, UNDECIDED, GONE = "online", "offline", "undecided", "gone"
_COUNTERS: Final = tuple(metric.name for metric in COUNTERS)
_GAUGES: Final = (*(metric.name for metric in GAUGES), STATUS.name)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a scrape says.

    Attributes:
        since, until: The times of the request and of the complete answer, in monotonic seconds.
        states: The state of each node by its id; None if the answer says that Redis cannot be read.
        values: The values of each node by the metric's name; its status is a text.
        lost: The members of mass losses.
    """

    since: float
    until: float
    states: Mapping[str, str] | None
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    lost: frozenset[str] = frozenset()


def answer_of(since: float, until: float, body: bytes) -> Answer:
    """Return what the body of a scrape says.

    Raises:
        ValueError: It shows nodes beside ``ginkgo_redis_up 0``, or tells of an internal error, an invalid value or a
            fault that is to come.
    """
    series = series_of(body)
    ups, values = series.get(UP.name, {}), dict[str, dict[str, Any]]()
    for name in (*_COUNTERS, *_GAUGES, HEARTBEAT_TTL.name):
        for key, value in series.get(name, {}).items():
            node_id, _, status = key.rpartition(",") if name == STATUS.name else (key, "", "")
            if value or not status:
                values.setdefault(node_id, {})[name] = status or round(value, 9)
    states = dict.fromkeys(values, UNDECIDED) | {name: ONLINE if up else OFFLINE for name, up in ups.items()}
    readable = bool(series["ginkgo_redis_up"][""])
    if states and not readable:
        raise ValueError(f"ginkgo_redis_up 0 beside {states}")
    for name in ("ginkgo_exporter_internal_errors_total", "ginkgo_exporter_invalid_values_total"):
        if any(series.get(name, {}).values()):
            raise ValueError(f"{name} is {series[name]}")
    if max(series.get(FAULT_SINCE, {}).values(), default=0.0) > time.time() + TOLERANCE:
        raise ValueError(f"{FAULT_SINCE} is in the future")
    lost = frozenset(key.rpartition(",")[0] for key in series.get(MASS_LOST.name, {}))
    return Answer(since, until, states if readable else None, values, lost)


def shown(fields: Mapping[str, str]) -> dict[str, Any]:
    """Return what must be shown for the fields of a hash, by the metric's name."""
    values: dict[str, Any] = {
        metric.name: round(float(fields[metric.field]) * metric.multiply / metric.divide, 9)
        for metric in NUMBERS
        if metric.field and metric.field in fields
    }
    return values | ({STATUS.name: fields["status"]} if fields.get("status") in STATUSES else {})


@dataclass(slots=True)
class Memory:
    """The knowledge that the exporter process has of a node, as far as its answers show it.

    Attributes:
        alive: Whether the exporter has seen the node online, and not gone since.
        member: Whether the exporter has called it a member of a mass loss since it was online last.
        offline_at: Time of the request for the first answer that calls the node offline; None if the exporter has seen
            a beat since.
        told_at: Time of that answer.
        beats: The last beats that the exporter surely has seen.
        deadline: Until when the exporter may take the heartbeat to live, by the TTL in its answer.
        asked: Time of the request for the last answer.
    """

    alive: bool = False
    member: bool = False
    offline_at: float | None = None
    told_at: float | None = None
    beats: deque[Write] = field(default_factory=lambda: deque([NEVER], maxlen=60))
    deadline: float = -math.inf
    asked: float = math.inf

    def seen_beat(self, by: float) -> Write:
        """Return the last beat up to a moment that the exporter surely has seen; one of minus infinity without any."""
        return max((beat for beat in self.beats if beat.begun <= by), key=lambda beat: beat.begun, default=NEVER)


class Oracle:
    """Judges answers in the order of their requests.

    Args:
        nodes: The platform's nodes by id.
        recorder: All writes.
        chance: Redis's faults, and how much chance they left.

    Attributes:
        memories: What answers said of each node.
    """

    def __init__(self, nodes: Mapping[str, RandomNode], recorder: Recorder, chance: Chance) -> None:
        self.nodes, self.recorder, self.chance = nodes, recorder, chance
        self.memories = {name: Memory() for name in nodes}
        self._unread_since: float | None = None  # the first answer in a row that says Redis cannot be read

    def judge(self, answer: Answer) -> Iterator[str]:
        """Yield a text for each thing that is wrong in an answer."""
        since = answer.since - self.chance.slack + USUAL_SLACK  # on a busy machine, it may share a read for long
        if self._unread_since is not None:
            since = max(self._unread_since, since - READ_TIMEOUT)  # it may share a read that began before
        faults = [fault for fault in self.chance.faults if not fault.readable]
        if answer.states is None:
            if not any(fault.meets(since, answer.until) for fault in faults):
                yield "it could not read a Redis that is well"
            self._unread_since = answer.since if self._unread_since is None else self._unread_since
            return
        if any(fault.down_from <= since and answer.until <= fault.down_until for fault in faults):
            yield "it read a Redis that was down"
        self._unread_since = None
        for name in self.nodes:
            yield from (f"{name!r}: {wrong}" for wrong in self._judge_node(answer, answer.states, name, since))
        yield from (f"{name!r}: no such node" for name in answer.states.keys() - self.nodes.keys())
        living = [name for name in answer.lost if answer.states.get(name) != OFFLINE]
        yield from (f"{name!r}: a member of a mass loss that is {answer.states.get(name)}" for name in living)

    def heartbeat(self, name: str) -> Key:
        """Return the writes of a node's heartbeat."""
        return self.recorder.keys[self.nodes[name].own_keys[0]]

    def hashes(self, name: str, since: float, until: float) -> list[Any]:
        """Return the hashes that a node may have had in a span; None for a missing one."""
        return self.recorder.keys[self.nodes[name].own_keys[1]].values(since, until)

    def _seen_writes(self, name: str, until: float) -> list[Write]:
        """Return a node's writes of its heartbeat; a beat that was deleted soon after it need not have been seen."""
        writes = [write for write in tuple(self.heartbeat(name).writes) if write.begun <= until]
        ends, seen = [write.begun for write in writes if not write.value], self.memories[name].beats
        soon = TTL / 2 + self.chance.slack
        return [w for w in writes if not w.value or w in seen or not any(0 <= at - w.begun < soon for at in ends)]

    def may_be_offline(self, name: str, since: float, until: float) -> bool:
        """Return whether the contract lets a node be called offline at any moment of a span."""
        seen = self._seen_writes(name, until)
        losses = [fault.since for fault in self.chance.faults if fault.loses]
        for beat in self.heartbeat(name).writes.copy():  # also one that need not have been seen
            if beat.value is None:
                continue
            # After another run of Redis, a node that had stopped looks like one whose data were lost.
            lost = any(beat.begun <= at <= until for at in losses)
            later = (write for write in seen if write.begun > beat.begun and write.sure and not write.lost)
            after = next((write for write in later if write.value or not lost), None)
            last = min(until, after.ended if after else until)
            # The exporter counts from the last beat that it has seen, and that may be an earlier one.
            if last >= max(since, beat.begun + TTL) and self.chance.may_be_over(
                self.memories[name].seen_beat(beat.begun), since - TTL, last
            ):
                return True
        return False

    def told(self, name: str, until: float) -> str:
        """Return a node's last writes up to a moment, and the spans without chance."""
        writes = [write for write in tuple(self.heartbeat(name).writes) if write.begun <= until]
        return f"at {until:.3f} s, after {writes[-3:]}; no chance {self.chance.sure()}"

    def _judge_node(self, answer: Answer, states: Mapping[str, str], name: str, since: float) -> Iterator[str]:
        memory, state, until = self.memories[name], states.get(name, GONE), answer.until
        allowed = self._allowed(name, memory, since, until)
        if state not in allowed:
            yield f"{state} instead of {'|'.join(sorted(allowed))} ({self.told(name, until)})"
        values = answer.values.get(name, {})
        if state != GONE:
            yield from self._judge_values(name, state, values, since, until)
        memory.member = state not in (ONLINE, GONE) and (memory.member or name in answer.lost)
        memory.asked = since
        if state == ONLINE:
            memory.alive, memory.offline_at, memory.told_at = True, None, None
            memory.deadline = max(memory.deadline, until + values.get(HEARTBEAT_TTL.name, TTL))
            beats = self.heartbeat(name).possible(since, until, values_only=True)
            # It may share a read that another scrape began a moment before.
            memory.beats += [beat for beat in beats if beat.sure and beat.ended <= since - USUAL_SLACK][:1]
        elif state == OFFLINE:
            memory.offline_at, memory.told_at = memory.offline_at or since, memory.told_at or until
        elif state == GONE:
            memory.alive, memory.offline_at, memory.told_at = False, None, None

    def _allowed(self, name: str, memory: Memory, since: float, until: float) -> set[str]:
        """Return the states that a node may be shown in.

        A death must be true, and so must a life. Where nothing has happened for long enough, only one state is right.
        """
        heartbeat, allowed = self.heartbeat(name), {UNDECIDED, GONE}
        living = [beat for beat in heartbeat.possible(since, until) if beat.value is not None]
        if since < memory.deadline + TOLERANCE or any(beat.ended + TTL >= since - TOLERANCE for beat in living):
            allowed.add(ONLINE)
        beaten = max(
            (write.begun for write in self._seen_writes(name, until) if write.value and write.sure), default=-math.inf
        )
        stays = beaten < (memory.offline_at or -math.inf)
        if stays or not memory.alive or self.may_be_offline(name, min(since, memory.asked), until):
            allowed.add(OFFLINE)
        quiet_since = since - GRACE - HOLD - DISCOVERY - BUSY_MACHINE - self.chance.slack
        lost = any(write.lost for write in tuple(heartbeat.writes))
        if lost or self.chance.troubled(quiet_since, until):
            return allowed
        written, hashes = heartbeat.possible(quiet_since, until), self.hashes(name, quiet_since, until)
        if all(write.value for write in written) and all(hashes):
            beating = all(after.begun - before.ended < TTL for after, before in pairwise(written))
            if beating and written[0].begun + TTL > until:
                return allowed & {ONLINE}
            if len(written) == 1 and written[0].ended + TTL < quiet_since:
                # A dead node is forgotten when its work has moved, if it is new or was lost with others.
                plans = self.recorder.keys[PLAN].values(quiet_since, math.inf)
                moved = any(name not in (plan or {}).values() for plan in plans)
                forgotten = moved and (memory.member or not memory.alive)
                return allowed & ({OFFLINE, GONE} if forgotten else {OFFLINE})
        return allowed & {GONE} if len(written) == 1 and not any(hashes) else allowed

    def _judge_values(
        self, name: str, state: str, values: Mapping[str, Any], since: float, until: float
    ) -> Iterator[str]:
        hashes = [shown(fields or {}) for fields in self.hashes(name, since, until)]
        for key in (*_GAUGES, *_COUNTERS):
            possible = {None} if key in _GAUGES and state != ONLINE else {each.get(key) for each in hashes}
            if values.get(key) not in possible:
                yield f"{key} is {values.get(key)} instead of {possible}"


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
