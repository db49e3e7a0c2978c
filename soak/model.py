"""The judge of the judge: from what Redis may have held, what the contract lets the exporter say of each node.

It knows nothing of how the exporter comes to its answers. Whatever is not known to
the moment (when a write happened, when a read began) counts for the exporter; what
is left is wrong in any case.
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from exporter.contract import COUNTERS, GAUGES, NODE_METRICS
from exporter.liveness.judge import State
from exporter.source.discovery import SHARE
from soak.nodes import Node, Platform
from soak.servers import BEAT, DISCOVERY, READ_TIMEOUT, TTL
from soak.sights import Seen, Sight
from soak.truth import UNREADABLE, Fault, Write

GRACE: Final = TTL + BEAT
"""Seconds for which a node without heartbeat is undecided after a fault of Redis's."""
BUSY_MACHINE: Final = 2.0
"""Seconds more that discovery may take on a machine that has no time for it."""
TOLERANCE: Final = 0.05
"""Seconds by which Redis's clock may differ from ours: it is cached, and in milliseconds."""

_GAUGES: Final = frozenset((*(metric.json for metric in GAUGES), "status"))
_COUNTERS: Final = frozenset(metric.json for metric in COUNTERS)
_OF_HASH: Final = _GAUGES | _COUNTERS
_OF_NODE: Final = frozenset(metric.json for metric in NODE_METRICS if metric.json)


@dataclass(slots=True)
class Memory:
    """What this exporter process knows of a node, as its answers show.

    Attributes:
        known: It may have read it, and not seen it gone since.
        alive: It has seen it online, and not gone since.
        offline_at: When it first said offline, with no beat since.
        seen: The last answer with the node in it.
        since: When that one was asked for.
        beaten: When the last beat was written that it may have seen: no more is known of what came and went between two
            answers.
        unseen: It was alive in the last answer before Redis came back as another, and what befell it between is not
            known: it may have stopped, or have been lost.
        deadline: Until when its heartbeat may be thought to live: what it had left, reckoned from the answer.
        states: The last states, each with the time of the question.
    """

    known: bool = False
    alive: bool = False
    offline_at: float | None = None
    seen: Seen | None = None
    since: float = -math.inf
    beaten: float = -math.inf
    unseen: bool = False
    deadline: float = -math.inf
    states: deque[tuple[float, State]] = field(default_factory=lambda: deque(maxlen=4))

    def told(self, at: float) -> str:
        """Return the last states, each with the seconds since."""
        return ", ".join(f"{state} {at - then:.3f}" for then, state in self.states)


