"""One node in an answer: whether its values are the ones that it wrote, and what the exporter knows of it since."""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from exporter.contract import COUNTERS, GAUGES
from exporter.liveness.judge import State
from lab.soak.answers import Answer, ShownNode
from lab.soak.nodes import Node
from lab.soak.servers import TTL
from lab.soak.truth import TOLERANCE, Write

_NEVER: Final = Write(0.0, -math.inf, -math.inf, sure=True)
_GAUGES: Final = frozenset((*(metric.json for metric in GAUGES), "status"))
_COUNTERS: Final = frozenset(metric.json for metric in COUNTERS)
_OF_HASH: Final = _GAUGES | _COUNTERS


@dataclass(slots=True)
class Memory:
    """The knowledge that the exporter process has of a node, as far as its answers show it.

    Attributes:
        known: Whether the exporter may have read the node, and has not seen it gone since.
        alive: Whether the exporter has seen the node online, and not gone since.
        offline_at: Time of the first answer that calls the node offline; None if the exporter has seen a beat since.
        seen: The last answer with the node in it.
        since: Time of the request for that answer.
        beaten: Time of the last beat that the exporter may have seen.
        beats: The last beats that the exporter surely has seen.
        unseen: Whether the node was alive in the last answer before Redis came back as another run or lost its data.
            It may have stopped before that, or its keys may have been lost.
        deadline: Until when the exporter may take the heartbeat to live, by the TTL in its answer.
        states: The last states, each with the time of the request.
    """

    known: bool = False
    alive: bool = False
    offline_at: float | None = None
    seen: ShownNode | None = None
    since: float = -math.inf
    beaten: float = -math.inf
    beats: deque[Write] = field(default_factory=lambda: deque([_NEVER], maxlen=60))
    unseen: bool = False
    deadline: float = -math.inf
    states: deque[tuple[float, State]] = field(default_factory=lambda: deque(maxlen=4))

    def seen_beat(self, by: float) -> Write:
        """Return the last beat up to a moment that the exporter surely has seen; one of minus infinity without any."""
        return max((beat for beat in self.beats if beat.begun <= by), key=lambda beat: beat.begun, default=_NEVER)

    def remember(self, answer: Answer, node: Node, seen: ShownNode | None, since: float) -> None:
        """Take over what an answer shows of the node. ``since`` is the time of the request."""
        state = seen.state if seen else State.GONE
        self.known = state is not State.GONE
        there = [write.ended for write in node.heartbeat.possible(since, answer.until) if write.value is not None]
        self.beaten = max([self.beaten, *there])
        self.states.append((since, state))
        if state in (State.ONLINE, State.GONE):
            self.unseen = False
        if seen and state is State.ONLINE:
            self.alive, self.offline_at = True, None
            beats = node.heartbeat.possible(since, answer.until, values_only=True)
            most = min(TTL, max(beat.ended for beat in beats) + TTL - since) if beats else 0.0
            self.deadline = max(self.deadline, answer.until + seen.values.get("heartbeat_ttl_seconds", most))
            self.beats += [beat for beat in beats if beat.sure and beat.ended <= since][:1]
        elif state is State.OFFLINE:
            self.offline_at = self.offline_at or since
        elif state is State.GONE:
            self.alive, self.offline_at = False, None

    def told(self, at: float) -> str:
        """Return the last states, each with the seconds since."""
        return ", ".join(f"{state} {at - then:.3f}" for then, state in self.states)


def judge_values(answer: Answer, node: Node, seen: ShownNode, since: float, memory: Memory) -> Iterator[str]:
    """Yield what is wrong with the values of a node in an answer."""
    until = answer.until
    hashes = node.hash.possible(since, until)
    beats = node.heartbeat.possible(since, until)
    for key in sorted(answer.shows & _OF_HASH):
        value = seen.values.get(key)
        possible = {write.value and write.value[key] for write in hashes}
        if key in _GAUGES and seen.state is not State.ONLINE:
            possible = {None}
        if value not in possible:
            yield f"{key} is {value} instead of {possible}"
    if "heartbeat_ttl_seconds" in answer.shows:
        ttl = seen.values["heartbeat_ttl_seconds"]
        if not any(_may_be_left(beat, ttl, since, until) for beat in beats):
            yield f"heartbeat_ttl_seconds is {ttl} ({told(node, since, until)})"
    if "last_heartbeat" in answer.shows:
        written = seen.values.get("last_heartbeat")
        remembered = node.heartbeat.possible(min(since, memory.since), until, values_only=True)
        possible = {beat.value for beat in remembered} | {memory.seen and memory.seen.values.get("last_heartbeat")}
        if not memory.alive:
            possible.add(None)
        if written not in possible:
            yield f"last_heartbeat is {written} instead of {possible}"


def gone_back(before: ShownNode, now: ShownNode) -> Iterator[str]:
    """Yield the counters that went back between two answers."""
    for key in _COUNTERS & before.values.keys() & now.values.keys():
        if now.values[key] < before.values[key]:
            yield f"{key} went back from {before.values[key]} to {now.values[key]}"


def may_live(beat: Write, since: float) -> bool:
    """Return whether a heartbeat may live at a moment or after it."""
    return beat.value is not None and beat.ended + TTL >= since - TOLERANCE


def may_be_over(beat: Write, until: float) -> bool:
    """Return whether a heartbeat may have ended by a moment."""
    return beat.value is None or beat.begun + TTL <= until + TOLERANCE


def _may_be_left(beat: Write, ttl: float, since: float, until: float) -> bool:
    if ttl == 0:
        return may_be_over(beat, until)
    least, most = TTL - (until - beat.begun), TTL - max(0.0, since - beat.ended)
    return beat.value is not None and ttl > 0 and least - TOLERANCE <= ttl <= most + TOLERANCE


def lost_since_beat(node: Node, beaten: float, until: float) -> bool:
    """Return whether Redis may have lost what a node wrote, without a beat since that the exporter has seen."""
    for write in reversed(node.heartbeat.writes):
        if write.lost and write.begun <= until:
            return True
        if write.value is not None and write.sure and write.ended <= beaten:
            return False
    return False


def was_lost(node: Node, beat: Write) -> bool:
    """Return whether Redis may have lost a heartbeat before the node's next beat."""
    writes = [write for write in tuple(node.heartbeat.writes) if write.begun > beat.begun]
    return bool(writes) and writes[0].lost


def told(node: Node, since: float, until: float) -> str:
    """Return a node's last writes, in seconds before the answer."""
    last = [write for write in node.heartbeat.writes if write.begun <= until][-3:]
    texts = ", ".join(
        f"{'beat' if write.value else 'lost' if write.lost else 'deleted'}"
        f" {until - write.begun:.3f}-{until - write.ended:.3f}{'' if write.sure else '?'}"
        for write in last
    )
    return f"asked {until - since:.3f} s before; {node.mode}; heartbeat: {texts}"
