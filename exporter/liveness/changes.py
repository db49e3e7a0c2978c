"""What the judge tells others: the change log with its evidence, and a view of all that is not as it should be.

Journal, alerts, log lines and what a restart restores are folds of the log. All values that others get are immutable,
and all times are monotonic seconds.
"""

import marshal
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from exporter.liveness.mass_loss import Death, Loss
from exporter.source.reading import Reading, Server

NEVER: Final = float("-inf")
"""A time before all times."""
WINDOW: Final = 120.0
"""Seconds over which the times are added up in which Redis could not be read."""


class State(StrEnum):
    """The state of a node."""

    ONLINE = "online"
    OFFLINE = "offline"
    UNDECIDED = "undecided"
    """The node has no heartbeat, but it may be alive: a gap or a mass loss may explain that."""
    FORGOTTEN = "forgotten"
    """The node is offline, and only counted."""
    GONE = "gone"
    """The node stopped gracefully, or never existed: nothing is exported."""


class Kind(StrEnum):
    """What has changed."""

    NODE = "node"
    REDIS = "redis"
    MASS_LOSS = "mass_loss"


class Gap(NamedTuple):
    """A time without chance; ``why`` is what was wrong at its end."""

    start: float
    end: float
    why: str


class Evidence(NamedTuple):
    """What was known when a state changed; None for what the look did not show.

    Attributes:
        ttl_ms: The PTTL of the heartbeat, as Redis gave it.
        hashed: Whether the hash was there.
        text: What the last heartbeat said.
        end: When that heartbeat ended, or will.
        gap: The last time without chance that may excuse the node; of a change of Redis, the time that is over with it.
        run_id: The run of Redis; in a cluster, of all primaries.
        role: The role of Redis.
    """

    ttl_ms: int | None = None
    hashed: bool | None = None
    text: bytes | None = None
    end: float | None = None
    gap: Gap | None = None
    run_id: str = ""
    role: str = ""


class Change(NamedTuple):
    """A change of a node, of Redis, or of a mass loss.

    Attributes:
        name: The node; the address of the Redis, empty for a single server; or the name of the mass loss.
        before: The state before; None if it was unknown.
        after: The state now: a ``State``, or words of ``chance`` and ``judge``.
        at: When the look began that showed it; of a change of Redis, when it answered.
        why: The rule that decided, or the error of Redis.
        died: When the node died; None unless it is offline or forgotten.
        exact: Whether that is the end of its heartbeat.
        loss: The mass loss that the node is a member of, or that has changed.
        evidence: What was known.
        kind: What has changed.
    """

    name: bytes
    before: str | None
    after: str
    at: float
    why: str = ""
    died: float | None = None
    exact: bool = False
    loss: Loss | None = None
    evidence: Evidence = Evidence()
    kind: Kind = Kind.NODE


class Node(NamedTuple):
    """A node that does not beat, or of which that is unknown.

    Attributes:
        change: Its last change, which says its state and since when it is dead.
        text: What its last heartbeat said; None if no heartbeat was ever seen.
        end: When that heartbeat ended, or will; ``NEVER`` if no heartbeat was ever seen.
        why: Why it has this state, as far as is known now.
        gap: The last gap that may excuse it.
        until: When it can be called dead if it does not beat; None if it is dead, or that is unknown.
        looked: When the last look at it ended.
        seen: When the last look began that showed a key of it on the data of then.
        ttl_ms: The PTTL that the last look showed; None if the primary could not be read.
        hashed: Whether that look showed the hash.
        since: Since when its chance counts; ``NEVER`` until a look has missed its heartbeat.
        new: Whether it was found before the first ledger, and the journal does not know it.
    """

    change: Change
    text: bytes | None = None
    end: float = NEVER
    why: str = ""
    gap: Gap | None = None
    until: float | None = None
    looked: float = NEVER
    seen: float = NEVER
    ttl_ms: int | None = None
    hashed: bool | None = None
    since: float = NEVER
    new: bool = False

    @property
    def state(self) -> State:
        """The state; of a node that nobody has judged yet, ``GONE``."""
        return State(self.change.after)

    @property
    def dead(self) -> bool:
        """Whether it is declared dead."""
        return self.change.died is not None


