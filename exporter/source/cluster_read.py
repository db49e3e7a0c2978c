"""One read of a cluster: the nodes' values from all primaries, and which nodes could not be read."""

import time
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any, Self

from redis.exceptions import AskError, ClusterDownError, MovedError

from exporter.contract import FIELDS
from exporter.errors import SourceError
from exporter.source.connection import linked
from exporter.source.primary import Batches, Primary, ask_servers
from exporter.source.reading import MISSING, Reading
from exporter.source.replies import NO_FIELDS, columns_of, expected, is_wrong_type
from exporter.source.requests import pack
from exporter.source.topology import NOWHERE, Cluster, Primaries, Topology

_HOPS = 3
_FIELD_WORDS = tuple(field.encode() for field in FIELDS)


class ClusterRead:
    """One read; its caller calls the methods in the order in which they stand here.

    Args:
        cluster: The connections.
        names: The nodes.
        topology: Which primary serves which key.
        deadline: Monotonic seconds.
    """

    def __init__(self, cluster: Cluster, names: Sequence[bytes], topology: Topology, deadline: float) -> None:
        self._keys, self._names, self._topology = cluster.keys, names, topology
        self._asked = time.monotonic()
        work = "read" if names else "look"
        self._primaries = {address: Primary(address, cluster, deadline, work) for address in topology.addresses}
        self._redirections = _Redirections(cluster, deadline)
        self._rows: list[Any] = [NO_FIELDS] * len(names)
        self._ttl_ms = [MISSING] * len(names)
        self._beats: list[bytes | None] = [None] * len(names)
        self._without_hash: set[int] = set()
        self._unread: set[int] = set()
        self._batches: list[Batches] = []

    def __enter__(self) -> Self:
        for primary in self._primaries.values():
            primary.connect()
        return self

    def __exit__(self, *_: object) -> None:
        """Ask for the topology if a key has moved or a primary has failed, and give the connections back."""
        if self._redirections.any_key_moved or self.failed:
            any(primary.ask_for_topology() for primary in self._primaries.values())
        for primary in self._primaries.values():
            primary.release()

    @property
    def any_primary_read(self) -> bool:
        """Whether at least one primary could be read."""
        return any(not primary.error for primary in self._primaries.values())

    @property
    def failed(self) -> bool:
        """Whether at least one node or primary could not be read."""
        return bool(self._unread) or any(primary.error for primary in self._primaries.values())

    @property
    def error(self) -> SourceError:
        """The first reason why a primary could not be read."""
        errors = (primary.error for primary in self._primaries.values() if primary.error)
        return next(errors, SourceError("no primary of the Redis Cluster is known"))

    def read_servers(self) -> None:
        """Read the state of the primaries (INFO)."""
        ask_servers(tuple(self._primaries.values()))

    def read_hashes(self, batches: Batches) -> None:
        """Read the hashes; a node's request has one reply, of HMGET."""
        for primary, position, (reply,) in self._exchange(batches, 1):
            words = (b"HMGET", self._keys.metrics + self._names[position], *_FIELD_WORDS)
            row = self._value(primary, position, reply, list, words)
            if row is not None:
                self._rows[position] = row

    def read_heartbeats(self, batches: Batches) -> None:
        """Read the heartbeats; a node's request has two replies, of PTTL and of GET."""
        for primary, position, (ttl, beat) in self._exchange(batches, 2):
            key = self._keys.heartbeat + self._names[position]
            text = self._value(primary, position, beat, bytes, (b"GET", key))
            if text is None:
                continue
            ttl_ms = self._value(primary, position, ttl, int, (b"PTTL", key))
            if ttl_ms == MISSING:  # the node wrote the heartbeat between the two commands
                ttl_ms = self._ask_again(primary, position, (b"PTTL", key))
            if ttl_ms is not None:
                self._beats[position], self._ttl_ms[position] = text, ttl_ms

    def without_fields(self) -> list[int]:
        """Return the positions of nodes for which no known field was read."""
        return [position for position, row in enumerate(self._rows) if row == NO_FIELDS]

    def find_missing_hashes(self, batches: Batches) -> None:
        """Ask which of the hashes without known fields exist.

        If keys are missing, the state of the primaries is read a second time: a FLUSHALL during the
        read may have deleted them.
        """
        for primary, position, (reply,) in self._exchange(batches, 1):
            key = self._keys.metrics + self._names[position]
            if self._value(primary, position, reply, int, (b"EXISTS", key)) == 0:
                self._without_hash.add(position)
        if self._without_hash or None in self._beats:
            self.read_servers()

    def reading(self) -> Reading:
        """Return all values that were read."""
        failed = [address for address, primary in self._primaries.items() if primary.error]
        unread = self._unread.union(
            *(
                batch.positions
                for batches in self._batches
                for address in (*failed, NOWHERE)
                for batch in batches[address]
            )
        )
        for position in unread:
            self._rows[position], self._ttl_ms[position], self._beats[position] = NO_FIELDS, MISSING, None
        members = {
            address: primary.server
            for address, primary in self._primaries.items()
            if primary.server is not None and not primary.error
        }
        return Reading(
            asked=self._asked,
            at=time.monotonic(),
            wall=time.time(),
            server=Primaries.of(members, self._topology, self._keys),
            names=self._names,
            fields=columns_of(self._rows),
            ttl_ms=self._ttl_ms,
            beats=self._beats,
            without_hash=frozenset(self._without_hash - unread),
            unread=frozenset(unread),
        )

    def _exchange(self, batches: Batches, replies: int) -> Iterator[tuple[Primary, int, tuple[Any, ...]]]:
        """Send each primary its batches, to all primaries at once; yield each node's primary, position and replies."""
        self._batches.append(batches)
        primaries = tuple(self._primaries.values())
        for turn in zip_longest(*(batches[primary.address] for primary in primaries)):
            asked = [(primary, batch) for primary, batch in zip(primaries, turn, strict=True) if batch]
            for primary, batch in asked:
                primary.send(batch.packed)
            for primary, batch in asked:
                received = iter(primary.receive(replies * len(batch.positions)))
                for position, some in zip(batch.positions, zip(*[received] * replies, strict=True), strict=False):
                    yield primary, position, some

    def _value(self, primary: Primary, position: int, reply: Any, kind: type, words: Sequence[bytes]) -> Any:
        """Return a value of the expected type, also if the key has moved; None if the value is missing or unreadable.

        Args:
            primary: The primary that was asked.
            position: The node's position.
            reply: The primary's reply.
            kind: The type of a valid reply.
            words: The command.
        """
        moved = isinstance(reply, MovedError | AskError)
        try:
            value = self._redirections.follow(primary.address, reply, words) if moved else reply
            return None if value is None or is_wrong_type(value) else expected(value, kind)
        except SourceError as error:
            self._unread.add(position)
            if not (moved or _is_unserved(reply)):
                primary.fail(error)
            return None

    def _ask_again(self, primary: Primary, position: int, words: Sequence[bytes]) -> Any:
        """Return the number that answers one more command, also if the key has moved; None if the command failed."""
        try:
            reply = self._redirections.ask(primary.address, words)
            return expected(self._redirections.follow(primary.address, reply, words), int)
        except SourceError:
            self._unread.add(position)
            return None


