"""Redis → a raw reading: connections, discovery of node names, requests and replies.

In: the settings. Out: the names of the nodes, ``Reading`` objects, which hold the nodes' values and the state of Redis,
and the replies about other keys. Read ``Source`` first, then ``gather``: everything is asked through ``Inquiry``.
"""

import time
from collections.abc import Callable, Sequence
from itertools import dropwhile
from typing import TYPE_CHECKING, Any

from redis import ConnectionPool, Redis

from exporter.errors import SourceError
from exporter.settings import Settings
from exporter.source.connection import MOST_BYTES, KeyNames, hmget, pack
from exporter.source.discovery import Found, Scan, Spent
from exporter.source.gather import Inquiry, Question
from exporter.source.plan import Plan, PlanReader
from exporter.source.reader import NODE_BYTES, Omissions, Reader
from exporter.source.server import Master, OneServer

if TYPE_CHECKING:
    from exporter.source.gather import Servers

__all__ = ["Reader", "Source", "open_source"]


def open_source(settings: Settings, spent: Spent = lambda *_: None) -> "Source":
    """Return the source for the mode that the settings give; no connection is made yet.

    Args:
        settings: The settings.
        spent: Told of budgets that are spent.
    """
    mode, redis = settings.redis.mode, settings.redis
    if mode == "cluster":
        from exporter.source.cluster import Cluster  # noqa: PLC0415 - only this mode needs it

        return Source(settings, Cluster(redis), spent)
    return Source(settings, Master(redis) if mode == "sentinel" else OneServer(redis), spent)


class Source:
    """An installation of Redis to which nodes write.

    Args:
        settings: The names of the keys, and how many nodes may be exported.
        servers: Its servers.
        spent: Told of budgets that are spent.
    """

    def __init__(self, settings: Settings, servers: "Servers", spent: Spent) -> None:
        self._servers = servers
        self._keys = KeyNames(settings.keys.metrics_prefix.encode(), settings.keys.heartbeat_prefix.encode())
        self._omissions = Omissions(spent)
        self._scan = Scan(self._keys, settings.collector.max_nodes, spent)
        self._plan = PlanReader(settings.keys.plan.encode())

    def reader(self) -> Reader:
        """Return a new reader of nodes; only one thread at a time may use it."""
        return Reader(self._servers, self._keys, self._omissions)

    def gather(
        self, keys: Sequence[bytes], command: Callable[[bytes], bytes], deadline: float, most: int = MOST_BYTES
    ) -> list[Any]:
        """Return the reply to a command about each key, wherever it is; an exception in the place of a missing reply.

        Args:
            keys: The keys.
            command: Returns the packed command about a key.
            deadline: Monotonic seconds.
            most: Bytes of one reply, at most.
        """
        try:
            topology = self._servers.know(deadline)
        except SourceError as error:
            return [error] * len(keys)
        question = Question([(topology.holder(key), command(key)) for key in keys])
        (replies,) = Inquiry(self._servers, deadline, most).stream([question])  # to its end: the connection stays
        return replies

    def plan(self, deadline: float) -> Plan:
        """Return the scheduler's plan; the deadline is in monotonic seconds. Only one thread at a time may call this.

        Raises:
            SourceError: The server of the plan could not be read, or refuses to show it, or it is too large.
        """
        if isinstance(self._servers, OneServer):
            return self._plan.read(self._servers, deadline)
        (content,) = self.gather((self._plan.key,), lambda _: self._plan.request, deadline)
        return Plan(self._plan.plan_of(content))

    def discover(self, timeout: float) -> Found:
        """Return the names of all nodes that have keys on a server that could be scanned.

        The pause before the next scan follows from the busiest server.

        Args:
            timeout: Seconds for each call.

        Raises:
            SourceError: No server could be scanned.
        """
        self._try_large(timeout)
        scans: list[Found] = []
        errors: list[SourceError] = []
        self._servers.doubt()
        for address in self._servers.know(time.monotonic() + timeout).addresses:
            try:
                scans.append(self._scan.run(self._servers.pool(address), timeout))
                self._servers.note(address, None)
            except SourceError as error:
                errors.append(error)
                self._servers.note(address, error)
        if not scans:
            raise errors[0]
        return Found(
            names=frozenset[bytes]().union(*(scan.names for scan in scans)),
            busy=max(scan.busy for scan in scans),
            complete=not errors and all(scan.complete for scan in scans),
            workers=frozenset[bytes]().union(*(scan.workers for scan in scans)),
        )

    def _try_large(self, timeout: float) -> None:
        """Try the nodes with large values until the values of one cannot be read. The next time it is the last."""
        end = time.monotonic() + timeout

        def fits(name: bytes) -> bool:
            key, beat = (prefix + name for prefix in self._keys)
            commands = {key: hmget(key), beat: pack(b"GET", beat)}
            replies = self.gather(tuple(commands), commands.__getitem__, time.monotonic() + timeout, NODE_BYTES)
            return time.monotonic() < end and not any(isinstance(reply, SourceError) for reply in replies)

        left = list(dropwhile(fits, self._omissions.large))
        self._omissions.large = dict.fromkeys(left[1:] + left[:1])

    def client(self) -> Redis:
        """Return a client of redis-py for the only server; the caller closes it.

        Raises:
            SourceError: There are several servers, or Sentinel names none.
        """
        return Redis(connection_pool=ConnectionPool(**self._servers.pool("").options))

    def close(self) -> None:
        """Close all connections."""
        self._plan.close()
        self._servers.close()
