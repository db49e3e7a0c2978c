"""When each Redis gave nodes a chance to beat, and when it could not be read.

Each interval between two looks at a Redis gave chance, or did not and why: that is a gap. Of all faults of Redis only
the gaps are remembered. All times are monotonic seconds.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from exporter.liveness.changes import NEVER, WINDOW, Change, Evidence, Gap, Kind, Outage
from exporter.source.reading import Server

SILENT: Final = 5.0
"""Seconds without an answer that are no gap yet."""
SHORT: Final = 0.5
"""Shortest run of Redis that gives chance, and longest rest between two refused writes, as shares of a TTL."""
CUT_OFF: Final = 0.4
"""Longest silence of a master, as a share of a TTL: after it the data of its replica count as old."""
FULL: Final = 0.95
"""Share of ``maxmemory`` in use above which a Redis that has refused writes may refuse them still."""
QUIET: Final = 10.0
"""Seconds without a refusal after which it is told that Redis takes writes again: at its limit it takes some."""

NO_ANSWER, RESTARTED, DELETED = "no answer", "another run", "data deleted"
ROLE, MOVED, CUT = "another role", "another primary", "replica cut off from its master"
PAUSED, REFUSED, YOUNG = "writes paused", "writes refused", "a short run"
TAKES_WRITES, CANNOT_BE_READ, ANSWERS = "takes writes again", "cannot be read", "answers"


def chance(gaps: Iterable[Gap], since: float, now: float) -> float:
    """Return how many of the seconds from ``since`` to ``now`` gave nodes a chance to beat."""
    left, covered = now - since, since
    for gap in sorted(gaps):
        start, end = max(gap.start, covered), min(gap.end, now)
        if end > start:
            left, covered = left - (end - start), end
    return left


class Chance:
    """The gaps of one Redis.

    Args:
        address: The address; empty for a single server.
        ttl: Seconds that a heartbeat lives.
        beat: Seconds between two beats.
        asked: Since when its first answer is awaited.
        changed: See the attribute.

    Attributes:
        address: See the argument.
        server: What the Redis said last; None before its first answer.
        at: When it said that; before the first answer, since when that is awaited.
        changed: When an answer first showed that the data may be others. Keys that are missing since then do not show a
            graceful stop, until they were seen again.
        refused_since: Since when it is taken to refuse writes; None while it takes them.
    """

    def __init__(self, address: str, ttl: float, beat: float, asked: float, changed: float) -> None:
        self.server: Server | None = None
        self.at, self.changed = asked, changed
        self.refused_since: float | None = None
        self.address, self._grace, self._short, self._cut_off = address, ttl + beat, SHORT * ttl, CUT_OFF * ttl
        self._gaps: list[Gap] = []  # those after which some node may not have had its chance, the last one at the end
        self._born = NEVER  # when the present run began, if it began while nodes may have been known
        self._risen = NEVER  # when an answer last showed one more refused write
        self._refusal: Gap | None = None  # the refusal that was told, until its last sign
        self._why = ""

    def look(self, server: Server, at: float) -> list[Change]:
        """Record an answer, and return what it changes; an answer that is older than the last is ignored."""
        if at < self.at:
            return []
        before, last = self.server, self.at
        if before is None and server.restored and server.uptime < self._grace:
            self._born = at - server.uptime
            self._add(self._born, self._born, RESTARTED)  # nodes that nobody has seen had no chance before it
        elif before and before.run_id != server.run_id:
            if last - self._born < self._short:
                self._add(self._born, last, YOUNG)
            self._born, self.changed = at - server.uptime, at
        elif before and before.flushes < server.flushes:
            self.changed = at
        if server.blocked or _refuses_more(before, server):
            self._risen = at
            self.refused_since = (last if before else at) if self.refused_since is None else self.refused_since
        elif at - self._risen >= self._short:
            self.refused_since = None
        self.server, self.at = server, at
        told, self._why = self._why, self._why_not(before, server, at - last)
        if self._why:  # a replica's data are as old as its master's last message
            self._add(min(last - (before.silence if before else 0.0), at - server.silence), at, self._why)
        if self._gaps:
            gaps = self.gaps()
            self._gaps = [gap for gap in self._gaps if chance(gaps, gap.end, at) < self._grace]
        new = self._why not in ("", REFUSED) and (self._why != told or self._why not in (CUT, PAUSED))
        return [*([self._change(None, self._why)] if new else []), *self._tell_refusal()]

    def beat(self, at: float) -> None:
        """Record that a node has beaten: a refusal that was seen before that is over."""
        if self.refused_since is not None and at > self._risen:
            self.refused_since = None
            if self._gaps and self._gaps[-1].why == REFUSED:
                start, end, why = self._gaps[-1]
                self._gaps[-1] = Gap(start, max(start, min(end, at)), why)

    def leave(self) -> list[Change]:
        """Return what ends since the Redis holds no keys any more: a refusal that was told."""
        return [self._change(REFUSED, MOVED, self._refusal)] if self._refusal else []

    def gaps(self) -> Sequence[Gap]:
        """Return all gaps: a run of Redis is one until it has lasted."""
        return [*self._gaps, Gap(self._born, self.at, YOUNG)] if self.at - self._born < self._short else self._gaps

    def _why_not(self, before: Server | None, server: Server, passed: float) -> str:
        """Return why the interval that ends with an answer gave no chance; empty if it did."""
        reasons = (
            (RESTARTED, before and before.run_id != server.run_id),
            (DELETED, before and before.flushes < server.flushes),
            (ROLE, before and before.role != server.role),
            (NO_ANSWER, passed > SILENT),
            (CUT, server.silence > self._cut_off),
            (PAUSED, server.paused or (before and before.paused)),
            (REFUSED, self.refused_since is not None),
        )
        return next((why for why, holds in reasons if holds), "")

    def _tell_refusal(self) -> list[Change]:
        """Return that a refusal has begun, or is over for so long that the next one is another one."""
        told = self._refusal
        if self.refused_since is not None:
            self._refusal = Gap(told.start if told else self.refused_since, self.at, REFUSED)
            return [] if told else [self._change(None, REFUSED)]
        if told is None or self.at - told.end < QUIET:
            return []
        self._refusal = None
        return [self._change(REFUSED, TAKES_WRITES, told)]

    def _change(self, before: str | None, after: str, gap: Gap | None = None) -> Change:
        server = self.server or Server("", "")
        evidence = Evidence(gap=gap, run_id=server.run_id, role=server.role)
        return Change(self.address.encode(), before, after, self.at, evidence=evidence, kind=Kind.REDIS)

    def _add(self, start: float, end: float, why: str) -> None:
        """Add a gap; gaps that touch become one."""
        while self._gaps and start <= self._gaps[-1].end:
            last = self._gaps.pop()
            start, end = min(start, last.start), max(end, last.end)
        self._gaps.append(Gap(start, end, why))


def _refuses_more(before: Server | None, server: Server) -> bool:
    """Return whether a Redis refused writes since its last answer; of its first answer, whether it may refuse still."""
    refused = server.refused or {}
    if before is None:
        failed, full = server.last_save_ok is False, (server.memory_used_ratio or 0) >= FULL
        return bool(refused.get("NOREPLICAS") or (refused.get("MISCONF") and failed) or (refused.get("OOM") and full))
    counted = (before.refused or {}) if before.run_id == server.run_id else {}
    return any(count > counted.get(error, 0) for error, count in refused.items())


class Chances:
    """The chance at each Redis that holds keys: a single server, or each primary of a cluster.

    Attributes:
        server: What Redis said last; in a cluster, what each primary said. None before the first answer.
        at: When it said that.
        each: The chance at each address.
    """

    def __init__(self, ttl: float, beat: float) -> None:
        self.server: Server | None = None
        self.at = NEVER
        self.each: dict[str, Chance] = {}
        self._ttl, self._beat = ttl, beat
        self._asked = -NEVER
        self._moves: dict[bytes, tuple[Gap, ...]] = {}  # what a node's keys took along, the last move at the end

    def ask(self, at: float) -> None:
        """Record that Redis is asked: a first answer long after that shows a silence."""
        self._asked = min(self._asked, at)

    def look(self, server: Server, at: float, names: Callable[[], Collection[bytes]]) -> list[Change]:
        """Record what each Redis said at ``at``, and return what that changes.

        Args:
            server: What was said.
            at: When it was said; what is older than the last answer is ignored.
            names: Returns the nodes whose keys may have moved.
        """
        if at < self.at:
            return []
        before, self.at = self.server, at
        changes: list[Change] = []
        moved = before is not None and before.placement != server.placement
        if before and moved:
            self._move(before, server, at, names())
            changes.append(Change(b"", None, MOVED, at, kind=Kind.REDIS))
        self.server = server
        if before is None or moved:
            asked, changed = (at, at) if before else (min(at, self._asked), NEVER)
            known, rest = self.each, (self._ttl, self._beat, asked, changed)
            self.each = {address: known.get(address) or Chance(address, *rest) for address in server.addresses}
            changes += [change for each in known.values() if each.address not in self.each for change in each.leave()]
        for address, member in server.members.items():
            changes += self.each[address].look(member, at) if address in self.each else []
        return changes

    def of(self, name: bytes) -> list[Chance]:
        """Return the chance at each Redis of a node's keys, that of its heartbeat at the end."""
        holders = self.server.holders(name) if self.server else ()
        return [self.each[address] for address in holders if address in self.each]

    def gaps(self, name: bytes) -> list[Gap]:
        """Return the gaps of a node: those that its keys took along, and those of each Redis since they are there."""
        moves = self._moves.get(name, ())
        since = moves[-1].end if moves else NEVER
        return [*moves, *(gap for each in self.of(name) for gap in each.gaps() if gap.end > since)]

    def changed(self, name: bytes) -> float:
        """Return when an answer first showed that the data where a node's keys are may be others."""
        moves = [gaps[-1].end for gaps in (self._moves.get(name, ()),) if gaps]
        return max([*moves, *(each.changed for each in self.of(name))], default=NEVER)

    @property
    def excused(self) -> bool:
        """Whether a gap may still excuse a missing heartbeat."""
        moved = any(self.at - moves[-1].end < self._ttl + self._beat for moves in self._moves.values())
        return moved or any(each.gaps() for each in self.each.values())

    @property
    def calm(self) -> bool:
        """Whether all servers that hold keys gave the last answer, and no gap counts."""
        server = self.server
        return server is not None and set(server.members) >= set(server.addresses) and not self.excused

    def _move(self, before: Server, server: Server, at: float, names: Collection[bytes]) -> None:
        """Let the nodes whose keys moved take their gaps along; the move is one more, from the last answer on."""
        self._moves = {name: moves for name, moves in self._moves.items() if name in names}
        for name in names:
            if before.holders(name) != server.holders(name):
                gaps, heard = self.gaps(name), min((each.at for each in self.of(name)), default=at)
                kept = (gap for gap in gaps if chance(gaps, gap.end, at) < self._ttl + self._beat)
                self._moves[name] = (*kept, Gap(heard, at, MOVED))


