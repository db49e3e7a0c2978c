"""Redis's faults: what each look at Redis showed, and how much chance nodes had to beat.

Chance is time in which Redis could be read and took writes. A fault is a time that
gives none. A node without heartbeat is dead when it has had its chance, however
often Redis was at fault in between. In a cluster each primary has faults of its own.
"""

from collections.abc import Callable, Iterable
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
        if before.run_id != server.run_id and before.run_id and server.run_id:
            kind = Kind.RESTARTED
            self._end(Kind.SHORT, at)
            self._run_started = at - server.uptime
            self._start(Kind.SHORT, self._run_started)
        elif before.role != server.role:
            kind = Kind.ROLE
        elif server.flushes > before.flushes:
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
        """Drop the faults after which every node has had its chance, and join those that are one outage."""
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


Hit = Callable[[bytes], bool]
"""Whether a fault hit a node: in a cluster it may be one primary's."""


class Faults:
    """The faults of every Redis that holds nodes' keys. Its owner lets one thread at a time use it.

    Args:
        ttl: Seconds that a heartbeat lives.
        beat: Seconds between two beats.

    Attributes:
        server: What Redis said of itself at the last look; None before the first.
    """

    def __init__(self, ttl: float, beat: float) -> None:
        self.server: Server | None = None
        self._ttl, self._beat = ttl, beat
        self._by_address: dict[str, ServerFaults] = {}
        self._moves: list[tuple[Fault, Hit]] = []
        self._at = NEVER

    @property
    def writes_refused_since(self) -> float | None:
        """Since when any Redis is taken to refuse writes, in monotonic seconds; None while all take them."""
        since = (each.writes_refused_since for each in self._by_address.values())
        return min((start for start in since if start is not None), default=None)

    def note(self, server: Server, at: float) -> list[tuple[Kind, Hit]]:
        """Take note of an answer, and return the faults that it is the first to show, each with the nodes it hit.

        Args:
            server: What Redis said of itself; in a cluster, what each primary that answered said.
            at: Monotonic time of the answer; one that is older than the last is ignored.
        """
        if at < self._at:
            return []
        before, self.server, self._at = self.server, server, at
        new: list[tuple[Kind, Hit]] = []
        if before and before.placement != server.placement:
            new.append(self._note_move(before, server, at))
        for address, member in server.members.items():
            each = self._by_address.setdefault(address, ServerFaults(self._ttl, self._beat))
            new += [(kind, _held_by(server, address)) for kind in each.note(member, at)]
        return new

    def of(self, name: bytes) -> list[Fault]:
        """Return the faults that may still excuse a node's missing heartbeat."""
        return [fault for each in self._holders(name) for fault in each.faults] + [
            fault for fault, hit in self._moves if hit(name)
        ]

    def evicted_at(self, name: bytes) -> float:
        """Return when a Redis that holds a node's keys was last seen to have evicted keys; ``NEVER`` if it was not."""
        return max((each.evicted_at for each in self._holders(name)), default=NEVER)

    def renewed(self, name: bytes, beat_at: float) -> None:
        """Take note of a node's beat."""
        for each in self._holders(name):
            each.renewed(beat_at)

    def _holders(self, name: bytes) -> list[ServerFaults]:
        addresses = self.server.holders(name) if self.server else ()
        return [self._by_address[address] for address in addresses if address in self._by_address]

    def _note_move(self, before: Server, server: Server, at: float) -> tuple[Kind, Hit]:
        """Note that slots went to other primaries: their nodes had no chance since the old primary's last answer."""
        silent = [each.answered for address, each in self._by_address.items() if address not in server.members]
        fault = Fault(Kind.MOVED, min(silent, default=at), at)
        self._moves = [(old, hit) for old, hit in self._moves if chance([old], old.end, at) < self._ttl + self._beat]
        self._moves.append((fault, hit := _moved(before, server)))
        return Kind.MOVED, hit


def _moved(before: Server, after: Server) -> Hit:
    return lambda name: before.holders(name) != after.holders(name)


def _held_by(server: Server, address: str) -> Callable[[bytes], bool]:
    return lambda name: address in server.holders(name)


def _may_refuse_writes(server: Server) -> bool:
    """Return whether a Redis that is seen for the first time may refuse writes now, having refused some before."""
    refused = server.refused or {}
    return (
        server.blocked
        or bool(refused.get("NOREPLICAS"))
        or bool(refused.get("MISCONF") and server.last_save_ok is False)
        or bool(refused.get("OOM") and (server.memory_used_ratio or 0) >= FULL)
    )
