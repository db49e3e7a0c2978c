"""Judges what the exporter says of each node, from the values that Redis may have held and from the contract.

The model knows nothing of how the exporter works. Some moments are not known exactly: when a write
happened, when a read began, when the exporter noticed a fault. The exporter has the benefit of each
such doubt, so an answer that the model calls wrong is wrong in any case.
"""

import math
from collections.abc import Iterator
from typing import Final

from exporter.liveness.judge import State
from exporter.source.discovery import SHARE
from lab.soak.answers import Answer, ShownNode
from lab.soak.chance import GRACE, PROBE, Chance
from lab.soak.lateness import Lateness
from lab.soak.ledger import LedgerJudge
from lab.soak.nodes import Node, Platform
from lab.soak.servers import BEAT, DISCOVERY, READ_TIMEOUT, TTL
from lab.soak.truth import TOLERANCE, Write
from lab.soak.values import Memory, gone_back, judge_values, lost_since_beat, may_be_over, may_live, told, was_lost

HOLD: Final = 1.5 * BEAT
"""Seconds for which a death may be held back until it is clear whether it is part of a mass loss."""
FULL_SECONDS: Final = 1.0
"""Seconds by which the uptime that Redis reports may be too short: it comes in full seconds."""
BUSY_MACHINE: Final = 2.0
"""Additional seconds that discovery may take on a busy machine."""


