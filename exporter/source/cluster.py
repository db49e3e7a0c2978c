"""Reads a Redis Cluster: each key from the primary of its slot, all primaries at the same time.

The two keys of a node can be on different primaries, so no command reads both at once. All hashes
are read before the first heartbeat. A node that beats between the two reads therefore counts as
alive. If a primary cannot be read, only the nodes of this primary are missing from the reading.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from exporter.errors import SourceError
from exporter.settings import Settings
from exporter.source.cluster_read import ClusterRead
from exporter.source.connection import Pool, linked
from exporter.source.discovery import Found, discover
from exporter.source.existing import existing
from exporter.source.limits import Spent, nobody
from exporter.source.primary import Batch, Batches
from exporter.source.reading import Reading
from exporter.source.requests import CHUNK
from exporter.source.slot_router import SlotRouter
from exporter.source.topology import NOWHERE, Cluster, Topology


class ClusterSource:
    """A Redis Cluster."""

    def __init__(self, settings: Settings, spent: Spent = nobody) -> None:
        self._cluster = Cluster(settings)
        self._spent, self._most_nodes = spent, settings.collector.max_nodes

    def reader(self) -> "ClusterReader":
        """Return a new reader."""
        return ClusterReader(self._cluster, self._spent)

    def discover(self, timeout: float) -> Found:
        """Return the names of all nodes that have keys on a primary that could be scanned.

        The pause before the next scan follows from the busiest primary.

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
                scans.append(
                    discover(
                        pool,
                        self._cluster.keys,
                        timeout,
                        self._cluster.rights,
                        address,
                        most_nodes=self._most_nodes,
                        spent=self._spent,
                    )
                )
            except SourceError as error:
                failed = error
                errors.append(error)
            self._cluster.record(address, "scan", failed)
        if not scans:
            raise errors[0]
        names = frozenset[bytes]().union(*(scan.names for scan in scans))
        workers = frozenset[bytes]().union(*(scan.workers for scan in scans))
        cut = any(scan.cut for scan in scans)
        complete = not errors and not cut
        found = Found(names, max(scan.busy for scan in scans), complete=complete, cut=cut, workers=workers)
        return existing(found, self.reader(), timeout)

    def router(self) -> SlotRouter:
        """Return a router to keys of any kind."""
        return SlotRouter(self._cluster)

    def pools(self) -> tuple[Pool, ...]:
        """Return the connections to each primary."""
        return self._cluster.pools()

    def missing_rights(self) -> frozenset[str]:
        """Return the commands that at least one primary refuses to the exporter's user."""
        return self._cluster.rights.missing()

    def close(self) -> None:
        """Close all connections."""
        self._cluster.close()

    def _current_topology(self, timeout: float) -> Topology:
        """Read the topology from the first primary that answers, because primaries may have been added."""
        known = self._cluster.topology(time.monotonic() + timeout)
        for address in known.addresses:
            deadline = self._cluster.deadline_of(address, time.monotonic() + timeout)
            with suppress(SourceError), linked(self._cluster.pool(address), deadline) as link:
                return self._cluster.ask(link, address)
        return self._cluster.ask_seeds(time.monotonic() + timeout)


class ClusterReader:
    """Reads nodes' values from all primaries. Only one thread at a time may use it.

    Args:
        cluster: The topology and the connections.
        spent: Told when values are too large.
    """

    def __init__(self, cluster: Cluster, spent: Spent = nobody) -> None:
        self._cluster, self._spent = cluster, spent
        self._names: Sequence[bytes] = ()
        self._topology: Topology | None = None
        self._hashes: Batches = {}
        self._heartbeats: Batches = {}

    def parts(self, names: Sequence[bytes], deadline: float) -> Iterator[Reading]:
        """Yield one part with all nodes: no node is complete before the heartbeats, which are read last."""
        yield self.read(names, deadline)

    def read(self, names: Sequence[bytes], deadline: float) -> Reading:
        """Read these nodes; read them a second time if some could not be read and the topology has changed.

        Args:
            names: The nodes.
            deadline: Monotonic seconds.

        Returns:
            The nodes of all primaries that answered; the other nodes are ``unread``.

        Raises:
            SourceError: No primary could be read before the deadline.
        """
        topology = self._cluster.topology(deadline)
        attempt = self._attempt(names, topology, deadline)
        if not attempt.any_primary_read:
            with suppress(SourceError):  # the known primaries may have left the cluster
                self._cluster.ask_seeds(deadline)
        if attempt.failed and (now := self._cluster.topology(deadline)) is not topology:
            second = self._attempt(names, now, deadline)
            attempt = second if second.any_primary_read else attempt
        if not attempt.any_primary_read:
            raise attempt.error
        return attempt.reading()

    def _attempt(self, names: Sequence[bytes], topology: Topology, deadline: float) -> ClusterRead:
        keys = self._cluster.keys
        if names is not self._names or topology is not self._topology:
            self._names, self._topology = names, topology
            all_nodes = range(len(names))
            self._hashes = self._batches(all_nodes, keys.metrics, keys.hmget)
            self._heartbeats = self._batches(all_nodes, keys.heartbeat, keys.heartbeat_of)
        with ClusterRead(self._cluster, names, topology, deadline) as attempt:
            attempt.read_servers()
            attempt.read_hashes(self._hashes)
            attempt.read_heartbeats(self._heartbeats)
            attempt.find_missing_hashes(self._batches(attempt.without_fields(), keys.metrics, keys.exists))
        if attempt.too_large:
            self._spent("replies", f"{attempt.too_large} very long values were left out")
        return attempt

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
