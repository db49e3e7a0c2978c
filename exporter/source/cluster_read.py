"""One read of a cluster: the nodes' values from all primaries, and which nodes could not be read."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any, Self

from redis.exceptions import AskError, ClusterDownError, MovedError

from exporter.contract import FIELDS
from exporter.errors import SourceError
from exporter.source.careful import ROOM, Keys, read_carefully
from exporter.source.connection import Pool
from exporter.source.primary import Batch, Batches, Primary, ask_servers
from exporter.source.reading import MISSING, Reading
from exporter.source.redirections import Redirections
from exporter.source.replies import NO_FIELDS, columns_of, expected, is_wrong_type
from exporter.source.topology import NOWHERE, Cluster, Primaries, Topology

_FIELD_WORDS = tuple(field.encode() for field in FIELDS)


class ClusterRead:
    """One read; its caller calls the methods in the order in which they stand here.

    Args:
        cluster: The connections.
        names: The nodes.
        topology: Which primary serves which key.
        deadline: Monotonic seconds.

    Attributes:
        too_large: How many values were left out because they are too large.
    """

    def __init__(self, cluster: Cluster, names: Sequence[bytes], topology: Topology, deadline: float) -> None:
        self._keys, self._names, self._topology = cluster.keys, names, topology
        self._asked = time.monotonic()
        work = "read" if names else "look"
        self._primaries = {address: Primary(address, cluster, deadline, work) for address in topology.addresses}
        self._redirections = Redirections(cluster, deadline)
        self._rows: list[Any] = [NO_FIELDS] * len(names)
        self._ttl_ms = [MISSING] * len(names)
        self._beats: list[bytes | None] = [None] * len(names)
        self._without_hash: set[int] = set()
        self._unread: set[int] = set()
        self._batches: list[Batches] = []
        self._room = ROOM
        self.too_large = 0

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
        for primary, position, (reply,) in self._exchange(batches, 1, Keys.HASH):
            words = (b"HMGET", self._keys.metrics + self._names[position], *_FIELD_WORDS)
            row = self._value(primary, position, reply, list, words)
            if row is not None:
                self._rows[position] = row

    def read_heartbeats(self, batches: Batches) -> None:
        """Read the heartbeats; a node's request has two replies, of PTTL and of GET."""
        for primary, position, (ttl, beat) in self._exchange(batches, 2, Keys.HEARTBEAT):
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

    def _exchange(
        self, batches: Batches, replies: int, which: Keys | None = None
    ) -> Iterator[tuple[Primary, int, tuple[Any, ...]]]:
        """Send each primary its batches, to all primaries at once; yield each node's primary, position and replies.

        If the replies to a batch are too large, the same ``which`` is read with the lengths of values first.
        """
        self._batches.append(batches)
        primaries = tuple(self._primaries.values())
        for turn in zip_longest(*(batches[primary.address] for primary in primaries)):
            asked = [(primary, batch) for primary, batch in zip(primaries, turn, strict=True) if batch]
            for primary, batch in asked:
                primary.send(batch.packed)
            for primary, batch in asked:
                carefully = partial(self._carefully, batch, which) if which else None
                received = iter(primary.receive(replies * len(batch.positions), carefully))
                for position, some in zip(batch.positions, zip(*[received] * replies, strict=True), strict=False):
                    yield primary, position, some

    def _carefully(self, batch: Batch, which: Keys, pool: Pool, deadline: float) -> list[Any]:
        names = [self._names[position] for position in batch.positions]
        careful = read_carefully(pool, deadline, self._keys, names, self._room, which)
        self._room = careful.room
        self.too_large += careful.too_large
        return [reply for node in careful.replies for reply in (node[1:] if which is Keys.HASH else node)]

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
