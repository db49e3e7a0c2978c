"""The faults of one Redis, and how much chance they left nodes to beat.

Chance is time in which Redis could be read and took writes. A fault is a time that
gives no chance. A node without heartbeat is dead when its chance has added up to a
TTL and a beat, however many faults interrupted it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from exporter.liveness.server_evidence import ServerEvidence, evidence_after
from exporter.source.reading import Server

UNREADABLE_AFTER: Final = 5.0
"""Seconds without an answer from Redis after which nodes may have missed beats because of Redis."""
SHORT_RUN: Final = 0.5
"""Shortest run of Redis that gives chance, as a share of a TTL: nodes need time to connect."""
CUT_OFF: Final = 0.4
"""Longest silence of a master, as a share of a TTL: after it the replica's data count as old."""
HALF: Final = 0.5
"""Share of a fault's time that gives no chance, while Redis refuses some writes and takes some heartbeats."""
FULL: Final = 0.95
"""Share of ``maxmemory`` in use above which a new exporter assumes that Redis still refuses writes.

The exporter sees only at its second look whether Redis refuses more writes.
"""
NEVER: Final = float("-inf")
"""A time before all times, in monotonic seconds."""
ONGOING: Final = float("inf")
"""The end of a fault that lasts."""


class Kind(StrEnum):
    """The kind of a fault of Redis."""

    SILENT = "no answer"
    RESTARTED = "another run"
    SHORT = "a short run"
    ROLE = "another role"
    MOVED = "another primary"
    FLUSHED = "data deleted"
    CUT_OFF = "replica cut off from its master"
    REFUSED = "writes refused"
    PAUSED = "writes paused"


LOSES_DATA: Final = frozenset((Kind.RESTARTED, Kind.MOVED, Kind.FLUSHED))
"""Faults that can delete a node's keys: afterwards, missing keys do not show a graceful stop."""


@dataclass(slots=True)
class Fault:
    """A time in which Redis left nodes no chance to beat, or only half of it.

    Attributes:
        kind: What was wrong.
        start: Its first moment, in monotonic seconds.
        end: Its last moment, in monotonic seconds; ``ONGOING`` while it lasts.
        share: Share of its time that gives no chance.
    """

    kind: Kind
    start: float
    end: float = ONGOING
    share: float = 1.0


def chance(faults: Iterable[Fault], since: float, now: float) -> float:
    """Return how many of the seconds from ``since`` to ``now`` gave nodes a chance to beat."""
    left, covered = now - since, since
    for fault in sorted(faults, key=lambda fault: fault.start):
        start, end = max(fault.start, covered), min(fault.end, now)
        if end > start:
            left -= (end - start) * fault.share
            covered = end
    return left


