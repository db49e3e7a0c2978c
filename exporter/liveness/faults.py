"""The faults of one Redis: what each look at it showed, and how much chance nodes had to beat.

Chance is time in which Redis could be read and took writes. A fault is a time that
gives none. A node without heartbeat is dead when it has had its chance, however
often Redis was at fault in between.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from exporter.source.reading import Server

UNREADABLE_AFTER: Final = 5.0
"""Seconds without an answer after which nodes may have missed beats because of Redis."""
SHORT_RUN: Final = 0.5
"""Share of a TTL: a run of Redis that ends sooner gives no chance, since nodes need time to connect."""
CUT_OFF: Final = 0.4
"""Share of a TTL for which a replica may hear nothing from its master before its data count as old."""
HALF: Final = 0.5
"""Share of the time that gives no chance while some writes are refused and some heartbeats are renewed."""
FULL: Final = 0.95
"""Share of ``maxmemory`` from which an exporter that starts takes refused writes of the past for a fault of now."""
NEVER: Final = float("-inf")
LASTS: Final = float("inf")


class Kind(StrEnum):
    """What was wrong with Redis."""

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
"""Faults after which a node whose keys are gone may not have deleted them itself."""


@dataclass(slots=True)
class Fault:
    """A time in which nodes had no chance, or half a chance, to beat.

    Attributes:
        kind: What was wrong.
        start: Its first moment, in monotonic seconds.
        end: Its last moment; ``LASTS`` while it lasts.
        share: Share of that time that gives no chance.
    """

    kind: Kind
    start: float
    end: float = LASTS
    share: float = 1.0


def chance(faults: Iterable[Fault], since: float, now: float) -> float:
    """Return the seconds between two moments in which nodes had a chance to beat."""
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

    Attributes:
        faults: The faults that may still excuse a missing heartbeat.
        server: What Redis said of itself at the last look; None before the first.
        answered: When that was, in monotonic seconds.
        evicted_at: When Redis was last seen to have evicted keys.
    """

    def __init__(self, ttl: float, beat: float) -> None:
        self.faults: list[Fault] = []
        self.server: Server | None = None
        self.evicted_at = NEVER
        self._grace = ttl + beat
        self._short, self._cut_off = SHORT_RUN * ttl, CUT_OFF * ttl
        self.answered = NEVER
        self._run_started = NEVER
        self._lasting: dict[Kind, Fault] = {}
        self._refused_at = NEVER  # the look that showed the refusal that lasts
        self._risen_at = NEVER  # the last look that showed one more refused write

    @property
    def writes_refused_since(self) -> float | None:
        """Since when Redis is taken to refuse writes, in monotonic seconds; None while it takes them."""
        refusal = self._lasting.get(Kind.REFUSED)
        return refusal.start if refusal else None

    def note(self, server: Server, at: float) -> list[Kind]:
        """Take note of an answer, and return the faults that it is the first to show.

        Args:
            server: What Redis said of itself.
            at: Monotonic time of the answer; one that is older than the last is ignored.
        """
        if at < self.answered:
            return []
        before, answered = self.server, self.answered
        self.server, self.answered = server, at
        if before is None:
            new = self._note_first(server, at)
            answered = at
        else:
            new = self._note_sudden(before, answered, server, at) + self._note_refusal(before, answered, server, at)
        new += self._note_lasting(Kind.CUT_OFF, at - server.silence, at, lasts=server.silence > self._cut_off)
        new += self._note_lasting(Kind.PAUSED, answered, at, lasts=server.paused)
        if at - self._run_started >= self._short and (fault := self._lasting.pop(Kind.SHORT, None)):
            self.faults.remove(fault)  # the run has lasted: its first seconds were a chance after all
        self._tidy(at)
        return new

    def renewed(self, beat_at: float) -> None:
        """Take note of a node's beat: a refusal of writes that began before it is over."""
        refusal = self._lasting.get(Kind.REFUSED)
        if refusal and beat_at > self._refused_at:
            if beat_at - refusal.start < self._short:
                refusal.share = HALF  # some writes are refused and some are not
            self._end(Kind.REFUSED, beat_at)

    def _note_first(self, server: Server, at: float) -> list[Kind]:
        if server.restored and server.uptime < self._grace:
            self._run_started = at - server.uptime
            self.faults.append(Fault(Kind.RESTARTED, self._run_started, self._run_started))
            self._start(Kind.SHORT, self._run_started)
        if _may_refuse_writes(server):
            self._note_rise(at, at)
        return []

    def _note_sudden(self, before: Server, answered: float, server: Server, at: float) -> list[Kind]:
        told = before.told and server.told
        if told and before.run_id != server.run_id:
            kind = Kind.RESTARTED
            self._end(Kind.SHORT, at)
            self._run_started = at - server.uptime
            self._start(Kind.SHORT, self._run_started)
        elif told and before.role != server.role:
            kind = Kind.ROLE
        elif told and server.flushes > before.flushes:
            kind = Kind.FLUSHED
        elif at - answered > UNREADABLE_AFTER:
            kind = Kind.SILENT
        else:
            return []
        # A replica's data are as old as its master's last word; masters speak at least every second or so.
        last_word = answered - before.silence if before.silence > 1 else answered
        self.faults.append(Fault(kind, last_word, at))
        return [kind]

    def _note_refusal(self, before: Server, answered: float, server: Server, at: float) -> list[Kind]:
        if server.evicted > before.evicted:
            self.evicted_at = at
        counted = (before.refused or {}) if server.run_id == before.run_id else {}
        if server.blocked or any(count > counted.get(error, 0) for error, count in (server.refused or {}).items()):
            new = [] if Kind.REFUSED in self._lasting else [Kind.REFUSED]
            self._note_rise(answered, at)
            return new
        if at - self._risen_at >= self._short:
            self._end(Kind.REFUSED, at)
        return []

    def _note_rise(self, since: float, at: float) -> None:
        if Kind.REFUSED not in self._lasting:
            self._start(Kind.REFUSED, since)
            self._refused_at = at
        self._risen_at = at

    def _note_lasting(self, kind: Kind, start: float, at: float, *, lasts: bool) -> list[Kind]:
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
        """Drop faults after which every node has had its chance, and join faults that are one outage."""
        if not self.faults:
            return
        kept: list[Fault] = []
        for fault in sorted(self.faults, key=lambda fault: fault.start):
            last = kept[-1] if kept else None
            if last and last.end >= fault.start and LASTS not in (last.end, fault.end) and last.share == fault.share:
                last.kind, last.end = fault.kind, max(last.end, fault.end)
            elif fault.end == LASTS or chance(self.faults, fault.end, now) < self._grace:
                kept.append(fault)
        self.faults = kept


def _may_refuse_writes(server: Server) -> bool:
    """Return whether a Redis that is seen for the first time may refuse writes now, having refused some before."""
    refused = server.refused or {}
    return (
        server.blocked
        or bool(refused.get("NOREPLICAS"))
        or bool(refused.get("MISCONF") and server.last_save_ok is False)
        or bool(refused.get("OOM") and (server.memory_used_ratio or 0) >= FULL)
    )
