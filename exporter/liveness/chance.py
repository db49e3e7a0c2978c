"""When each Redis gave nodes a chance to beat.

Each interval between two looks at a Redis gave chance, or did not and why: that is a gap. Of all faults of Redis only
the gaps are remembered. All times are monotonic seconds. What others should know is appended to the change log.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from exporter.liveness.changes import NEVER, Change, Evidence, Gap, Kind
from exporter.source.reading import Server

SILENT: Final = 5.0
"""Seconds without an answer that are no gap yet."""
GRACE: Final = 4 / 3
"""Chance that a node needs after a gap, as a share of a TTL: a TTL and a beat."""
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
        start = max(gap.start, covered)
        covered = max(start, min(gap.end, now))
        left -= covered - start
    return left


@dataclass(slots=True)
class Chance:
    """The gaps of one Redis.

    Attributes:
        address: The address; empty for a single server.
        ttl: Seconds that a heartbeat lives.
        log: The change log.
        at: When it answered last; before the first answer, since when that is awaited.
        changed: When an answer first showed that the data may be others. Keys that are missing since then do not show a
            graceful stop, until they were seen again.
        server: What the Redis said last; None before its first answer.
        refused_since: Since when it is taken to refuse writes; None while it takes them.
        refusal_since: The same for the refusal that was told.
    """

    address: str
    ttl: float
    log: list[Change]
    at: float
    changed: float = NEVER
    server: Server | None = None
    refused_since: float | None = None
    refusal_since: float | None = None
    _gaps: list[Gap] = field(default_factory=list)  # those after which some node may not have had its chance
    _born: float = NEVER
    _risen: float = NEVER
    _refused: float = NEVER
    _why: str = ""

    def look(self, server: Server, at: float) -> None:
        """Record an answer."""
        before, last, told, short = self.server, self.at, self._why, SHORT * self.ttl
        if _refuses_more(server if before and before.run_id != server.run_id else before, server):
            self._risen = at
            if self.refused_since is None:
                self.refused_since = last if before else at
        elif at - self._risen >= short and not server.blocked:
            self.refused_since = None
        self.server, self.at, self._why = server, at, self._why_not(before, server, at - last)
        if self._why == RESTARTED:
            if last - self._born < short:
                self._add(self._born, last, YOUNG)
            self._born = at - server.uptime
        if before and self._why in (RESTARTED, DELETED):
            self.changed = at
        if self._why:  # a replica's data are as old as its master's last message
            self._add(min(last - (before.silence if before else 0.0), at - server.silence), at, self._why)
        gaps = self.gaps()
        self._gaps = [gap for gap in self._gaps if chance(gaps, gap.end, at) < GRACE * self.ttl]
        if self._why not in ("", REFUSED, told):
            self._tell(None, self._why)
        self._tell_refusal()

    def beat(self, at: float) -> None:
        """Record that a node has beaten: a refusal that was seen before that is over."""
        if self.refused_since is not None and at > self._risen:
            self.refused_since = None
            if self._gaps and self._gaps[-1].why == REFUSED:
                self._gaps[-1] = self._gaps[-1]._replace(end=min(at, self._gaps[-1].end))

    def inherit(self, other: "Chance", at: float) -> None:
        """Take over what keys of another Redis bring along: its gaps. Their move is one more, from its last answer on.

        The keys that were here before share these gaps: some verdicts on them come later.
        """
        gaps, self._gaps = sorted([*self._gaps, *other.gaps(), Gap(other.at, at, MOVED)]), []
        for gap in gaps:
            self._add(*gap)

    def gaps(self) -> Sequence[Gap]:
        """Return all gaps: a run of Redis is one until it has lasted."""
        young = self.at - self._born < SHORT * self.ttl
        return [*self._gaps, Gap(self._born, self.at, YOUNG)] if young else self._gaps

    def _why_not(self, before: Server | None, server: Server, passed: float) -> str:
        """Return why the interval that ends with an answer gave no chance; empty if it did."""
        # After a restart with restored data, nodes that nobody has seen had no chance before.
        restored = server.restored and server.uptime < GRACE * self.ttl
        reasons = (
            (RESTARTED, before.run_id != server.run_id if before else restored),
            (DELETED, before and before.flushes < server.flushes),
            (ROLE, before and before.role != server.role),
            (NO_ANSWER, passed > SILENT),
            (CUT, server.silence > CUT_OFF * self.ttl),
            (PAUSED, server.paused or (before and before.paused)),
            (REFUSED, self.refused_since is not None),
        )
        return next((why for why, holds in reasons if holds), "")

    def _tell_refusal(self) -> None:
        """Tell that a refusal has begun, or is over for so long that the next one is another one."""
        if self.refused_since is not None:
            self._refused = self.at
            if self.refusal_since is None:
                self.refusal_since = self.refused_since
                self._tell(None, REFUSED)
        elif self.refusal_since is not None and self.at - self._refused >= QUIET:
            self._tell(REFUSED, TAKES_WRITES, Gap(self.refusal_since, self._refused, REFUSED))
            self.refusal_since = None

    def _tell(self, before: str | None, after: str, gap: Gap | None = None) -> None:
        server = self.server or Server("", "")
        evidence = Evidence(gap=gap, run_id=server.run_id, role=server.role)
        self.log.append(Change(self.address.encode(), before, after, self.at, evidence=evidence, kind=Kind.REDIS))

    def _add(self, start: float, end: float, why: str) -> None:
        """Add a gap; gaps that touch become one."""
        while self._gaps and start <= self._gaps[-1].end:
            last = self._gaps.pop()
            start, end = min(start, last.start), max(end, last.end)
        self._gaps.append(Gap(start, end, why))


def _refuses_more(before: Server | None, server: Server) -> bool:
    """Return whether a Redis refused writes since its last answer; of its first answer, whether it may refuse still."""
    refused, began = server.refused or {}, server.blocked and not (before and before.blocked)
    if before is None:
        failing = server.last_save_ok is False or (server.memory_used_ratio or 0) >= FULL
        return began or (any(refused.values()) if failing else bool(refused.get("NOREPLICAS")))
    counted = before.refused or {}
    return began or any(count > counted.get(error, 0) for error, count in refused.items())


@dataclass(slots=True)
class Chances:
    """The chance at each Redis that holds keys: a single server, or each primary of a cluster.

    Attributes:
        ttl: Seconds that a heartbeat lives.
        log: The change log.
        server: What Redis said last; in a cluster, what each primary said. None before the first answer.
        at: When it said that.
        asked: Since when the first answer is awaited: one that comes long after that shows a silence.
        each: The chance at each address.
        moved: When keys of each node moved last, if the node was known then; ``NEVER`` if they did not.
    """

    ttl: float
    log: list[Change]
    server: Server | None = None
    at: float = NEVER
    asked: float = -NEVER
    each: dict[str, Chance] = field(default_factory=dict)
    moved: dict[bytes, float] = field(default_factory=dict)

    def look(self, server: Server, at: float, names: Callable[[], Iterable[bytes]]) -> None:
        """Record what each Redis said.

        Args:
            server: What was said.
            at: When it was said. What is older than the last answer is ignored, and so are the later parts of a read.
            names: Returns the nodes whose keys may have moved.
        """
        if at < self.at or server is self.server:
            return
        before, self.server, self.at = self.server, server, at
        if before is None or before.placement != server.placement:
            known, asked = self.each, at if before else min(at, self.asked)
            self.each = {
                address: known.get(address) or Chance(address, self.ttl, self.log, asked)
                for address in server.addresses
            }
            if before:
                self._move(before, server, known, names())
                self.log.append(Change(b"", None, MOVED, at, kind=Kind.REDIS))
        for address, member in server.members.items():
            if address in self.each:
                self.each[address].look(member, at)

    def of(self, name: bytes) -> list[Chance]:
        """Return the chance at each Redis of a node's keys, that of its heartbeat at the end."""
        holders = self.server.holders(name) if self.server else ()
        return [self.each[address] for address in holders if address in self.each]

    def _move(self, before: Server, server: Server, known: Mapping[str, Chance], names: Iterable[bytes]) -> None:
        """Let each Redis to which keys of nodes moved inherit the gaps of the Redis that held them."""
        moves = set[tuple[str, str]]()
        last, self.moved = self.moved, {}
        for name in names:
            held, holds = before.holders(name), server.holders(name)
            moves.update(zip(held, holds, strict=True))
            self.moved[name] = last.get(name, NEVER) if held == holds else self.at
        for old, new in sorted(moves):
            if old != new and old in known and new in self.each:
                self.each[new].inherit(known[old], self.at)

    @property
    def refused(self) -> list[float]:
        """Since when each Redis is taken to refuse writes that is."""
        return [each.refused_since for each in self.each.values() if each.refused_since is not None]

    @property
    def calm(self) -> bool:
        """Whether all servers that hold keys gave the last answer, and no gap may excuse a missing heartbeat."""
        return self.server is not None and all(each.at == self.at and not each.gaps() for each in self.each.values())