def _is_unserved(reply: Any) -> bool:
    """Return whether the key's slot has no primary; the server still serves its other slots."""
    return isinstance(reply, ClusterDownError) and "Hash slot not served" in str(reply)


class _Redirections:
    """Reads each key that has moved (MOVED, ASK) from its new server, with one command a key.

    Attributes:
        any_key_moved: Whether a server redirected a command; if so, the topology must be read again.
    """

    def __init__(self, cluster: Cluster, deadline: float) -> None:
        self._cluster = cluster
        self._deadline = deadline
        self._failed: dict[str, SourceError] = {}  # thousands of keys may have moved to one hung primary
        self.any_key_moved = False

    def follow(self, address: str, reply: Any, words: Sequence[bytes]) -> Any:
        """Return the reply of the server that has the key.

        Args:
            address: The server that gave the reply.
            reply: The reply.
            words: The command.

        Raises:
            SourceError: The server that has the key cannot be asked.
        """
        for _ in range(_HOPS):
            if not isinstance(reply, MovedError | AskError):
                return reply
            self.any_key_moved = True
            address = f"{reply.host or address.rpartition(':')[0]}:{reply.port}"
            reply = self.ask(address, words, asking=not isinstance(reply, MovedError))
        raise SourceError("a slot of the Redis Cluster is moved from one primary to the next")

    def ask(self, address: str, words: Sequence[bytes], *, asking: bool = False) -> Any:
        """Send a command to one server; with ``asking`` for a key of a slot that is being moved to this server."""
        if address in self._failed:
            raise self._failed[address]
        commands = [pack(b"ASKING"), pack(*words)] if asking else [pack(*words)]
        try:
            with linked(self._cluster.pool(address), self._cluster.deadline_of(address, self._deadline)) as link:
                return link.ask(b"".join(commands), len(commands))[-1]
        except SourceError as error:
            self._failed[address] = error
            raise
