"""Readings for the tests: what Redis might have held, without a Redis."""

from collections.abc import Mapping, Sequence
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