class ServerFaults:
    """The faults of one Redis: a single server, or one primary of a cluster.

    Args:
        ttl: Seconds that a heartbeat lives.
        beat: Seconds between two beats.
        awaited: Since when an answer of Redis is awaited, in monotonic seconds; ``ONGOING`` if nobody has asked yet.

    Attributes:
        faults: The faults that may still excuse a missing heartbeat.
        server: What Redis said about itself in its last answer; None before the first answer.
        answered_at: When that answer came, in monotonic seconds.
        evicted_at: When an answer last showed new evictions, in monotonic seconds.
        evidence: What the server said that matters for a verdict.
    """

    def __init__(self, ttl: float, beat: float, awaited: float = ONGOING) -> None:
        self.faults: list[Fault] = []
        self.server: Server | None = None
        self.evicted_at = NEVER
        self.evidence = ServerEvidence()
        self._grace = ttl + beat
        self._short, self._cut_off = SHORT_RUN * ttl, CUT_OFF * ttl
        self._awaited = awaited
        self.answered_at = NEVER
        self._run_started = NEVER
        self._lasting: dict[Kind, Fault] = {}
        self._refused_at = NEVER  # when an answer first showed the refusal that lasts
        self._risen_at = NEVER  # when an answer last showed one more refused write

    @property
    def silent_since(self) -> float:
        """When Redis last answered, or since when its first answer is awaited, in monotonic seconds."""
        return self.answered_at if self.server else self._awaited

    @property
    def writes_refused_since(self) -> float | None:
        """Since when Redis is assumed to refuse writes, in monotonic seconds; None while it takes writes."""
        refusal = self._lasting.get(Kind.REFUSED)
        return refusal.start if refusal else None

    def observe(self, server: Server, at: float) -> list[Kind]:
        """Record an answer, and return the faults that it is the first to show.

        Args:
            server: What Redis said about itself.
            at: Monotonic time of the answer. An answer that is older than the last one is ignored.
        """
        if at < self.answered_at:
            return []
        before, answered = self.server, self.answered_at
        self.server, self.answered_at = server, at
        self.evidence = evidence_after(self.evidence, before, server, at)
        if before is None:
            new = self._first_faults(server, at)
            answered = at
        else:
            new = self._sudden_faults(before, answered, server, at) + self._new_refusal(before, answered, server, at)
        new += self._set_lasting(Kind.CUT_OFF, at - server.silence, at, lasts=server.silence > self._cut_off)
        new += self._set_lasting(Kind.PAUSED, answered, at, lasts=server.paused)
        if at - self._run_started >= self._short and (fault := self._lasting.pop(Kind.SHORT, None)):
            self.faults.remove(fault)  # the run has lasted: its first seconds were a chance after all
        self._tidy(at)
        return new

    def observe_beat(self, beat_at: float) -> None:
        """Record a node's beat: it ends a refusal of writes that was seen before the beat."""
        refusal = self._lasting.get(Kind.REFUSED)
        if refusal and beat_at > self._refused_at:
            if beat_at - refusal.start < self._short:
                refusal.share = HALF  # Redis refused some writes and took this one
            self._end(Kind.REFUSED, beat_at)

    def _first_faults(self, server: Server, at: float) -> list[Kind]:
        if at - self._awaited > UNREADABLE_AFTER:
            self.faults.append(Fault(Kind.SILENT, self._awaited, at))
        if server.restored and server.uptime < self._grace:
            self._run_started = at - server.uptime
            self.faults.append(Fault(Kind.RESTARTED, self._run_started, self._run_started))
            self._start(Kind.SHORT, self._run_started)
        if _may_refuse_writes(server):
            self._refuse(at, at)
        return []

    def _sudden_faults(self, before: Server, answered: float, server: Server, at: float) -> list[Kind]:
        told = before.info_allowed and server.info_allowed
        kinds = []
        if told and before.run_id != server.run_id:
            kinds.append(Kind.RESTARTED)
            self._end(Kind.SHORT, at)
            self._run_started = at - server.uptime
            self._start(Kind.SHORT, self._run_started)
        elif told:
            kinds += [Kind.ROLE] if before.role != server.role else []
            kinds += [Kind.FLUSHED] if server.flushes > before.flushes else []
        if at - answered > UNREADABLE_AFTER and not kinds:
            kinds.append(Kind.SILENT)
        if not kinds:
            return []
        # A replica's data are as old as its master's last message. A healthy master sends one about every second.
        last_known = answered - before.silence if before.silence > 1 else answered
        self.faults.append(Fault(kinds[-1], last_known, at))
        return kinds

    def _new_refusal(self, before: Server, answered: float, server: Server, at: float) -> list[Kind]:
        if server.evicted > before.evicted:
            self.evicted_at = at
        counted = (before.refused or {}) if server.run_id == before.run_id else {}
        if server.blocked or any(count > counted.get(error, 0) for error, count in (server.refused or {}).items()):
            new = [] if Kind.REFUSED in self._lasting else [Kind.REFUSED]
            self._refuse(answered, at)
            return new
        if at - self._risen_at >= self._short:
            self._end(Kind.REFUSED, at)
        return []

    def _refuse(self, since: float, at: float) -> None:
        if Kind.REFUSED not in self._lasting:
            self._start(Kind.REFUSED, since)
            self._refused_at = at
        self._risen_at = at

    def _set_lasting(self, kind: Kind, start: float, at: float, *, lasts: bool) -> list[Kind]:
        if not lasts:
            self._end(kind, at)
        elif kind not in self._lasting:
            self._start(kind, start)
            return [kind]
        return []

    def _start(self, kind: Kind, start: float) -> None:
        fault = self._lasting[kind] = Fault(kind, start)
        self.faults.append(fault)

    def _end(self, kind: Kind, at: float) -> None:
        if fault := self._lasting.pop(kind, None):
            fault.end = max(at, fault.start)

    def _tidy(self, now: float) -> None:
        """Drop the faults after which every node has had its chance, and join faults that overlap."""
        if not self.faults:
            return
        kept: list[Fault] = []
        for fault in sorted(self.faults, key=lambda fault: fault.start):
            last = kept[-1] if kept else None
            if last and last.end >= fault.start and ONGOING not in (last.end, fault.end) and last.share == fault.share:
                last.kind, last.end = fault.kind, max(last.end, fault.end)
            elif fault.end == ONGOING or chance(self.faults, fault.end, now) < self._grace:
                kept.append(fault)
        self.faults = kept


def _may_refuse_writes(server: Server) -> bool:
    """Return whether Redis may refuse writes now, judged by its first answer: it has refused some before."""
    refused = server.refused or {}
    return (
        server.blocked
        or bool(refused.get("NOREPLICAS"))
        or bool(refused.get("MISCONF") and server.last_save_ok is False)
        or bool(refused.get("OOM") and (server.memory_used_ratio or 0) >= FULL)
    )