class Verdicts(NamedTuple):
    """The states of the nodes of one reading.

    Attributes:
        states: The states, in the order of the reading's names.
        absent: The nodes that do not beat, by their positions in the reading.
    """

    states: Sequence[State]
    absent: Mapping[int, Node]


class View(NamedTuple):
    """All that others need to know, at one moment.

    Attributes:
        absent: The nodes that do not beat, by name.
        counts: How many nodes are in each state.
        server: What Redis said last; None before its first answer.
        answered: When it said that.
        refused_since: Since when a Redis is taken to refuse writes; None while all take them.
        refusal_since: The same for the refusal that was told, which outlasts short pauses.
        calm: Whether all of Redis gave the last answer, and no gap counts.
        errors: Why the last operation of each kind failed that did; empty if Redis can be read.
        outages: The begin and the end of each latest time in which Redis could not be read, that of now included.
    """

    absent: Mapping[bytes, Node]
    counts: Mapping[str, int]
    server: Server | None
    answered: float
    refused_since: float | None
    refusal_since: float | None
    calm: bool
    errors: Mapping[str, str]
    outages: Sequence[tuple[float, float]]

    def unreadable(self, now: float) -> float:
        """Return for how many of the last ``WINDOW`` seconds Redis could not be read."""
        return sum(max(0.0, min(end, now) - max(start, now - WINDOW)) for start, end in self.outages)


class Leftovers(NamedTuple):
    """What the plan and the loaded lists say of dead nodes.

    Attributes:
        needed: Nodes that must not be forgotten: the plan gives them a portfolio, or one that they list is untraded.
        rehomed: Nodes whose work has moved.
    """

    needed: frozenset[bytes] = frozenset()
    rehomed: frozenset[bytes] = frozenset()


class Batch:
    """The last look at some nodes that are read together.

    A new look at the same nodes replaces the old one as a whole, so that a look at living nodes costs nothing for each.
    The heartbeats are one object until somebody asks for one: thousands of small ones would slow down each read.

    Attributes:
        names: The nodes.
        elsewhere: Positions of the nodes whose last living heartbeat is in another batch, or that do not beat.
        asked, at, ttl_ms: See ``Reading``.
        first: When the first heartbeat ends, or earlier.
    """

    def __init__(self, ttl: float, reading: Reading) -> None:
        self.names, self._ttl, self.elsewhere = reading.names, ttl, set(range(len(reading.names)))

    def take(self, reading: Reading, least: int) -> None:
        """Replace the last look by this one; no living heartbeat has a lower PTTL than ``least``."""
        self.asked, self.at, self.ttl_ms = reading.asked, reading.at, reading.ttl_ms
        self._beats: Any = marshal.dumps(reading.beats)  # type: ignore[arg-type] # a list
        self.first = self.at + min(least / 1000, self._ttl)

    def beat(self, position: int) -> bytes | None:
        """Return the value of a heartbeat."""
        if isinstance(self._beats, bytes):
            self._beats = marshal.loads(self._beats)  # noqa: S302 - this class wrote it
        return self._beats[position]  # type: ignore[no-any-return]

    def end(self, position: int) -> float:
        """Return when a heartbeat ends. A node whose heartbeat lives longer than a TTL is read again before."""
        return self.at + min(self.ttl_ms[position] / 1000, self._ttl)

    def ending(self, by: float) -> Iterator[Death]:
        """Yield what would be the deaths of the nodes whose heartbeats end by a moment."""
        for position, name in enumerate(self.names) if self.first <= by else ():
            if position not in self.elsewhere and (end := self.end(position)) <= by:
                yield Death(end, end, name)
