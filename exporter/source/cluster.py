"""Reading of a Redis Cluster: each key from the primary of its slot, all primaries side by side.

A node's two keys lie on different primaries, so that no read of both is atomic:
all hashes are read before the first heartbeat, and a beat in between errs
towards a living node.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import zip_longest
from operator import itemgetter
from typing import Any, Final

from redis.exceptions import AskError, MovedError

from exporter.contract import FIELDS
from exporter.errors import SourceError, SourceTimeoutError
from exporter.settings import Settings
from exporter.source.connection import Link, linked
from exporter.source.discovery import Found, discover
from exporter.source.reading import MISSING, Reading
from exporter.source.replies import NO_FIELDS, checked, columns_of, is_wrong_type
from exporter.source.requests import CHUNK, SERVER, SERVER_REPLIES, KeyNames
from exporter.source.server import server_of
from exporter.source.topology import Cluster, Primaries, Topology

_ATTEMPTS: Final = 2


class ClusterSource:
    """A Redis Cluster."""

    def __init__(self, settings: Settings) -> None:
        self._cluster = Cluster(settings)
        self._keys = KeyNames.of(settings.keys)

    def reader(self) -> "ClusterReader":
        """Return a new reader."""
        return ClusterReader(self._cluster, self._keys)

    def discover(self, timeout: float) -> Found:
        """Return the names of all nodes that have keys on any primary; ``timeout`` in seconds for each call.

        Each primary is left alone for as long as the busiest needs.
        """
        topology = self._cluster.topology()
        try:
            found = [discover(self._cluster.pool(address), self._keys, timeout) for address in topology.addresses]
        except SourceError:
            self._cluster.refresh(topology)
            raise
        return Found(frozenset().union(*(each.names for each in found)), max(each.busy for each in found))

    def missing_rights(self) -> frozenset[str]:
        """Return the commands that a primary refuses to the exporter's user."""
        return frozenset()

    def close(self) -> None:
        """Close all connections."""
        self._cluster.close()


@dataclass(frozen=True, slots=True)
class Batch:
    """Commands about some nodes for one primary.

    Attributes:
        positions: The nodes' positions among the names.
        packed: As many commands for each of them.
    """

    positions: Sequence[int]
    packed: bytes


Batches = Sequence[Sequence[Batch]]
"""The batches for each primary."""


