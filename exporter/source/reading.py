"""What Redis held at one moment, before any judgement: nodes' names and values, and the state of the servers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from exporter.contract import FIELDS, LOADED_FIELD
from exporter.errors import SourceError

MISSING: Final = -2
"""PTTL of a key that does not exist (https://redis.io/docs/latest/commands/pttl/)."""
NO_EXPIRY: Final = -1
"""PTTL of a key that never expires."""
TOO_LARGE: Final = b"(too large)"
"""Stands in the place of a heartbeat whose node has values that are too large to be read. It is no time."""

LISTS: Final = FIELDS.index(LOADED_FIELD)
"""The column of ``Reading.fields`` with the nodes' lists of loaded portfolios."""

REFUSALS: Final = ("MISCONF", "OOM", "NOREPLICAS")
"""The errors with which Redis refuses the writes of all clients: ``errorstat_*`` in INFO, Redis 6.2 and newer."""


@dataclass(frozen=True, slots=True)
class Server:
    """The state of one Redis server, from one INFO."""

    run_id: str
    role: str
    uptime: float = float("inf")
    """Seconds since the server started."""
    restored: bool = False
    """Whether the server loaded, or may have loaded, data of an earlier run when it started."""
    refused: Mapping[str, int] | None = None
    """Writes that the server refused since it started, by error (one of ``REFUSALS``); None before Redis 6.2."""
    blocked: bool = False
    """Whether the server may refuse writes now, since its last snapshot failed; set only if ``refused`` is None."""
    flushes: int = 0
    """How many FLUSHALL, FLUSHDB and SWAPDB the server executed since it started."""
    paused: bool = False
    """Whether writes are paused (CLIENT PAUSE). Valkey reports a pause; Redis 8.0 does not."""
    silence: float = 0.0
    """Seconds since a replica last heard from its master; 0 on a master."""
    last_save_ok: bool | None = None
    """Whether the last snapshot succeeded; None if the server does not say."""
    memory_used_ratio: float | None = None
    """used_memory / maxmemory; None without a limit."""
    evicts: bool = False
    """Whether the server makes room for writes by deleting keys (any ``maxmemory_policy`` but ``noeviction``)."""
    standalone: bool = False
    """Whether the server is no node of a cluster, by its own word."""
    saving: bool = False
    """Whether a child process of the server saves now: meanwhile the server records no idle times."""
    saves: tuple[bytes, ...] = ()
    """Values that change with each save of the server."""
    info_allowed: bool = True
    """Whether the exporter's user may run INFO; if not, all other attributes are unknown."""

    @property
    def members(self) -> "Mapping[str, Server]":
        """The servers that answered, by address; the address of a single server is ``""``."""
        return {"": self}

    @property
    def addresses(self) -> Collection[str]:
        """The addresses of all servers that hold keys, whether they answered or not."""
        return self.members

    @property
    def placement(self) -> object:
        """An object that is equal to the last one while each key stays on its server: a cluster's map of slots."""
        return None

    def holders(self, name: bytes) -> tuple[str, ...]:  # noqa: ARG002 - one server holds every node's keys
        """Return the addresses of the servers of a node's hash and heartbeat; some of them may not be ``members``."""
        return ("",)


@dataclass(frozen=True, slots=True)
class Reading:
    """The values of some nodes as Redis held them; each column has one item for each node.

    Attributes:
        asked: Monotonic time before the first request: no value is older.
        at: Monotonic time after the last reply: no value is newer.
        wall: Unix time of ``at``.
        server: The state of Redis.
        names: The nodes' ids.
        fields: One column for each field of the contract, in the order of ``contract.FIELDS``; None for a missing
            value, and for all values of a node of which one is too large.
        ttl_ms: The PTTL of the heartbeats in milliseconds, MISSING or NO_EXPIRY.
        beats: The values of the heartbeats; None for a missing heartbeat, ``TOO_LARGE`` for one that was not read.
        without_hash: Positions of nodes that have no hash.
        unread: Positions of nodes whose primary, in a cluster, could not be read: nothing is known of these nodes.
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

    def check_fields(self) -> None:
        """Raise a SourceError if a value is no text. Nobody asks before a value has caused trouble: it takes time."""
        if not {type(value) for column in self.fields for value in column} <= {bytes, type(None)}:
            raise SourceError("Redis gave a value of a hash that is no text")


@dataclass(frozen=True, slots=True)
class Names:
    r"""The nodes to read, sorted by their ids as text.

    While the nodes stay the same, so does the object. Requests and templates that were made from it
    are kept until the object changes.

    Attributes:
        raw: The ids as bytes in Redis.
        shown: The same ids as text; bytes that are not valid UTF-8 become ``\xff``.
        ambiguous: How many ids were dropped because their text equals the text of another id.
        over_limit: How many ids were dropped because there are too many.
    """

    raw: tuple[bytes, ...] = ()
    shown: tuple[str, ...] = ()
    ambiguous: int = 0
    over_limit: int = 0


def shown_id(raw: bytes) -> str:
    r"""Return a node's id as text; bytes that are not valid UTF-8 become ``\\xff``."""
    return raw.decode("utf-8", "backslashreplace")


def names_of(found: Collection[bytes], limit: int) -> Names:
    """Return the names to read.

    If two ids have the same text, the id that is valid UTF-8 is kept. If neither is valid UTF-8, the
    first id in byte order is kept. If there are too many ids, the first ones in the order of their
    texts are kept.

    Args:
        found: The ids found in Redis.
        limit: How many ids to keep at most.
    """
    kept: dict[str, bytes] = {}
    for raw in found:
        shown = shown_id(raw)
        other = kept.setdefault(shown, raw)
        if raw is not other:
            kept[shown] = min(raw, other, key=lambda name: (name != shown.encode(), name))
    ids = sorted(kept)
    over_limit = max(0, len(ids) - limit)
    del ids[limit:]
    return Names(
        raw=tuple(kept[shown] for shown in ids),
        shown=tuple(ids),
        ambiguous=len(found) - len(kept),
        over_limit=over_limit,
    )
