"""What Redis held of some nodes, column by column and not judged yet; and what a source of readings offers."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeVar

from exporter.contract import FIELDS
from exporter.source.discovery import Found

MISSING: Final = -2
"""PTTL of a key that is not there (https://redis.io/docs/latest/commands/pttl/)."""
NO_EXPIRY: Final = -1
"""PTTL of a key that never expires."""

T = TypeVar("T")


REFUSALS: Final = ("MISCONF", "OOM", "NOREPLICAS")
"""The errors by which Redis refuses writes of every client: ``errorstat_*`` in INFO, Redis 6.2 and newer."""

RIGHTS: Final = ("info", "scan")
"""The commands that the exporter can go on without, or must name, when Redis refuses them to its user."""


@dataclass(frozen=True, slots=True)
class Server:
    """What one Redis said of itself, in INFO, at one look."""

    run_id: str
    role: str
    uptime: float = float("inf")
    """Seconds since it started."""
    restored: bool = False
    """It started with what an earlier run had saved, or may have."""
    evicted: int = 0
    """Keys that it evicted since it started."""
    refused: Mapping[str, int] | None = None
    """Writes that it refused since it started, by error (one of ``REFUSALS``); None before Redis 6.2."""
    blocked: bool = False
    """It refuses writes now, told by its last snapshot and its configuration; used only where ``refused`` is None."""
    flushes: int = 0
    """FLUSHALL, FLUSHDB and SWAPDB that it executed since it started."""
    paused: bool = False
    """Writes are paused (CLIENT PAUSE), where the server says so: Valkey does, Redis 8.0 does not."""
    silence: float = 0.0
    """Seconds since a replica last heard from its master; 0 on a master."""
    last_save_ok: bool | None = None
    """Whether the last snapshot succeeded; None where the server does not say."""
    memory_used_ratio: float | None = None
    """used_memory / maxmemory; None without a limit."""
    told: bool = True
    """False if it refuses INFO to the exporter's user: then nothing else here is known."""

    @property
    def members(self) -> "Mapping[str, Server]":
        """The servers that answered, by address; a single server has the address ``""``."""
        return {"": self}

    @property
    def addresses(self) -> Collection[str]:
        """The addresses of all servers that hold keys, whether they answered or not."""
        return self.members

    @property
    def placement(self) -> object:
        """An object that stays the same while every key stays on its server: a cluster's map of slots."""
        return None

    def holders(self, name: bytes) -> tuple[str, ...]:  # noqa: ARG002 - one server holds every node's keys
        """Return the addresses of the servers that hold a node's hash and heartbeat; not all need be ``members``."""
        return ("",)


@dataclass(frozen=True, slots=True)
class Reading:
    """What Redis held of some nodes; every column has an item a node.

    Attributes:
        asked: Monotonic time before Redis was asked: what it shows is no older.
        at: Monotonic time at which all of it had been read: what it shows is no newer.
        wall: Unix time of that moment.
        server: What the server said of itself.
        names: The nodes' ids.
        fields: A column a contract field, in the order of ``contract.FIELDS``.
        ttl_ms: The heartbeats' PTTL; MISSING or NO_EXPIRY where they have none.
        beats: The heartbeats' values.
        without_hash: Positions of nodes that have no hash.
        unread: Positions of nodes whose primary, in a cluster, could not be read: nothing is known of them.
    """

    asked: float
    at: float
    wall: float
    server: Server
    names: Sequence[bytes] = ()
    fields: Sequence[Sequence[bytes | None]] = ((),) * len(FIELDS)
    ttl_ms: Sequence[int] = ()
    beats: Sequence[bytes | None] = ()
    without_hash: frozenset[int] = frozenset()
    unread: frozenset[int] = frozenset()


def joined(names: Sequence[bytes], parts: Sequence[Reading]) -> Reading:
    """Return the parts of a reading of these nodes as one; it is as late as the last of them."""
    if len(parts) == 1:
        return replace(parts[0], names=names)
    without_hash: set[int] = set()
    unread: set[int] = set()
    start = 0
    for part in parts:
        without_hash.update(start + position for position in part.without_hash)
        unread.update(start + position for position in part.unread)
        start += len(part.names)
    return replace(
        parts[-1],
        asked=parts[0].asked,
        names=names,
        fields=tuple(map(_concatenated, zip(*(part.fields for part in parts), strict=True))),
        ttl_ms=_concatenated(part.ttl_ms for part in parts),
        beats=_concatenated(part.beats for part in parts),
        without_hash=frozenset(without_hash),
        unread=frozenset(unread),
    )


def _concatenated(columns: Iterable[Sequence[T]]) -> list[T]:
    whole: list[T] = []
    for column in columns:
        whole += column
    return whole


class Reader(Protocol):
    """Reads nodes' values over connections of its source. For one thread at a time."""

    def parts(self, names: Sequence[bytes], deadline: float) -> Iterator[Reading]:
        """Yield what Redis holds of these nodes, in their order, at least one part.

        Each part comes as soon as it is read: while it is dealt with, Redis works on
        the next. What is derived from the names is kept as long as the same sequence
        is passed.

        Args:
            names: The nodes.
            deadline: Monotonic seconds.

        Raises:
            SourceError: Redis could not be read in full before the deadline.
        """

    def read(self, names: Sequence[bytes], deadline: float) -> Reading:
        """Return what Redis holds of these nodes, all parts in one; raises as ``parts`` does."""


class Source(Protocol):
    """A Redis installation that nodes write to."""

    def reader(self) -> Reader:
        """Return a new reader."""

    def discover(self, timeout: float) -> Found:
        """Return the names of all nodes that have keys; ``timeout`` in seconds for each call.

        Raises:
            SourceError: Redis could not be scanned in full.
        """

    def missing_rights(self) -> frozenset[str]:
        """Return the commands, in lower case, that Redis refuses to the exporter's user: ``info``, ``scan``."""

    def close(self) -> None:
        """Close all connections."""