@dataclass(slots=True)
class Model:
    """Judges sights, in the order in which they were seen.

    Attributes:
        platform: The truth.
        faults: All faults of Redis's that may still matter, the latest last.
        started: When the exporter was started.
    """

    platform: Platform
    faults: list[Fault] = field(default_factory=list)
    started: float = 0.0
    _memories: dict[str, Memory] = field(default_factory=dict)
    _readable: float = math.inf  # when Redis was last read for sure; not yet by a new exporter
    _undecided_until: float = -math.inf
    _found_within: float = DISCOVERY + BUSY_MACHINE
    _waiting_since: float | None = None  # the first of several answers that say Redis cannot be read

    def exporter_started(self, at: float) -> None:
        """Forget what the last process knew."""
        self.started, self._memories, self._readable, self._undecided_until = at, {}, math.inf, -math.inf
        self._waiting_since = None

    def judge(self, sight: Sight) -> Iterator[str]:
        """Yield what is wrong."""
        with self.platform.lock:
            since = sight.since
            if not sight.fresh and self._waiting_since is not None:
                since = max(self._waiting_since, since - READ_TIMEOUT)  # it may share a read that began before
            if sight.nodes is None:
                yield from self._judge_unreadable(sight, since)
                return
            if any(fault.down_from <= since and sight.until <= fault.down_until for fault in self.faults):
                yield "it read a Redis that was down"
            if not sight.fresh:
                self._note_readable(since, sight.until)
            if found := sight.own.get(("ginkgo_exporter_discovery_duration_seconds",)):
                self._found_within = max(DISCOVERY, found / SHARE) + BUSY_MACHINE
            for name, node in self.platform.nodes.items():
                for wrong in self._judge_node(sight, node, sight.nodes.get(name), since):
                    yield f"{name!r}: {wrong}"
            for name in sight.nodes.keys() - self.platform.nodes.keys():
                yield f"{name!r}: no such node"

    def written_in(self, name: str, since: float, until: float) -> bool:
        """Return whether a node's hash may have changed in a span."""
        with self.platform.lock:
            node = self.platform.nodes.get(name)
            return node is None or len(node.hash.possible(since, until)) > 1

    def _judge_unreadable(self, sight: Sight, since: float) -> Iterator[str]:
        starting = since < self.started + self._found_within
        if not starting and not any(fault.hits(since, sight.until) for fault in self.faults):
            yield "it could not read a Redis that is well"
        if self._waiting_since is None:
            self._waiting_since = sight.since
        for name, node in self.platform.nodes.items():  # what was read of them before the fault is remembered
            if any(write.value is not None for write in node.heartbeat.possible(since, sight.until)):
                self._memories.setdefault(name, Memory()).known = True

    def _note_readable(self, since: float, until: float) -> None:
        self._waiting_since = None
        restarted = any(fault.restart and fault.until >= self._readable for fault in self.faults)
        if until - self._readable > UNREADABLE or restarted:
            self._undecided_until = until + GRACE
        new = self._readable == math.inf
        if new and any(fault.restart and fault.until + GRACE > since - 1 for fault in self.faults):
            self._undecided_until = max(f.until for f in self.faults if f.restart) + GRACE + 1  # INFO's full seconds
        self._readable = since
        self.faults = [fault for fault in self.faults if fault.until + 4 * GRACE > since]

    # --- one node --------------------------------------------------------------------------

    def _judge_node(self, sight: Sight, node: Node, seen: Seen | None, since: float) -> Iterator[str]:
        memory = Memory() if sight.fresh else self._memories.setdefault(node.name, Memory())
        memory.unseen |= memory.alive and self._restarted_since(memory, sight.until)
        state = seen.state if seen else State.GONE
        allowed = self._allowed(sight, node, memory, since)
        if state not in allowed:
            names = "|".join(sorted(allowed))
            yield f"{state} instead of {names} ({_told(node, since, sight.until)}; before: {memory.told(since)})"
        if seen:
            yield from self._judge_values(sight, node, seen, since, memory)
        if seen and not sight.fresh:
            if memory.seen and not any(birth > memory.since for birth in node.births):
                yield from _gone_back(memory.seen, seen)
            if "last_heartbeat" in sight.shows:
                memory.seen, memory.since = seen, since
        memory.known = state is not State.GONE
        there = [write.ended for write in node.heartbeat.possible(since, sight.until) if write.value is not None]
        memory.beaten = max([memory.beaten, *there])
        memory.states.append((since, state))
        if state in (State.ONLINE, State.GONE):
            memory.unseen = False
        if seen and state is State.ONLINE:
            memory.alive, memory.offline_at = True, None
            beats = node.heartbeat.possible(since, sight.until, values_only=True)
            most = min(TTL, max(beat.ended for beat in beats) + TTL - since) if beats else 0.0
            memory.deadline = max(memory.deadline, sight.until + seen.values.get("heartbeat_ttl_seconds", most))
        elif state is State.OFFLINE:
            memory.offline_at = memory.offline_at or since
        elif state is State.GONE:
            memory.alive, memory.offline_at = False, None

    def _allowed(self, sight: Sight, node: Node, memory: Memory, since: float) -> set[State]:
        until = sight.until
        beats, hashes = node.heartbeat.possible(since, until), node.hash.possible(since, until)
        allowed = set()
        if any(_may_live(beat, since) for beat in beats):
            allowed.add(State.ONLINE)
        if any(_may_be_over(beat, until) for beat in beats):
            if any(write.value is not None for write in hashes):
                allowed |= self._without_beat(sight, node, memory, since)
            if missing := [write for write in hashes if write.value is None]:
                lost = memory.known and (memory.unseen or _lost_since_beat(node, memory.beaten, until))
                if lost or (memory.offline_at is not None and any(write.lost for write in missing)):
                    allowed |= self._without_beat(sight, node, memory, since)
                if not (lost and memory.alive) or any(not write.lost for write in missing):
                    allowed.add(State.GONE)
        looked = 0.0 if sight.fresh else self._found_within
        if not memory.alive and memory.offline_at is None and since < self._findable(node, sight) + looked:
            allowed.add(State.GONE)
        return allowed

    def _restarted_since(self, memory: Memory, until: float) -> bool:
        """Return whether Redis may have come back as another since the last answer about a node."""
        last = memory.states[-1][0] if memory.states else until
        return any(fault.restart and last <= fault.until and fault.since <= until for fault in self.faults)

    def _findable(self, node: Node, sight: Sight) -> float:
        """Return when a node could first be found: there, with the exporter and Redis at work."""
        faults = [fault.until for fault in self.faults if fault.since <= sight.until]
        return max(node.appeared, self.started, *faults) if faults else max(node.appeared, self.started)

    def _without_beat(self, sight: Sight, node: Node, memory: Memory, since: float) -> set[State]:
        """Return what may be said of a node whose hash alone is there, or whose keys were lost."""
        until = sight.until
        beats = node.heartbeat.possible(since, until, values_only=True)
        allowed = set()
        if memory.offline_at is not None:
            allowed.add(State.OFFLINE)  # and so it stays, unless it was seen to beat
            if all(beat.begun < memory.offline_at for beat in beats):
                return allowed
        if since < memory.deadline + TOLERANCE or any(_may_live(beat, since) for beat in beats):
            allowed.add(State.ONLINE)
        if since < self._undecided_until + TOLERANCE or (sight.fresh and self._restarted_before(until, GRACE + 1)):
            allowed.add(State.UNDECIDED)
        known = memory.alive and not sight.fresh
        if (any(_may_be_over(beat, until) for beat in beats) or not known) and not self._in_grace(
            node, until, known=known
        ):
            allowed.add(State.OFFLINE)
        return allowed

    def _restarted_before(self, until: float, seconds: float) -> bool:
        return any(fault.restart and until < fault.until + seconds for fault in self.faults)

    def _in_grace(self, node: Node, until: float, *, known: bool) -> bool:
        """Return whether a node without heartbeat must not be called dead, since Redis was at fault."""
        beaten = max((write.ended for write in tuple(node.heartbeat.writes) if write.value and write.sure), default=0.0)
        for fault in self.faults:
            if not fault.extends or beaten > fault.until + TOLERANCE:
                continue
            if beaten > fault.down_from:
                return False  # it may have extended this beat's deadline, and then the next one does not
            grace = GRACE if known else GRACE - 1 if fault.restart else 0.0  # a newcomer has INFO's full seconds
            return fault.since < until < fault.down_until + grace
        return False

    def _judge_values(self, sight: Sight, node: Node, seen: Seen, since: float, memory: Memory) -> Iterator[str]:
        until = sight.until
        hashes = node.hash.possible(since, until)
        beats = node.heartbeat.possible(since, until)
        for key in sorted(sight.shows & _OF_HASH):
            value = seen.values.get(key)
            possible = {write.value and write.value[key] for write in hashes}
            if key in _GAUGES and seen.state is not State.ONLINE:
                possible = {None}
            if value not in possible:
                yield f"{key} is {value} instead of {possible}"
        if "heartbeat_ttl_seconds" in sight.shows:
            ttl = seen.values["heartbeat_ttl_seconds"]
            if not any(_may_be_left(beat, ttl, since, until) for beat in beats):
                yield f"heartbeat_ttl_seconds is {ttl} ({_told(node, since, until)})"
        if "last_heartbeat" in sight.shows:
            written = seen.values.get("last_heartbeat")
            remembered = node.heartbeat.possible(min(since, memory.since), until, values_only=True)
            possible = {beat.value for beat in remembered} | {memory.seen and memory.seen.values.get("last_heartbeat")}
            if not memory.alive:
                possible.add(None)
            if written not in possible:
                yield f"last_heartbeat is {written} instead of {possible}"


