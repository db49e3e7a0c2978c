"""Readings for the tests: what Redis might have held, without a Redis."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from exporter.contract import FIELDS
from exporter.source.reading import MISSING, NO_EXPIRY, Reading, Server

SERVER = Server("run-1", "master")
WALL = 1_767_702_645.0
"""2026-01-06T12:30:45Z."""


@dataclass(frozen=True)
class Pair:
    """The two keys of one node.

    Attributes:
        ttl: Seconds that its heartbeat has left; None if it is missing.
        fields: Its hash; None if it is missing.
        beat: Its heartbeat's value.
    """

    ttl: float | None = None
    fields: Mapping[str, bytes] | None = field(default_factory=dict)
    beat: bytes = b"2026-01-06T12:30:45.123456"

    @property
    def ttl_ms(self) -> int:
        return MISSING if self.ttl is None else round(self.ttl * 1000)


ALIVE = Pair(ttl=30)
CRASHED = Pair()
GONE = Pair(fields=None)
ZOMBIE = Pair(ttl=30, fields=None)
ENDLESS = Pair(ttl=NO_EXPIRY / 1000)


def reading_of(
    pairs: Mapping[bytes, Pair], at: float = 0.0, server: Server = SERVER, names: Sequence[bytes] | None = None
) -> Reading:
    """Return the reading of these nodes, in the order of ``names``."""
    names = tuple(pairs) if names is None else names
    rows = [[(pairs[name].fields or {}).get(wanted) for wanted in FIELDS] for name in names]
    return Reading(
        asked=at,
        at=at,
        wall=WALL + at,
        server=replace(server),  # each reading asks anew
        names=names,
        fields=tuple(zip(*rows, strict=True)) or ((),) * len(FIELDS),
        ttl_ms=[pairs[name].ttl_ms for name in names],
        beats=[None if pairs[name].ttl is None else pairs[name].beat for name in names],
        without_hash=frozenset(i for i, name in enumerate(names) if pairs[name].fields is None),
    )


@dataclass(frozen=True, slots=True)
class Cluster(Server):
    """Primaries that each hold the nodes whose name begins with one of their letters."""

    members: Mapping[str, Server] = field(default_factory=dict)
    owners: Mapping[str, str] = field(default_factory=dict)

    @property
    def addresses(self) -> Collection[str]:
        return self.owners.values()

    @property
    def placement(self) -> object:
        return self.owners

    def holders(self, name: bytes) -> tuple[str, ...]:
        return (self.owners.get(name.decode()[:1], ""),)


def cluster(*silent: str, owners: Mapping[str, str] | None = None, **members: Server) -> Cluster:
    """Return a cluster of A and B, or of the primaries that own these letters; some are silent, or say other things."""
    owners = owners or {"a": "A", "b": "B"}
    usual = Server("", "master", refused={"MISCONF": 0, "OOM": 0, "NOREPLICAS": 0})
    there = {name: members.get(name, replace(usual, run_id=name)) for name in owners.values() if name not in silent}
    return Cluster("", "cluster", members=there, owners=owners)