class Outages:
    """The times in which Redis could not be read. Two operations can fail by themselves: a probe, and a whole read.

    Attributes:
        errors: Why the last operation of each kind failed that did.
    """

    def __init__(self) -> None:
        self.errors: dict[str, str] = {}
        self._since: float | None = None
        self._past: deque[tuple[float, float]] = deque()

    @property
    def now(self) -> Outage | None:
        """The outage that lasts."""
        return None if self._since is None else Outage(self._since, next(iter(self.errors.values())))

    @property
    def all(self) -> tuple[tuple[float, float], ...]:
        """The times of the last ``WINDOW`` seconds, with the one that lasts."""
        return (*self._past, *([] if self._since is None else [(self._since, -NEVER)]))

    def failed(self, what: str, error: str, began: float) -> list[Change]:
        """Record that an operation failed that began at ``began``, and return what that changes."""
        self.errors[what] = error
        if self._since is not None:
            return []
        # An operation of the last outage may fail late: its seconds count already.
        self._since = max([began, *(end for _, end in self._past)])
        return [Change(b"", ANSWERS, CANNOT_BE_READ, self._since, error, kind=Kind.REDIS)]

    def succeeded(self, what: str, at: float) -> list[Change]:
        """Record that an operation succeeded at ``at``, and return what that changes."""
        self.errors.pop(what, None)
        if self._since is None or self.errors:
            return []
        over, self._since = Gap(self._since, at, CANNOT_BE_READ), None
        while self._past and self._past[0][1] < at - WINDOW:
            self._past.popleft()
        self._past.append((over.start, at))
        return [Change(b"", CANNOT_BE_READ, ANSWERS, at, evidence=Evidence(gap=over), kind=Kind.REDIS)]
