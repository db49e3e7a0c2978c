"""The router of a cluster: which primary has a key, and where a key is while its slot moves."""

import time
from contextlib import suppress
from typing import Any, Final

from redis.exceptions import AskError, MovedError

from exporter.errors import SourceError
from exporter.source.connection import Pool, linked
from exporter.source.requests import pack
from exporter.source.topology import NOWHERE, Cluster

_ASKING: Final = pack(b"ASKING")


class SlotRouter:
    """The router of a cluster: the primary of a key's slot has the key.

    Args:
        cluster: The topology and the connections.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def pool(self, key: bytes, deadline: float) -> Pool:
        """Return connections to the primary of a key."""
        address = self._cluster.topology(deadline).primary(key)
        if address == NOWHERE:
            raise SourceError("a slot of the Redis Cluster has no primary")
        return self._cluster.pool(address)

    def follow(self, pool: Pool, reply: Any, request: bytes, deadline: float) -> Any:
        """Return the reply of the server that MOVED or ASK names; MOVED makes the topology be asked for."""
        if not isinstance(reply, MovedError | AskError):
            return reply
        host, moved = reply.host or self._address(pool).rpartition(":")[0], isinstance(reply, MovedError)
        with linked(self._cluster.pool(f"{host}:{reply.port}"), self.limit(pool, deadline)) as link:
            reply = link.ask(request, 1)[0] if moved else link.ask(_ASKING + request, 2)[1]
        if moved:
            with suppress(SourceError):
                self._cluster.ask_seeds(deadline)
        return reply

    def limit(self, pool: Pool, deadline: float) -> float:
        """Return until when to wait for a primary: one that did not answer last time gets little time."""
        return self._cluster.deadline_of(self._address(pool), deadline)

    def _address(self, pool: Pool) -> str:
        addresses = self._cluster.topology(time.monotonic()).addresses
        return next((address for address in addresses if self._cluster.pool(address) is pool), NOWHERE)
