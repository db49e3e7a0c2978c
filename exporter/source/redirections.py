"""Keys of a cluster that have moved to another server: each is read from there."""

from collections.abc import Sequence
from typing import Any, Final

from redis.exceptions import AskError, MovedError

from exporter.errors import SourceError
from exporter.source.connection import linked
from exporter.source.requests import pack
from exporter.source.topology import Cluster

_HOPS: Final = 3


class Redirections:
    """Reads each key that has moved (MOVED, ASK) from its new server, with one command a key.

    Args:
        cluster: The connections.
        deadline: Monotonic seconds.

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
