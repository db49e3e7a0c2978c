"""One primary of a cluster in one read: what fails there costs its own nodes, not the others'."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.connection import Connection

from exporter.errors import SourceError
from exporter.source.connection import FAILURES, Link
from exporter.source.plain_error import plain_error
from exporter.source.reading import Server
from exporter.source.requests import SERVER, SERVER_REPLIES
from exporter.source.server import seen_server
from exporter.source.topology import Cluster


@dataclass(frozen=True, slots=True)
class Batch:
    """Commands about some nodes for one primary.

    Attributes:
        positions: The nodes' positions among the names.
        packed: As many commands for each of them.
    """

    positions: Sequence[int]
    packed: bytes


Batches = Mapping[str, Sequence[Batch]]
"""The batches for each primary, by address."""


class Primary:
    """A primary that is asked in one read; once it has failed, nothing more is sent to it.

    Args:
        address: Its address.
        cluster: Where its connections are.
        deadline: The end of the read in monotonic seconds; the primary may get less.
        work: What the read is for, as the log names it.

    Attributes:
        error: Why it could not be read; None while it can.
        server: What it said of itself; None before it was asked.
    """

    def __init__(self, address: str, cluster: Cluster, deadline: float, work: str) -> None:
        self.address = address
        self.error: SourceError | None = None
        self.server: Server | None = None
        self._cluster = cluster
        self._work = work
        self._pool = cluster.pool(address)
        self._deadline = deadline
        self._silent_until = cluster.patience(address, deadline) if cluster.is_silent(address) else None
        self._ready: Callable[[], Connection] = self._pool.begin(self._limit)
        self._connection: Connection | None = None
        self._link: Link | None = None

    def connect(self) -> None:
        """Wait for the connection, which is under way since the primary was named."""
        try:
            self._connection = self._ready()
        except (*FAILURES, SourceError) as error:
            self.fail(error)
        else:
            self._link = Link(self._connection, self._limit)

    @property
    def _limit(self) -> float:
        """Until when to wait now, in monotonic seconds: silent primaries are waited for side by side."""
        return self._silent_until or self._cluster.patience(self.address, self._deadline)

    def send(self, request: bytes) -> None:
        """Send packed commands."""
        if self._link is None:
            return
        try:
            self._link.deadline = self._limit
            self._link.send(request)
        except FAILURES as error:
            self.fail(error)

    def receive(self, count: int) -> list[Any]:
        """Return the next ``count`` replies; an empty list if the primary has failed."""
        if self._link is None:
            return []
        try:
            self._link.deadline = self._limit
            return self._link.receive(count)
        except (*FAILURES, SourceError) as error:
            self.fail(error)
            return []

    def receive_server(self) -> None:
        """Take in the replies to ``SERVER``; a server that is no primary any more has failed."""
        replies = self.receive(SERVER_REPLIES)
        if not replies:
            return
        try:
            self.server = seen_server(replies, self._pool, self._limit, self._cluster.rights, self.address)
        except SourceError as error:
            self.fail(error)
            return
        if self.server.told and self.server.role != "master":
            self.fail(SourceError(f"{self.address} has become a replica"))

    def fail(self, error: Exception) -> None:
        """Give the primary up for this read."""
        if self.error is None:
            self.error = error if isinstance(error, SourceError) else plain_error(error)
        self._link = None

    def ask_for_topology(self) -> bool:
        """Let the primary tell the topology, and return whether it did."""
        if self._link is None:
            return False
        try:
            self._link.deadline = self._limit
            self._cluster.ask(self._link, self.address)
        except (*FAILURES, SourceError) as error:
            self.fail(error)
        return self.error is None

    def leave(self) -> None:
        """Give the connection back, and note how it went."""
        self._cluster.note(self.address, self._work, self.error)
        if self._connection is not None:
            self._pool.give_back(self._connection, sound=self._link is not None)


def ask_servers(primaries: Sequence[Primary]) -> None:
    """Ask all primaries side by side what they are."""
    for primary in primaries:
        primary.send(SERVER)
    for primary in primaries:
        primary.receive_server()
