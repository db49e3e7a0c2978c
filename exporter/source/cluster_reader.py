"""Reads nodes' values from all primaries of a cluster at the same time."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from exporter.errors import SourceError, SourceTooLargeError
from exporter.source.cluster import Cluster, Primaries
from exporter.source.gather import Gathered, Question, gather
from exporter.source.protocol import KeyNames, hmget, hmget_nothing, pack, plain_error, pttl
from exporter.source.reader import NO_FIELDS, Columns, LargeNodes, second_look
from exporter.source.reading import MISSING, Reading, Server
from exporter.source.server import STATE, Rights, seen_server


class ClusterReader:
    """Reads nodes' values from all primaries. Only one thread at a time may use it.

    The two keys of a node can be on different primaries, so no request reads both at once. If a primary cannot be
    read, only the nodes of this primary are missing from the reading.

    Args:
        cluster: The topology and the connections.
        keys: The names of the nodes' keys.
        rights: Records missing rights.
        large: The nodes with large values.
    """

    def __init__(self, cluster: Cluster, keys: KeyNames, rights: Rights, large: LargeNodes) -> None:
        self._cluster, self._keys, self._rights, self._large = cluster, keys, rights, large
        self._about: tuple[Any, ...] = (None, None, None)
        self._hashes = self._beats = Question(cluster, (), pack, 1)

    def parts(self, names: Sequence[bytes], deadline: float) -> Iterator[Reading]:
        """Yield one part with all nodes: no node is complete before the heartbeats, which are read last."""
        yield self.read(names, deadline)

    def read(self, names: Sequence[bytes], deadline: float) -> Reading:
        """Return the nodes of all primaries that answered; the other nodes are ``unread``."""
        self._cluster.know(deadline)
        self._prepare(names)
        reading, errors = self._read(names, deadline)
        if errors or reading.unread:
            self._cluster.refresh(deadline, errors)  # for the next read
        if not reading.server.members:
            raise next(iter(errors.values()), SourceError("no primary of the Redis Cluster is known"))
        return reading

    def _prepare(self, names: Sequence[bytes]) -> None:
        """Pack requests, unless the last ones were about the same nodes, on the same primaries."""
        about = names, self._cluster.topology, self._large.names
        if all(now is before for now, before in zip(about, self._about, strict=True)):
            return
        self._about = about
        metrics, heartbeat = self._keys
        large = {prefix + name for prefix in self._keys for name in self._large.names}

        def ask_for_hash(key: bytes) -> bytes:
            return hmget_nothing(key) if key in large else hmget(key)

        def ask_for_beat(key: bytes) -> bytes:
            return (pttl(key) if key in large else pack(b"GET", key)) + pttl(key)

        self._hashes = Question(self._cluster, [metrics + name for name in names], ask_for_hash, 1, STATE)
        self._beats = Question(self._cluster, [heartbeat + name for name in names], ask_for_beat, 2)

    def _read(self, names: Sequence[bytes], deadline: float) -> tuple[Reading, dict[str, SourceError]]:
        """Return the values of these nodes, and why primaries could not be read."""
        asked, topology = time.monotonic(), self._cluster.topology
        members: dict[str, Server] = {}
        hashes = gather(self._hashes, deadline)
        errors = self._states(hashes, members, deadline)
        beats = gather(self._beats, deadline, failed=errors)
        errors.update(beats.errors)
        columns = self._columns(names, hashes.replies, beats.replies)
        for position, error in columns.clear_up():
            columns.unread.add(position)
            self._note_refusal(names[position], error, errors)
        missing = columns.without_fields
        if missing or None in columns.beats:
            keys = [self._keys.metrics + names[position] for position in missing]
            again = second_look(self._cluster, keys, deadline, errors)
            errors = self._states(again, members, deadline)
            columns.take_existing(missing, again.replies)
        for address in errors:
            members.pop(address, None)
            for batch in (*self._hashes.batches.get(address, ()), *self._beats.batches.get(address, ())):
                columns.unread.update(batch.positions)
        return columns.reading(asked, Primaries.of(members, topology, self._keys)), errors

    def _columns(
        self, names: Sequence[bytes], hashes: Sequence[tuple[Any, ...] | None], beats: Sequence[tuple[Any, ...] | None]
    ) -> Columns:
        large = [position for position, name in enumerate(names) if name in self._large.names]
        rows = [some[0] if some else NO_FIELDS for some in hashes]
        texts = [some[0] if some else None for some in beats]
        ttl_ms = [some[1] if some else MISSING for some in beats]
        unread = {position for position, both in enumerate(zip(hashes, beats, strict=True)) if None in both}
        return Columns(names, rows, ttl_ms, texts, large, unread)

    def _states(self, gathered: Gathered, members: dict[str, Server], deadline: float) -> dict[str, SourceError]:
        """Record the state of each primary that answered, and return why the others cannot be read."""
        errors = dict(gathered.errors)
        for address, reply in gathered.first.items():
            try:
                pool, limit = self._cluster.pool(address, deadline), self._cluster.limit(address, deadline)
                members[address] = seen_server(reply, pool, limit(), self._rights, address)
            except SourceError as error:
                errors[address] = error
            else:
                if members[address].info_allowed and members[address].role != "master":
                    errors[address] = SourceError(f"{address} has become a replica")
            if address in errors:
                self._cluster.note(address, errors[address])
        return errors

    def _note_refusal(self, name: bytes, error: Exception, errors: dict[str, SourceError]) -> None:
        """Record that a node is too large, or that its primary refuses to show it."""
        if isinstance(error, SourceTooLargeError):
            self._large.add(name)
        else:
            address = self._cluster.holder(self._keys.metrics + name)
            errors[address] = plain_error(error)
            self._cluster.note(address, errors[address])
