"""Redis → a raw reading: connections, discovery of node names, requests and replies.

In: the settings. Out: the names of the nodes, ``Reading`` objects, which hold the nodes' values and the state of Redis,
and the replies about other keys. Read ``Source`` first, then ``gather``: everything is asked through ``exchange`` and
``gather``.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from redis import ConnectionPool, Redis

from exporter.errors import SourceError, SourceTooLargeError
from exporter.settings import Settings
from exporter.source.discovery import Found, Scan, Spent
from exporter.source.gather import Gathered, Question, gather
from exporter.source.plan import MOST_BYTES, Plan, PlanReader
from exporter.source.protocol import KeyNames, hmget, pack
from exporter.source.reader import LargeNodes, Reader, StandaloneReader
from exporter.source.server import Master, OneServer, Rights

if TYPE_CHECKING:
    from exporter.source.cluster import Cluster

__all__ = ["Reader", "Source", "open_source"]


def open_source(settings: Settings, spent: Spent = lambda *_: None) -> "Source":
    """Return the source for the mode that the settings give; no connection is made yet.

    Args:
        settings: The settings.
        spent: Told of budgets that are spent.
    """
    mode, redis = settings.redis.mode, settings.redis
    if mode == "cluster":  # only this mode needs these
        from exporter.source.cluster import Cluster  # noqa: PLC0415
        from exporter.source.cluster_reader import ClusterReader  # noqa: PLC0415

        return Source(settings, Cluster(redis), ClusterReader, spent)
    return Source(settings, Master(redis) if mode == "sentinel" else OneServer(redis), StandaloneReader, spent)


class Source:
    """An installation of Redis to which nodes write.

    Args:
        settings: The names of the keys, and how many nodes may be exported.
        servers: Its servers.
        reader: Makes readers of nodes.
        spent: Told of budgets that are spent.
    """

    def __init__(
        self, settings: Settings, servers: "OneServer | Cluster", reader: Callable[..., Reader], spent: Spent
    ) -> None:
        self._servers, self._new_reader = servers, reader
        self._keys = KeyNames.of(settings.keys)
        self._plan_key = settings.keys.plan.encode()
        self._rights, self._large = Rights(), LargeNodes(spent)
        self._scan = Scan(self._keys, settings.collector.max_nodes, self._rights, spent)
        self._plan = PlanReader(self._plan_key)
        self._timeout = settings.redis.timeout

    def reader(self) -> Reader:
        """Return a new reader of nodes; only one thread at a time may use it."""
        return self._new_reader(self._servers, self._keys, self._rights, self._large)

    def gather(self, keys: Sequence[bytes], request: Callable[[bytes], bytes], each: int, deadline: float) -> Gathered:
        """Ask the same of each key, wherever it is.

        Args:
            keys: The keys.
            request: Returns the packed commands about a key.
            each: The number of replies about a key.
            deadline: Monotonic seconds.
        """
        with suppress(SourceError):  # then no key has a known server
            self._servers.know(deadline)
        return gather(Question(self._servers, keys, request, each), deadline)

    def plan(self, deadline: float) -> Plan:
        """Return the scheduler's plan; the deadline is in monotonic seconds. Only one thread at a time may call this.

        Raises:
            SourceError: The server of the plan could not be read, or refuses to show it.
            SourceTooLargeError: The plan is too large to be read.
        """
        if isinstance(self._servers, OneServer):
            return self._plan.read(self._servers, deadline)
        self._servers.know(deadline)
        question = Question(self._servers, (self._plan_key,), lambda _: self._plan.request, 1)
        gathered = gather(question, deadline, MOST_BYTES)
        (replies,) = gathered.replies
        if replies is None:
            raise next(iter(gathered.errors.values()), SourceError("the plan is on its way to another primary"))
        return Plan(self._plan.plan_of(replies[0]))

    def discover(self, timeout: float) -> Found:
        """Return the names of all nodes that have keys on a server that could be scanned.

        The pause before the next scan follows from the busiest server.

        Args:
            timeout: Seconds for each call.

        Raises:
            SourceError: No server could be scanned.
        """
        if self._large.names:
            self._try_large_nodes(timeout)
        scans: list[Found] = []
        errors: dict[str, SourceError] = {}
        for address in self._servers.addresses(time.monotonic() + timeout):
            try:
                scans.append(self._scan.run(self._servers.pool(address, time.monotonic() + timeout), address, timeout))
            except SourceError as error:
                errors[address] = error
            self._servers.note(address, errors.get(address))
        if not scans:
            raise next(iter(errors.values()))
        return Found(
            names=frozenset[bytes]().union(*(scan.names for scan in scans)),
            busy=max(scan.busy for scan in scans),
            complete=not errors and all(scan.complete for scan in scans),
            workers=frozenset[bytes]().union(*(scan.workers for scan in scans)),
        )

    def _try_large_nodes(self, timeout: float) -> None:
        """Find the nodes whose values were too large and have a usual size now."""
        names = sorted(self._large.names)
        still = set[bytes]()
        for prefix, request in ((self._keys.metrics, hmget), (self._keys.heartbeat, partial(pack, b"MGET"))):
            gathered = self.gather([prefix + name for name in names], request, 1, time.monotonic() + timeout)
            for name, some in zip(names, gathered.replies, strict=True):
                if not some or isinstance(some[0], SourceTooLargeError):
                    still.add(name)
        self._large.names &= still

    def client(self, key: bytes) -> Redis:
        """Return a client of redis-py for the server that holds a key; the caller closes it.

        Raises:
            SourceError: The server is not known.
        """
        deadline = time.monotonic() + self._timeout
        self._servers.know(deadline)
        pool = self._servers.pool(self._servers.holder(key), deadline)
        return Redis(connection_pool=ConnectionPool(**pool.options))

    def missing_rights(self) -> frozenset[str]:
        """Return the commands that at least one server refuses to the exporter's user, in lower case."""
        return self._rights.missing()

    def close(self) -> None:
        """Close all connections."""
        self._plan.close()
        self._servers.close()
