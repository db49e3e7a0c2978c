"""Reading of a Redis Cluster: each key from the primary of its slot, all primaries side by side.

A node's two keys lie on different primaries, so that no read of both is atomic:
all hashes are read before the first heartbeat, and a beat in between errs
towards a living node. A primary that cannot be read costs only its own nodes.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from exporter.errors import SourceError
from exporter.settings import Settings
from exporter.source.connection import linked
from exporter.source.discovery import Found, discover
from exporter.source.look import Look
from exporter.source.primary import Batch, Batches
from exporter.source.reading import Reading
from exporter.source.requests import CHUNK
from exporter.source.topology import NOWHERE, Cluster, Topology


class ClusterSource:
    """A Redis Cluster."""

    def __init__(self, settings: Settings) -> None:
        self._cluster = Cluster(settings)

    def reader(self) -> "ClusterReader":
        """Return a new reader."""
        return ClusterReader(self._cluster)

    def discover(self, timeout: float) -> Found:
        """Return the names of all nodes that have keys on a primary that could be scanned.

        Each primary is left alone for as long as the busiest needs.

        Args:
            timeout: Seconds for each call.

        Raises:
            SourceError: No primary could be scanned.
        """
        topology = self._current_topology(timeout)
        scans: list[Found] = []
        errors: list[SourceError] = []
        for address in topology.addresses:
            pool, failed = self._cluster.pool(address), None
            try:
                scans.append(discover(pool, self._cluster.keys, timeout, self._cluster.rights, address))
            except SourceError as error:
                failed = error
                errors.append(error)
            self._cluster.note(address, "scan", failed)
        if not scans:
            raise errors[0]
        names = frozenset[bytes]().union(*(scan.names for scan in scans))
        return Found(names, max(scan.busy for scan in scans), complete=not errors)

    def missing_rights(self) -> frozenset[str]:
        """Return the commands that a primary refuses to the exporter's user."""
        return self._cluster.rights.missing()

    def close(self) -> None:
        """Close all connections."""
        self._cluster.close()

    def _current_topology(self, timeout: float) -> Topology:
        """Return the topology as the first primary that answers tells it, since new primaries may serve new nodes."""
        known = self._cluster.topology(time.monotonic() + timeout)
        for address in known.addresses:
            deadline = self._cluster.patience(address, time.monotonic() + timeout)
            with suppress(SourceError), linked(self._cluster.pool(address), deadline) as link:
                return self._cluster.ask(link, address)
        return self._cluster.ask_seeds(time.monotonic() + timeout)


class ClusterReader:
    """Reads nodes' values from all primaries. For one thread at a time.

    Args:
        cluster: The topology and the connections.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._names: Sequence[bytes] = ()
        self._topology: Topology | None = None
        self._hashes: Batches = {}
        self._heartbeats: Batches = {}

    def parts(self, names: Sequence[bytes], deadline: float) -> Iterator[Reading]:
        """Read these nodes; they come in one part, as the heartbeats come last."""
        yield self.read(names, deadline)

    def read(self, names: Sequence[bytes], deadline: float) -> Reading:
        """Read these nodes; once more if some could not be read and the topology has changed.

        Args:
            names: The nodes.
            deadline: Monotonic seconds.

        Returns:
            The nodes of all primaries that answered; the others are ``unread``.

        Raises:
            SourceError: No primary could be read before the deadline.
        """
        topology = self._cluster.topology(deadline)
        look = self._look(names, topology, deadline)
        if not look.answered:
            with suppress(SourceError):  # all primaries may be of the past
                self._cluster.ask_seeds(deadline)
        if look.failed and (now := self._cluster.topology(deadline)) is not topology:
            again = self._look(names, now, deadline)
            look = again if again.answered else look
        if not look.answered:
            raise look.error
        return look.reading()

    def _look(self, names: Sequence[bytes], topology: Topology, deadline: float) -> Look:
        keys = self._cluster.keys
        if names is not self._names or topology is not self._topology:
            self._names, self._topology = names, topology
            everyone = range(len(names))
            self._hashes = self._batches(everyone, keys.metrics, keys.hmget)
            self._heartbeats = self._batches(everyone, keys.heartbeat, keys.heartbeat_of)
        with Look(self._cluster, names, topology, deadline) as look:
            look.at_servers()
            look.at_hashes(self._hashes)
            look.at_heartbeats(self._heartbeats)
            look.at_missing(self._batches(look.empty(), keys.metrics, keys.exists))
        return look

    def _batches(self, positions: Sequence[int], prefix: bytes, request: Callable[[bytes], bytes]) -> Batches:
        topology = self._topology or Topology(())
        by_primary: dict[str, list[int]] = {address: [] for address in (*topology.addresses, NOWHERE)}
        for position in positions:
            by_primary[topology.primary(prefix + self._names[position])].append(position)
        return {
            address: [
                Batch(some, b"".join(request(self._names[position]) for position in some))
                for some in (mine[start : start + CHUNK] for start in range(0, len(mine), CHUNK))
            ]
            for address, mine in by_primary.items()
        }
