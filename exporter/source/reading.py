"""What Redis held of some nodes, column by column, not yet judged; and who can tell."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeVar

from exporter.contract import FIELDS
from exporter.source.discovery import Found

MISSING: Final = -2
"""PTTL of a key that is not there (https://redis.io/docs/latest/commands/pttl/)."""
NO_EXPIRY: Final = -1
"""PTTL of a key that never expires."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Server:
    """Which Redis answered: another run or role means that what is missing may have been lost with it."""

    run_id: str
    role: str
    uptime: float = float("inf")
    """Seconds since it started."""
    restored: bool = False
    """It started with what an earlier run had saved."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What Redis held of some nodes; every column has an item a node.

    Attributes:
        at: Monotonic time at which all of it had been read.
        wall: Unix time of that moment.
        server: Who answered.
        names: The nodes' ids.
        fields: A column a contract field, in the order of ``contract.FIELDS``.
        ttl_ms: The heartbeats' PTTL; MISSING or NO_EXPIRY where they have none.
        beats: The heartbeats' values.
        without_hash: Positions of nodes that have no hash.
    """

    at: float
    wall: float
    server: Server
    names: Sequence[bytes] = ()
    fields: Sequence[Sequence[bytes | None]] = ((),) * len(FIELDS)
    ttl_ms: Sequence[int] = ()
    beats: Sequence[bytes | None] = ()
    without_hash: frozenset[int] = frozenset()

    def amended(self, positions: Sequence[int], other: "Reading") -> "Reading":
        """Return this reading with some nodes' values taken from another one of just those nodes."""

        def put(column: Sequence[T], values: Sequence[T]) -> Sequence[T]:
            amended = list(column)
            for position, value in zip(positions, values, strict=True):
                amended[position] = value
            return amended

        gone = {positions[i] for i in other.without_hash}
        return replace(
            self,
            fields=tuple(map(put, self.fields, other.fields)),
            ttl_ms=put(self.ttl_ms, other.ttl_ms),
            beats=put(self.beats, other.beats),
            without_hash=self.without_hash.difference(positions) | gone,
        )


class Reader(Protocol):
    """Reads nodes' values over connections of its source. For one thread at a time."""

    def read(self, names: Sequence[bytes], deadline: float) -> Reading:
        """Return what Redis holds of these nodes; ``deadline`` in monotonic seconds.

        What is derived from the names is kept as long as the same sequence is passed.

        Raises:
            SourceError: Redis could not be read in full before the deadline.
        """


class Source(Protocol):
    """A Redis installation that nodes write to."""

    def reader(self) -> Reader:
        """Return a new reader."""

    def discover(self, timeout: float) -> Found:
        """Return the names of all nodes that have keys; ``timeout`` in seconds for each call.

        Raises:
            SourceError: Redis could not be scanned in full.
        """

    def close(self) -> None:
        """Close all connections."""
