"""Packed commands that read nodes; the requests are built once for the same names."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from exporter.contract import FIELDS
from exporter.settings import Keys

CHUNK: Final = 1000
"""Nodes in a request. A larger request would be no faster, and would let Redis's other clients wait longer."""


def pack(*words: bytes) -> bytes:
    """Return one command in Redis's wire format (an array of bulk strings)."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


_FIELD_WORDS: Final = pack(*(field.encode() for field in FIELDS)).split(b"\r\n", 1)[1]
_HMGET: Final = b"*%d\r\n$5\r\nHMGET\r\n$%%d\r\n%%b\r\n%b" % (2 + len(FIELDS), _FIELD_WORDS)
_PTTL: Final = b"*2\r\n$4\r\nPTTL\r\n$%d\r\n%b\r\n"

_SECTIONS: Final = (
    *(b"server", b"clients", b"memory", b"persistence", b"replication", b"stats"),
    *(b"errorstats", b"commandstats"),
)
SERVER: Final = pack(b"INFO", *_SECTIONS)
"""The command that reads the state of a server: Redis 7 and newer take several sections in one command."""
OLD_SERVER: Final = pack(b"INFO", b"all")
"""The same for older servers. They refuse ``SERVER``."""


@dataclass(frozen=True, slots=True)
class KeyNames:
    """The names of the nodes' keys: two prefixes, each followed by the node's id."""

    metrics: bytes
    heartbeat: bytes

    @classmethod
    def of(cls, keys: Keys) -> "KeyNames":
        """Return the key names that the settings give."""
        return cls(keys.metrics_prefix.encode(), keys.heartbeat_prefix.encode())

    def hmget(self, name: bytes) -> bytes:
        """Return the command that reads a node's fields."""
        key = self.metrics + name
        return _HMGET % (len(key), key)

    def pttl(self, name: bytes) -> bytes:
        """Return the command that reads the TTL of a node's heartbeat."""
        key = self.heartbeat + name
        return _PTTL % (len(key), key)

    def mget(self, names: Iterable[bytes]) -> bytes:
        """Return the command that reads the values of some nodes' heartbeats."""
        return pack(b"MGET", *(self.heartbeat + name for name in names))

    def exists(self, name: bytes) -> bytes:
        """Return the command that reads whether a node's hash exists."""
        return pack(b"EXISTS", self.metrics + name)

    def heartbeat_of(self, name: bytes) -> bytes:
        """Return the commands that read the TTL and the value of a node's heartbeat: two replies."""
        return self.pttl(name) + pack(b"GET", self.heartbeat + name)

    def whole_node(self, name: bytes) -> bytes:
        """Return the commands that read one node alone: EXISTS of the hash, fields, TTL and heartbeat; four replies."""
        return self.exists(name) + self.hmget(name) + self.heartbeat_of(name)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One request for up to ``CHUNK`` nodes.

    The replies are one HMGET for each node, then one PTTL for each node, then one MGET. Hashes are
    read before heartbeats, so that a node that beats between the two reads counts as alive.
    """

    names: Sequence[bytes]
    packed: bytes

    @property
    def replies(self) -> int:
        """The number of replies."""
        return 2 * len(self.names) + 1


def chunks_of(names: Sequence[bytes], keys: KeyNames) -> tuple[Chunk, ...]:
    """Return the requests for these nodes."""
    parts = [names[start : start + CHUNK] for start in range(0, len(names), CHUNK)]
    return tuple(
        Chunk(part, b"".join((*map(keys.hmget, part), *map(keys.pttl, part), keys.mget(part)))) for part in parts
    )
