"""One primary of a cluster during one read; if the primary fails, the nodes of other primaries are still read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.connection import Connection

from exporter.errors import SourceError
from exporter.source.attempt import FAILURES
from exporter.source.connection import Link, Pool
from exporter.source.framing import ReplyTooLargeError
from exporter.source.plain_error import plain_error
from exporter.source.reading import Server
from exporter.source.server import seen_server
from exporter.source.topology import Cluster


@dataclass(frozen=True, slots=True)
class Batch:
    """One request to one primary about some nodes.

    Attributes:
        positions: The nodes' positions among the names.
        packed: The packed commands; each node has the same number of commands.
    """

    positions: Sequence[int]
    packed: bytes


Carefully = Callable[[Pool, float], list[Any]]
"""Returns replies, given connections to the primary and a deadline in monotonic seconds."""
Batches = Mapping[str, Sequence[Batch]]
"""The batches for each primary, by address."""


class Primary:
    """A primary during one read; after its first error it gets no further command.

    Args:
        address: Its address.
        cluster: The owner of its connections.
        deadline: The end of the read in monotonic seconds; the primary may have to answer earlier.
        work: The purpose of the read, for the log.

    Attributes:
        error: Why it could not be read; None without an error.
        server: Its state, from INFO; None before INFO was read.
    """

    def __init__(self, address: str, cluster: Cluster, deadline: float, work: str) -> None:
        self.address = address
        self.error: SourceError | None = None
        self.server: Server | None = None
        self._cluster = cluster
        self._work = work
        self._pool = cluster.pool(address)
        self._deadline = deadline
        self._silent_until = cluster.deadline_of(address, deadline) if cluster.is_silent(address) else None
        self._ready: Callable[[], Connection] = self._pool.begin(self._limit)
        self._connection: Connection | None = None
        self._link: Link | None = None

    def connect(self) -> None:
        """Wait for the connection, which the constructor started."""
        try:
            self._connection = self._ready()
        except (*FAILURES, SourceError) as error:
            self.fail(error)
        else:
            self._link = Link(self._connection, self._limit)

    @property
    def _limit(self) -> float:
        """The time until which to wait, in monotonic seconds.

        The time of a silent primary was fixed at the start, so that several silent primaries delay the read only once.
        """
        return self._silent_until or self._cluster.deadline_of(self.address, self._deadline)

    def send(self, request: bytes) -> None:
        """Send packed commands."""
        if self._link is None:
            return
        try:
            self._link.deadline = self._limit
            self._link.send(request)
        except FAILURES as error:
            self.fail(error)

    def ask_server(self) -> None:
        """Ask for the state of the primary."""
        self.send(self._pool.server_request)

    def receive(self, count: int, carefully: Carefully | None = None) -> list[Any]:
        """Return the next ``count`` replies; an empty list if the primary has failed.

        Args:
            count: How many replies there are.
            carefully: Asks for the same when the replies are too large. None if the primary then has failed.
        """
        if self._link is None:
            return []
        try:
            self._link.deadline = self._limit
            return self._link.receive(count)
        except ReplyTooLargeError as error:
            if carefully:
                return self._ask_again(carefully)
            self.fail(error)
        except (*FAILURES, SourceError) as error:
            self.fail(error)
        return []

    def _ask_again(self, carefully: Carefully) -> list[Any]:
        """Ask over new connections: the rest of the replies that are too large would come over the old one."""
        self._give_back(sound=False)
        try:
            replies = carefully(self._pool, self._limit)
        except (*FAILURES, SourceError) as error:
            self.fail(error)
            return []
        self._ready = self._pool.begin(self._limit)
        self.connect()
        return replies if self._link else []

    def receive_server(self) -> None:
        """Receive the reply to ``ask_server``; it is an error if the server is not a primary any more."""
        replies = self.receive(1)
        if not replies:
            return
        try:
            self.server = seen_server(replies[0], self._pool, self._limit, self._cluster.rights, self.address)
        except SourceError as error:
            self.fail(error)
            return
        if self.server.info_allowed and self.server.role != "master":
            self.fail(SourceError(f"{self.address} has become a replica"))

    def fail(self, error: Exception) -> None:
        """Record an error; the primary gets no further command in this read."""
        if self.error is None:
            self.error = error if isinstance(error, SourceError) else plain_error(error)
        self._link = None

    def ask_for_topology(self) -> bool:
        """Ask the primary for the topology, and return whether it answered."""
        if self._link is None:
            return False
        try:
            self._link.deadline = self._limit
            self._cluster.ask(self._link, self.address)
        except (*FAILURES, SourceError) as error:
            self.fail(error)
        return self.error is None

    def release(self) -> None:
        """Give the connection back, and report the outcome to the cluster."""
        self._cluster.record(self.address, self._work, self.error)
        self._give_back(sound=self._link is not None)

    def _give_back(self, *, sound: bool) -> None:
        if self._connection is not None:
            self._pool.give_back(self._connection, sound=sound)
        self._connection = self._link = None


def ask_servers(primaries: Sequence[Primary]) -> None:
    """Read the state of all primaries (INFO), of all at the same time."""
    for primary in primaries:
        primary.ask_server()
    for primary in primaries:
        primary.receive_server()
