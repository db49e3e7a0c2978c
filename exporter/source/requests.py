"""Packed commands: what is sent to Redis for some nodes, built once while their names stay the same."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from exporter.contract import FIELDS
from exporter.settings import Keys

CHUNK: Final = 1000
"""Nodes a request: large enough to cost nothing extra, small enough that Redis serves others between."""
_FIRST_CHUNK: Final = 250
"""Nodes in the first request: until it is answered, there is nothing to do."""


def pack(*words: bytes) -> bytes:
    """Return one command in Redis's wire format (an array of bulk strings)."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


_FIELD_WORDS: Final = pack(*(field.encode() for field in FIELDS)).split(b"\r\n", 1)[1]
_HMGET: Final = b"*%d\r\n$5\r\nHMGET\r\n$%%d\r\n%%b\r\n%b" % (2 + len(FIELDS), _FIELD_WORDS)
_PTTL: Final = b"*2\r\n$4\r\nPTTL\r\n$%d\r\n%b\r\n"

_SECTIONS: Final = (
    *(b"server", b"clients", b"memory", b"persistence", b"replication", b"stats"),
    *(b"errorstats", b"commandstats"),  # errorstats is unknown to Redis before 6.2: an empty reply
)
SERVER: Final = b"".join(pack(b"INFO", section) for section in _SECTIONS)
"""Which server answers, whether it is current and takes writes, what it lost; ``SERVER_REPLIES`` replies.

One command a section: several sections in one command are known to Redis 7 and newer only.
"""
SERVER_REPLIES: Final = len(_SECTIONS)


@dataclass(frozen=True, slots=True)
class KeyNames:
    """Where a node's keys are."""

    metrics: bytes
    heartbeat: bytes

    @classmethod
    def of(cls, keys: Keys) -> "KeyNames":
        """Return the key names that the settings give."""
        return cls(keys.metrics_prefix.encode(), keys.heartbeat_prefix.encode())

    def hmget(self, name: bytes) -> bytes:
        """Ask for a node's fields."""
        key = self.metrics + name
        return _HMGET % (len(key), key)

    def pttl(self, name: bytes) -> bytes:
        """Ask for the time left to a node's heartbeat."""
        key = self.heartbeat + name
        return _PTTL % (len(key), key)

    def mget(self, names: Iterable[bytes]) -> bytes:
        """Ask for the heartbeats of some nodes."""
        return pack(b"MGET", *(self.heartbeat + name for name in names))

    def exists(self, name: bytes) -> bytes:
        """Ask whether a node's hash is there."""
        return pack(b"EXISTS", self.metrics + name)

    def heartbeat_of(self, name: bytes) -> bytes:
        """Ask for the time left to a node's heartbeat, and for its value: two replies."""
        return self.pttl(name) + pack(b"GET", self.heartbeat + name)

    def look_closely(self, name: bytes) -> bytes:
        """Ask whether a node's hash is there, for its fields, TTL and heartbeat: four replies."""
        return self.exists(name) + self.hmget(name) + self.heartbeat_of(name)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One request for up to ``CHUNK`` nodes.

    Its replies: an HMGET for each node, then a PTTL for each node, then one MGET.
    The hash is read before the heartbeat, so that a beat between the two errs
    towards a living node.
    """

    names: Sequence[bytes]
    packed: bytes

    @property
    def replies(self) -> int:
        """How many replies it has."""
        return 2 * len(self.names) + 1


def chunks_of(names: Sequence[bytes], keys: KeyNames) -> tuple[Chunk, ...]:
    """Return the requests for these nodes."""
    starts = [0, *range(_FIRST_CHUNK, len(names), CHUNK)]
    parts = [names[start:end] for start, end in zip(starts, [*starts[1:], len(names)], strict=True)]
    return tuple(
        Chunk(part, b"".join((*map(keys.hmget, part), *map(keys.pttl, part), keys.mget(part))))
        for part in parts
        if part
    )