def _may_live(beat: Write, since: float) -> bool:
    return beat.value is not None and beat.ended + TTL >= since - TOLERANCE


def _may_be_over(beat: Write, until: float) -> bool:
    return beat.value is None or beat.begun + TTL <= until + TOLERANCE


def _may_be_left(beat: Write, ttl: float, since: float, until: float) -> bool:
    if ttl == 0:
        return _may_be_over(beat, until)
    least, most = TTL - (until - beat.begun), TTL - max(0.0, since - beat.ended)
    return beat.value is not None and ttl > 0 and least - TOLERANCE <= ttl <= most + TOLERANCE


def _lost_since_beat(node: Node, beaten: float, until: float) -> bool:
    """Return whether Redis may have lost what a node wrote, and no beat have been seen since."""
    for write in reversed(node.heartbeat.writes):
        if write.lost and write.begun <= until:
            return True
        if write.value is not None and write.sure and write.ended <= beaten:
            return False
    return False


def _gone_back(before: Seen, now: Seen) -> Iterator[str]:
    for key in _COUNTERS & before.values.keys() & now.values.keys():
        if now.values[key] < before.values[key]:
            yield f"{key} went back from {before.values[key]} to {now.values[key]}"


def _told(node: Node, since: float, until: float) -> str:
    """Return a node's last writes, in seconds before the answer."""
    last = [write for write in node.heartbeat.writes if write.begun <= until][-3:]
    texts = ", ".join(
        f"{'beat' if write.value else 'lost' if write.lost else 'deleted'}"
        f" {until - write.begun:.3f}-{until - write.ended:.3f}{'' if write.sure else '?'}"
        for write in last
    )
    return f"asked {until - since:.3f} s before; {node.mode}; heartbeat: {texts}"