class ClusterReader:
    """Reads nodes' values from all primaries. For one thread at a time."""

    def __init__(self, cluster: Cluster, keys: KeyNames) -> None:
        self._cluster = cluster
        self._keys = keys
        self._names: Sequence[bytes] = ()
        self._topology: Topology | None = None
        self._hashes: Batches = ()
        self._heartbeats: Batches = ()

    def parts(self, names: Sequence[bytes], deadline: float) -> Iterator[Reading]:
        """Read these nodes; they come in one part, as the heartbeats come last."""
        yield self.read(names, deadline)

    def read(self, names: Sequence[bytes], deadline: float) -> Reading:
        """Read these nodes in full; once more if that fails and the topology has changed.

        Raises:
            SourceError: A primary could not be read in full before the deadline (monotonic seconds).
        """
        for attempt in range(1, _ATTEMPTS + 1):
            topology = self._cluster.topology()
            try:
                return self._read(names, topology, deadline)
            except SourceError:
                if not self._cluster.refresh(topology) or attempt == _ATTEMPTS:
                    raise
        raise AssertionError  # the loop has returned or raised

    def _read(self, names: Sequence[bytes], topology: Topology, deadline: float) -> Reading:
        if names is not self._names or topology is not self._topology:
            self._names, self._topology = names, topology
            everyone = range(len(names))
            self._hashes = self._batches(everyone, self._keys.metrics, self._keys.hmget)
            self._heartbeats = self._batches(everyone, self._keys.heartbeat, self._keys.heartbeat_of)
        follow = _Follow(self._cluster, deadline)
        with ExitStack() as stack:
            links = [stack.enter_context(linked(self._cluster.pool(it), deadline)) for it in topology.addresses]
            asked = time.monotonic()
            for link in links:
                link.send(SERVER)
            members = tuple(server_of(link.receive(SERVER_REPLIES)) for link in links)
            if any(member.role != "master" for member in members):
                raise SourceError("a primary of the cluster has become a replica")
            rows = [
                _row(follow(row, "HMGET", self._keys.metrics + names[position], *FIELDS))
                for position, (row,) in _exchange(links, self._hashes, 1)
            ]
            heartbeats = [
                self._heartbeat(names[position], ttl, beat, follow)
                for position, (ttl, beat) in _exchange(links, self._heartbeats, 2)
            ]
            empty = [position for position, row in enumerate(rows) if row == NO_FIELDS]
            exists = _exchange(links, self._batches(empty, self._keys.metrics, self._keys.exists), 1)
            without_hash = frozenset(
                position
                for position, (there,) in exists
                if not checked(follow(there, "EXISTS", self._keys.metrics + names[position]), int)
            )
        if follow.redirected:
            with suppress(SourceError):
                self._cluster.refresh(topology)
        return Reading(
            asked=asked,
            at=time.monotonic(),
            wall=time.time(),
            server=Primaries.of(members, topology, self._keys),
            names=names,
            fields=columns_of(rows),
            ttl_ms=[ttl for ttl, _ in heartbeats],
            beats=[beat for _, beat in heartbeats],
            without_hash=without_hash,
        )

    def _heartbeat(self, name: bytes, ttl: Any, beat: Any, follow: "_Follow") -> tuple[int, bytes | None]:
        """Return a heartbeat's PTTL and value, given the replies for both."""
        key = self._keys.heartbeat + name
        beat = follow(beat, "GET", key)
        if beat is None or is_wrong_type(beat):
            return MISSING, None
        ttl = follow(ttl, "PTTL", key)
        if ttl == MISSING:  # written between the two commands
            ttl = follow(self._cluster.ask("PTTL", key), "PTTL", key)
        return checked(ttl, int), checked(beat, bytes)

    def _batches(self, positions: Sequence[int], prefix: bytes, request: Callable[[bytes], bytes]) -> Batches:
        topology = self._topology or Topology((), ())
        by_primary: list[list[int]] = [[] for _ in topology.addresses]
        for position in positions:
            by_primary[topology.index(prefix + self._names[position])].append(position)
        return [
            [
                Batch(some, b"".join(request(self._names[position]) for position in some))
                for some in (mine[start : start + CHUNK] for start in range(0, len(mine), CHUNK))
            ]
            for mine in by_primary
        ]


class _Follow:
    """Reads a key again that is not where its batch went: MOVED and ASK cost one command each.

    Attributes:
        redirected: Whether there was any, so that the topology is to be asked for anew.
    """

    def __init__(self, cluster: Cluster, deadline: float) -> None:
        self._cluster = cluster
        self._deadline = deadline
        self.redirected = False

    def __call__(self, reply: Any, *words: bytes | str) -> Any:
        if not isinstance(reply, MovedError | AskError):
            return reply
        self.redirected = True
        if time.monotonic() > self._deadline:
            raise SourceTimeoutError("Redis did not answer in time: too many keys have moved")
        return self._cluster.ask(*words)


def _exchange(links: Sequence[Link], batches: Batches, replies: int) -> list[tuple[int, tuple[Any, ...]]]:
    """Send each primary its batches, all side by side, and return each node's position and replies, in order."""
    answers: list[tuple[int, tuple[Any, ...]]] = []
    for turn in zip_longest(*batches):
        for link, batch in zip(links, turn, strict=True):
            if batch:
                link.send(batch.packed)
        for link, batch in zip(links, turn, strict=True):
            if batch:
                received = link.receive(replies * len(batch.positions))
                answers += zip(batch.positions, zip(*[iter(received)] * replies, strict=True), strict=True)
    answers.sort(key=itemgetter(0))
    return answers


def _row(reply: Any) -> Sequence[bytes | None]:
    row: Sequence[bytes | None] = NO_FIELDS if is_wrong_type(reply) else checked(reply, list)
    return row