class Model:
    """Judges answers in the order of their requests.

    Args:
        platform: The simulated platform, which notes all its writes.
        lateness: How late the machine lets the exporter run; None if it is never late.

    Attributes:
        chance: Redis's faults, and how much chance they left.
        ledger: The judge of portfolios.
    """

    def __init__(self, platform: Platform, lateness: Lateness | None = None) -> None:
        self.platform = platform
        self.chance = Chance(platform, lateness)
        self.ledger = LedgerJudge(platform, self.chance)
        self._started = 0.0
        self._memories: dict[str, Memory] = {}
        self._found_within = DISCOVERY + BUSY_MACHINE
        self._waiting_since: float | None = None  # the first answer in a row that says Redis cannot be read

    def exporter_started(self, at: float) -> None:
        """Forget the knowledge of the last process."""
        self._started, self._memories, self._waiting_since = at, {}, None
        self.ledger.exporter_started(at)

    def judge(self, answer: Answer) -> Iterator[str]:
        """Yield a text for each thing that is wrong in an answer."""
        with self.platform.lock:
            since = answer.since
            if not answer.fresh and self._waiting_since is not None:
                since = max(self._waiting_since, since - READ_TIMEOUT)  # it may share a read that began before
            if answer.nodes is None:
                yield from self._judge_unreadable(answer, since)
                return
            down = (fault for fault in self.chance.faults if not fault.readable)
            if any(fault.down_from <= since and answer.until <= fault.down_until for fault in down):
                yield "it read a Redis that was down"
            if not answer.fresh:
                self._waiting_since = None
                self.chance.tidy(since)
            if found := answer.own.get(("ginkgo_exporter_discovery_duration_seconds",)):
                self._found_within = max(DISCOVERY, found / SHARE) + BUSY_MACHINE
            for name, node in self.platform.nodes.items():
                for wrong in self._judge_node(answer, node, answer.nodes.get(name), since):
                    yield f"{name!r}: {wrong}"
            yield from (f"{name!r}: no such node" for name in answer.nodes.keys() - self.platform.nodes.keys())
            yield from self._judge_mass_loss(answer, since)
            yield from self.ledger.judge(answer, since, since - self._found_within - self.chance.slack)

    def written_in(self, name: str, since: float, until: float) -> bool:
        """Return whether a node's hash may have changed in a span."""
        with self.platform.lock:
            node = self.platform.nodes.get(name)
            return node is None or len(node.hash.possible(since, until)) > 1

    def may_be_offline(self, name: str, since: float, until: float) -> bool:
        """Return whether the contract lets a node be called offline at any moment of a span."""
        node = self.platform.nodes.get(name)
        if node is None:
            return False
        memory = self._memories.get(name) or Memory()
        beats = [write for write in tuple(node.heartbeat.writes) if write.value is not None and write.begun <= until]
        beats = [beat for beat in beats if not was_lost(node, beat) or beat in memory.beats]
        stops = [write for write in tuple(node.hash.writes) if write.value is None and not write.lost]
        for number, beat in enumerate(beats, 1):
            after = beats[number] if number < len(beats) else None
            ends = [after.ended if after.sure else math.inf] if after else []
            ends += [stop.ended for stop in stops if stop.begun >= beat.begun and stop.sure][:1]
            last = min([until, *ends])
            # The exporter counts from the last beat that it has seen, and that may be an earlier one.
            if last >= max(since, beat.begun + TTL) and self.chance.may_be_over(
                memory.seen_beat(beat.begun), since - TTL, last
            ):
                return True
        return False

    def beaten_since(self, name: str, at: float) -> bool:
        """Return whether a node may have beaten after a moment."""
        node = self.platform.nodes[name]
        return any(write.value is not None and write.ended > at for write in tuple(node.heartbeat.writes))

    def told(self, name: str, since: float, until: float) -> str:
        """Return a node's last writes and the faults of a span in words."""
        spans = [f"{until - start:.2f}-{until - stop:.2f}" for start, stop in self.chance.sure_after(since - 20, until)]
        return f"{told(self.platform.nodes[name], since, until)}; no chance {' '.join(spans) or 'never'}"

    def _judge_unreadable(self, answer: Answer, since: float) -> Iterator[str]:
        starting = since < self._started + self._found_within
        if not starting and not any(fault.hits(since, answer.until) for fault in self.chance.faults):
            yield "it could not read a Redis that is well"
        if self._waiting_since is None:
            self._waiting_since = answer.since
        for name, node in self.platform.nodes.items():  # the exporter remembers its reads before the fault
            if any(write.value is not None for write in node.heartbeat.possible(since, answer.until)):
                self._memories.setdefault(name, Memory()).known = True

    def _judge_mass_loss(self, answer: Answer, since: float) -> Iterator[str]:
        """Yield the members of mass losses that are not offline."""
        for name in sorted(answer.mass_lost or ()):
            seen = (answer.nodes or {}).get(name)
            if seen is None or seen.state is not State.OFFLINE:
                yield f"{name!r}: a member of a mass loss that is {seen.state if seen else State.GONE} ({since:.1f})"

    # --- one node --------------------------------------------------------------------------

    def _judge_node(self, answer: Answer, node: Node, seen: ShownNode | None, since: float) -> Iterator[str]:
        memory = Memory() if answer.fresh else self._memories.setdefault(node.name, Memory())
        memory.unseen |= memory.alive and self._lost_since(memory, answer.until)
        state = seen.state if seen else State.GONE
        allowed = self._allowed(answer, node, memory, since)
        if state not in allowed:
            names = "|".join(sorted(allowed))
            yield (
                f"{state} instead of {names} ({self.told(node.name, since, answer.until)};"
                f" before: {memory.told(since)}; slack {self.chance.slack:.2f})"
            )
        if seen:
            yield from judge_values(answer, node, seen, since, memory)
        if seen and not answer.fresh:
            if memory.seen and not any(birth > memory.since for birth in node.births):
                yield from gone_back(memory.seen, seen)
            if "last_heartbeat" in answer.shows:
                memory.seen, memory.since = seen, since
        memory.remember(answer, node, seen, since)

    def _allowed(self, answer: Answer, node: Node, memory: Memory, since: float) -> set[State]:
        until = answer.until
        beats, hashes = node.heartbeat.possible(since, until), node.hash.possible(since, until)
        allowed = set()
        if any(may_live(beat, since) for beat in beats):
            allowed.add(State.ONLINE)
        if any(may_be_over(beat, until) for beat in beats):
            if any(write.value is not None for write in hashes):
                allowed |= self._without_beat(answer, node, memory, since)
            if missing := [write for write in hashes if write.value is None]:
                lost = self._may_know(node, memory, until) and (
                    memory.unseen or lost_since_beat(node, memory.beaten, until)
                )
                if lost or (memory.offline_at is not None and any(write.lost for write in missing)):
                    allowed |= self._without_beat(answer, node, memory, since)
                if not (lost and memory.alive) or any(not write.lost for write in missing):
                    allowed.add(State.GONE)
        looked = 0.0 if answer.fresh else self._found_within + self.chance.slack
        if not memory.alive and memory.offline_at is None and since < self._findable(node, answer) + looked:
            allowed.add(State.GONE)
        return allowed

    def _may_know(self, node: Node, memory: Memory, until: float) -> bool:
        """Return whether the exporter may have read a node, though its answers did not show it yet."""
        last = memory.states[-1][0] if memory.states else until
        return memory.known or any(write.value is not None for write in node.heartbeat.possible(last, until))

    def _lost_since(self, memory: Memory, until: float) -> bool:
        """Return whether Redis may have lost data since the last answer about a node."""
        last = memory.states[-1][0] if memory.states else until
        return any(fault.loses and last <= fault.until and fault.since <= until for fault in self.chance.faults)

    def _findable(self, node: Node, answer: Answer) -> float:
        """Return when a node could first be found: there, with the exporter and Redis at work."""
        faults = [fault.until for fault in self.chance.faults if fault.since <= answer.until]
        return max(node.appeared, self._started, *faults) if faults else max(node.appeared, self._started)

    def _without_beat(self, answer: Answer, node: Node, memory: Memory, since: float) -> set[State]:
        """Return the states allowed for a node without heartbeat that has a hash, or whose keys were lost."""
        until = answer.until
        beats = node.heartbeat.possible(since, until, values_only=True)
        if beats and was_lost(node, beats[-1]) and beats[-1] not in memory.beats:
            seen = memory.seen_beat(until)  # the exporter may not know later beats, which Redis lost
            before = [
                write for write in tuple(node.heartbeat.writes) if write.value and seen.begun <= write.begun <= since
            ]
            beats += reversed(before)
        allowed = set()
        if memory.offline_at is not None:
            allowed.add(State.OFFLINE)  # it stays offline unless the exporter saw a beat
            if all(beat.begun < memory.offline_at for beat in beats):
                return allowed
        if since < memory.deadline + TOLERANCE or any(may_live(beat, since) for beat in beats):
            allowed.add(State.ONLINE)
        known = memory.alive and not answer.fresh
        if self._may_be_undecided(answer, beats, since, known=known):
            allowed.add(State.UNDECIDED)
        if (any(may_be_over(beat, until) for beat in beats) or not known) and self._may_be_called_dead(
            beats, memory, until, known=known
        ):
            allowed.add(State.OFFLINE)
        return allowed

    def _may_be_undecided(self, answer: Answer, beats: list[Write], since: float, *, known: bool) -> bool:
        """Return whether a node may still wait for its chance, or its death be held back."""
        chance = self.chance
        for beat in beats:
            limit = GRACE if chance.may_be_faulted(beat.begun, since) else TTL
            if beat.ended < math.inf and chance.least(beat.ended, since) < limit + HOLD + chance.slack:
                return True
        # A hang hides a death. The exporter sees it when the hang ends, and may hold it back from then on.
        hung = [fault.until for fault in chance.faults if not fault.readable and fault.since <= since]
        if beats and hung and since < max(hung) + HOLD + PROBE + chance.slack:
            return True
        if known:
            return False
        # The exporter has never seen it alive. For a while, a new process takes past faults for present ones.
        started = since if answer.fresh else self._started + self._found_within
        ends = [min(stop, since) for start, stop in chance.possible() if start <= since]
        waits = GRACE + HOLD + FULL_SECONDS + chance.slack
        return (bool(ends) and since < max(ends) + waits) or (bool(self.platform.refused) and since < started + waits)

    def _may_be_called_dead(self, beats: list[Write], memory: Memory, until: float, *, known: bool) -> bool:
        """Return whether a node without heartbeat may be called dead: Redis's faults do not excuse it any more."""
        if not beats:
            return True
        if not known:
            # Its chance counts from the fault at which it was missed first, and adds up over later ones.
            beaten = beats[-1].begun
            restarts = [fault.down_from for fault in self.chance.faults if fault.restart and fault.since < until]
            missed = min((down_from for down_from in restarts if down_from >= beaten), default=None)
            return missed is None or self.chance.most(missed, until) >= GRACE - FULL_SECONDS
        last = memory.states[-1][0] if memory.states else -math.inf
        return self.chance.may_be_over(memory.seen_beat(beats[-1].begun), last, until)
