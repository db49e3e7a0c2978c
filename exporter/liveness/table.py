"""What is known of nodes: of those that beat by the look at many of them, of each other node by a record of its own.

All times are monotonic seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from exporter.liveness.changes import NEVER, Absent, Change, Gap, State
from exporter.liveness.mass_loss import Death, Thresholds
from exporter.source.reading import Reading


class Rules(NamedTuple):
    """The settings of the judge. Times in seconds; None for never."""

    ttl: float
    forget_after: float | None = None
    forget_rehomed_after: float | None = None
    thresholds: Thresholds = Thresholds()


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

    Attributes:
        names: The nodes.
        elsewhere: Positions of the nodes whose last living heartbeat is in another batch, or that do not beat.
        asked, at, ttl_ms, beats: See ``Reading``.
        first: When the first heartbeat ends, or earlier.
    """

    def __init__(self, ttl: float, reading: Reading) -> None:
        self.names, self._ttl = reading.names, ttl
        self.elsewhere = set(range(len(self.names)))

    def take(self, reading: Reading, least: int) -> None:
        """Replace the last look by this one; no living heartbeat has a lower PTTL than ``least``."""
        self.asked, self.at, self.ttl_ms, self.beats = reading.asked, reading.at, reading.ttl_ms, reading.beats
        self.first = self.at + min(least / 1000, self._ttl)

    def end(self, position: int) -> float:
        """Return when a heartbeat ends. A node whose heartbeat lives longer than a TTL is read again before."""
        return self.at + min(self.ttl_ms[position] / 1000, self._ttl)

    def ending(self, by: float) -> Iterator[Death]:
        """Yield what would be the deaths of the nodes whose heartbeats end by a moment."""
        for position, name in enumerate(self.names) if self.first <= by else ():
            if position not in self.elsewhere and (end := self.end(position)) <= by:
                yield Death(end, end, name)


@dataclass(slots=True)
class Node:
    """A node that does not beat, or of which that is unknown; see ``Absent`` for what others know of it.

    Attributes:
        end: When its last heartbeat ended, or will; ``NEVER`` if none was ever seen.
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

    @property
    def shown(self) -> Absent:
        """What others may know of it."""
        end = None if self.end == NEVER else self.end
        return Absent(self.change, self.text, end, self.why, self.gap, self.until, self.looked)
